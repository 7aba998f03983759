"""A conditional GAN that turns a rendered glyph into the handwriting of a real data set."""
