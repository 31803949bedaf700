"""Paths through a latent space: between two latents, and towards each component."""

from dirvae.explore.traversals import component_latents, interpolate, seen_strength

__all__ = ["component_latents", "interpolate", "seen_strength"]
