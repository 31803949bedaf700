from .tracker import Pitch, track_f0

__all__ = ["Pitch", "track_f0"]
