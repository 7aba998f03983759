"""What scripts/build_fonts.py is made of: from packages of fonts to the files of assets/fonts."""
