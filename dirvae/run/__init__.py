"""Run folders: settings, warm starts, loading, and one training run from settings to report."""
