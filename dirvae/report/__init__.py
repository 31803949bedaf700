"""What a run learned, on one page: `report.html` of images, clips or sounds."""

from dirvae.report.clip_report import ClipReportContent, Clips, write_clip_report
from dirvae.report.image_report import ReportContent, write_report
from dirvae.report.sound_report import SoundReportContent, write_sound_report

__all__ = [
    "ClipReportContent",
    "Clips",
    "ReportContent",
    "SoundReportContent",
    "write_clip_report",
    "write_report",
    "write_sound_report",
]
