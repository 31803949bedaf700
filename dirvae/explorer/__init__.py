"""The application: a local page that shows and plays the latents of a run, and lets the user steer them."""

from dirvae.explorer.serving import serve_run, start_application

__all__ = ["serve_run", "start_application"]
