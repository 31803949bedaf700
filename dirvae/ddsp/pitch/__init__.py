"""Trackers of pitch: one of our own, and what any other must look like to take its place."""

from .contract import CONFIDENT, Pitch, Tracker
from .swift import track_f0_swift
from .tracking import track_f0, track_planned

__all__ = ["CONFIDENT", "Pitch", "Tracker", "track_f0", "track_f0_swift", "track_planned"]
