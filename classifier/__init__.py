"""The classifier that trains on the mix of real, font and GAN images."""
