"""The iterators that users make: one file a modality, and mixtures of them."""
