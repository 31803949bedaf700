"""A source and a decoder to batches that resume."""
