"""Encoded videos to frames: measured once, then decoded from any frame on."""
