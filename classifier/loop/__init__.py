"""The closed loop: what each class lacks, images for that, and for each class the sources that do
not hurt it."""
