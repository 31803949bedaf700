"""Trackers of pitch: one of our own, and what any other must look like to take its place."""

from dirvae.ddsp.pitch.contract import CONFIDENT, Pitch, Tracker
from dirvae.ddsp.pitch.swift import track_f0_swift
from dirvae.ddsp.pitch.tracking import track_f0, track_planned

__all__ = ["CONFIDENT", "Pitch", "Tracker", "track_f0", "track_f0_swift", "track_planned"]
