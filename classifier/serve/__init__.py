"""The model over HTTP: Flask by a production server, batched, bounded, without torch."""
