"""A set of examples as a model sees it: posteriors, draws, keys and fields as arrays in a zarr group."""
