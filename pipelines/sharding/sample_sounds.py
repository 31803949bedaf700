"""`make_sample_sounds` where it was before it moved to `pipelines.samples`."""

from ..samples.sounds import make_sample_sounds

__all__ = ["make_sample_sounds"]
