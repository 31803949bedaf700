"""What `python -m dirvae.train --type` can train: one file per type."""
