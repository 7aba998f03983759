"""Images without learning: alphabets, real data, fonts as handwriting. Imports no torch."""
