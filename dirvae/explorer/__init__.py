"""The application: a local page on which the latents of a run are seen, heard and steered."""

from dirvae.explorer.serving import serve_run, start_application

__all__ = ["serve_run", "start_application"]
