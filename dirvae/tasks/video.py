"""`--type video`: clips of square frames, a residual network over space and time, a report with film strips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dirvae.tasks.data import ReplayedBatches, TaskData, first_examples
from dirvae.tasks.shown_label import shown_label
from dirvae.tasks.task import AddFlag, Task
from dirvae.tasks.visual_settings import VisualData, VisualModel, add_data_flags, add_model_flags
from dirvae.training.errors import ConfigError
from dirvae.training.settings import FREE, is_positive

if TYPE_CHECKING:
    from dirvae.autoencoder import AutoEncoder
    from dirvae.report.clip_report import ClipReport, Clips
    from pipelines import VideoIterator

__all__ = ["VIDEO", "VideoData", "VideoModel"]

MAX_EVALUATED = 512
"""Held-out clips in one evaluation, and training clips in the mean clip: a clip costs as much as all its frames."""

NUM_TRAINING_SHOWN = 4
NUM_IN_GALLERY = 64


@dataclass(frozen=True, kw_only=True)
class VideoData(VisualData):
    """Which videos, and the clips that are cut from them; see also `VisualData`.

    A clip is `clip_frames` frames, `every` N-th frame of the video, or at `fps` frames per second (None: as stored).
    Clips of training begin anywhere, the others at whole multiples of their length; what is left at the end of a
    video, and videos that are shorter than a clip, are left out.
    """

    source: str = field(default="data/video", metadata=FREE)
    batch_size: int = 8
    clip_frames: int = 16
    every: int = 1
    fps: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("size", isinstance(self.size, int), "one whole number: clips are of square frames")
        self.check_counts("clip_frames", "every", smallest=1)
        fps = self.fps is None or (is_positive(self.fps) and self.every == 1)
        self.check("fps", fps, "a finite number > 0, and left out where every is above 1")


@dataclass(frozen=True, kw_only=True)
class VideoModel(VisualModel):
    """Which `VideoVAE`; see `VisualModel`."""


def _add_arguments(add: AddFlag) -> None:
    add("--clip-frames", "frames of a clip", type=int, metavar="FRAMES")
    add("--every", "take every Nth frame of the videos", type=int, metavar="N")
    add("--fps", "frames per second of the clips; those of each video by default", type=float, metavar="RATE")
    add_data_flags(
        add, plural="clips", max_pixels="refuse videos of larger frames; the limit of the iterator by default"
    )
    add_model_flags(add, noun="clip")


def _open_iterator(source: Any, settings: VideoData, *, is_training: bool = False, **order: Any) -> VideoIterator:
    from pipelines import VideoIterator

    try:
        return VideoIterator(
            source,
            size=settings.size,
            clip_frames=settings.clip_frames,
            every=settings.every,
            fps=settings.fps,
            batch_size=settings.batch_size,
            threads=settings.threads,
            on_error=settings.on_error,
            flip=settings.flip and is_training,
            random_offset=is_training,
            short="skip",
            max_pixels=settings.max_pixels,
            **order,
        )
    except (ImportError, ValueError) as error:  # PyAV is absent, or a clip of so many pixels is refused
        raise ConfigError(f"{str(error).rstrip('.')}.") from error


def _build_model(data: VideoData, model: VideoModel) -> AutoEncoder:
    from dirvae.networks import VideoVAE

    assert isinstance(data.size, int)
    try:
        return VideoVAE(size=data.size, clip_frames=data.clip_frames, **model.to_json())
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _make_evaluation(data: TaskData, seed: int) -> Callable[[Any], dict[str, Any]]:
    from dirvae.evaluate.held_out import mean_example
    from dirvae.evaluate.motion import evaluate_clips

    assert data.held_out is not None
    mean = mean_example(data.training, limit=MAX_EVALUATED)
    return evaluate_clips(data.held_out, mean=mean, seed=seed, limit=MAX_EVALUATED)


def _open_report(data: TaskData, seed: int) -> ClipReport:
    from dirvae.report.clip_report import ClipReport

    training = _first_clips(data.training, NUM_TRAINING_SHOWN)
    held_out = None if data.held_out is None else _first_clips(data.held_out, NUM_IN_GALLERY)
    encoded = training if held_out is None else held_out
    label = shown_label(data.encoded, len(encoded.keys), data.settings.label)
    return ClipReport(training, held_out, seed, label)


def _first_clips(batches: ReplayedBatches, num: int) -> Clips:
    from dirvae.report.clip_report import Clips

    first = first_examples(batches, num, fields=("pts_seconds",))
    seconds = [[float(time) for time in times] for times in first.fields["pts_seconds"]]
    return Clips(first.data, first.keys, seconds)


VIDEO = Task(
    name="video",
    example="clip",
    data=VideoData,
    model=VideoModel,
    add_arguments=_add_arguments,
    open_iterator=_open_iterator,
    build_model=_build_model,
    make_evaluation=_make_evaluation,
    open_report=_open_report,
)
