"""What a model learned, as pictures: traversals of its latent space, and a report on one page."""

from dirvae.explore.clip_report import ClipReportContent, Clips, write_clip_report
from dirvae.explore.report import ReportContent, write_report
from dirvae.explore.sound_report import SoundReportContent, write_sound_report
from dirvae.explore.traversals import component_latents, interpolate, seen_strength

__all__ = [
    "ClipReportContent",
    "Clips",
    "ReportContent",
    "SoundReportContent",
    "component_latents",
    "interpolate",
    "seen_strength",
    "write_clip_report",
    "write_report",
    "write_sound_report",
]
