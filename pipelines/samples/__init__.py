"""Procedural pictures and sounds, to try everything out on."""
