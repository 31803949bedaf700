"""The flags of `VideoSettings` on the command line."""

from __future__ import annotations

from typing import Any

__all__ = ["add_arguments"]


def add_arguments(group: Any) -> None:
    """The flags of these settings."""
    add = group.add_argument
    add("--segment", type=float, metavar="SECONDS", help="cut at key frames into examples of at most this length")
    add("--resize", type=int, metavar="PIXELS", help="encode again with this shorter side")
    add("--gop", type=int, metavar="NUM", help="encode again with a key frame every so many frames (default: 16)")
    add("--codec", metavar="NAME", help="encode again as h264, h265, vp9 or av1 (default: h264 where anything is)")
    add("--quality", type=int, metavar="NUM", help="rate factor (crf) of what is encoded again, 0 the best")
    add("--no-audio", action="store_true", help="leave the sound out")
    add("--max-pixels", type=int, metavar="NUM", help="refuse larger frames (default: 178956970)")
