"""What packing makes of the files of each modality."""
