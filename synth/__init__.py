"""Images without learning: alphabets, real data, fonts rendered as handwriting. Imports no torch."""
