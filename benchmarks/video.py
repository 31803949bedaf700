"""Clips of videos per second, side by side: this library and its peers over the same files.

    python benchmarks/video.py [--files 30] [--clips 160] [--rounds 7] [--long-gop FOLDER] [--only random …]

random       16 frames at 128 × 128 from random places of files of 640 × 480 with a key frame every 16 frames, made here
             or found in --files-in
long         the same from the files in --long-gop as they come, most of them with one key frame; also how many frames
             are decoded, against seeking to the last key frame and decoding from there
sequential   all clips of the files in their order, in one thread, against a bare loop that decodes and scales every
             frame: CPU time

Peers are torch's `DataLoader` with PyAV and Pillow in two worker processes, and torchcodec in its exact mode, two
threads with a decoder per file each, kept open, scaling and cropping by its own transforms. All deliver the same clips.
Each is warmed by a round that is not counted, then they take turns; printed is the median over the rounds, in clips per
second of wall time and in milliseconds of CPU per clip, workers included.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines import VideoIterator

CLIP_FRAMES, SIZE, BATCH, THREADS = 16, 128, 8, 2


@dataclass(frozen=True)
class Place:
    """A clip: its file, and the number and the time in seconds of its first frame and of the one behind its last."""

    path: str
    start: int
    begin_seconds: float
    end_seconds: float


Round = Callable[[], int]


def make_files(folder: Path, num: int, *, frames: int = 150, gop: int = 16) -> None:
    """H.264 of 640 × 480: a pan over a soft texture of many scales, with some grain."""
    import av

    generator = np.random.default_rng(0)
    texture = sum(
        np.kron(generator.random((1024 >> level, 1024 >> level, 3)), np.ones((1 << level, 1 << level, 1)))
        for level in range(1, 7)
    )
    canvas = (255 * texture / texture.max()).astype(np.uint8)
    for number in range(num):
        with av.open(str(folder / f"{number:03d}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
            stream.codec_context.thread_count = 1
            params = f"keyint={gop}:min-keyint={gop}:scenecut=0"
            stream.options = {"preset": "veryfast", "crf": "23", "x264-params": params}
            for index in range(frames):
                left, top = (
                    int(180 + 170 * np.sin(index / 40 + number)),
                    int(250 + 240 * np.cos(index / 55 + number)),
                )
                picture = canvas[top : top + 480, left : left + 640]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 30)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def iterator(source: Path, **settings: Any) -> VideoIterator:
    """Ours, as it comes."""
    base: dict[str, Any] = {"clip_frames": CLIP_FRAMES, "size": SIZE, "batch_size": BATCH, "short": "skip"}
    return VideoIterator(source, **{**base, "threads": THREADS, **settings})


def places_of(source: Path, num: int) -> list[Place]:
    """The clips that ours delivers first, for the peers."""
    clips = iterator(source, shuffle=True, random_offset=True, seed=1)
    paths = {str(path.with_suffix("").relative_to(source)): str(path) for path in source.rglob("*.*")}
    found: list[Place] = []
    while len(found) < num:
        for batch in clips:
            for key, seconds in zip(batch.keys, batch.fields["pts_seconds"], strict=True):
                name, _, start = key.rpartition("@")
                step = (seconds[-1] - seconds[0]) / (CLIP_FRAMES - 1)
                found.append(Place(paths[name], int(start), float(seconds[0]), float(seconds[-1] + step / 2)))
            if len(found) >= num:
                break
    clips.close()
    return found[:num]


def ours(source: Path, num: int) -> tuple[Round, VideoIterator]:
    """`VideoIterator` at random over a folder, its tables cached."""
    clips = iterator(source, shuffle=True, random_offset=True, seed=1)

    def run() -> int:
        clips.reset()
        done = 0
        while done < num:
            for batch in clips:
                done += len(batch)
                if done >= num:
                    break
        clips.close_epoch()
        return done

    return run, clips


class PyAVClips:
    """A map-style dataset: open, seek, decode to the clip, Pillow."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        import av
        from PIL import Image

        place, found = self.places[index], []
        with av.open(place.path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            container.seek(int(place.begin_seconds / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= place.begin_seconds - 1e-4:
                    picture = frame.to_image()
                    side = min(picture.size)
                    left, top = (picture.width - side) // 2, (picture.height - side) // 2
                    box = (left, top, left + side, top + side)
                    found.append(np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box)))
                if len(found) == CLIP_FRAMES:
                    break
        found += found[-1:] * (CLIP_FRAMES - len(found))
        return np.stack(found).transpose(3, 0, 1, 2)


def torch_dataloader(places: Sequence[Place]) -> Round:
    """torch's `DataLoader` with PyAV and Pillow, two worker processes; their start is not timed."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        PyAVClips(places),  # type: ignore[arg-type]
        batch_size=BATCH,
        num_workers=THREADS,
    )
    return lambda: sum(len(batch) for batch in loader)


def torchcodec_threads(places: Sequence[Place]) -> Round:
    """torchcodec in exact mode, a decoder for each file in each thread, kept open."""
    decoders: list[dict[str, Any]] = [{} for _ in range(THREADS)]

    def work(thread: int) -> None:
        mine = decoders[thread]
        for place in places[thread::THREADS]:
            if place.path not in mine:
                mine[place.path] = _torchcodec_decoder(place.path)
            mine[place.path].get_frames_in_range(place.start, place.start + CLIP_FRAMES)

    def run() -> int:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(places)

    return run


def _torchcodec_decoder(path: str) -> Any:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import CenterCrop, Resize

    plain = VideoDecoder(path, seek_mode="exact")
    height, width = int(plain.metadata.height), int(plain.metadata.width)
    scale = SIZE / min(height, width)
    size = (max(SIZE, round(height * scale)), max(SIZE, round(width * scale)))
    return VideoDecoder(path, seek_mode="exact", transforms=[Resize(size), CenterCrop((SIZE, SIZE))])


def sequential_ours(source: Path) -> Round:
    """All clips in their order, one thread."""
    clips = iterator(source, threads=1)
    return lambda: sum(len(batch) for batch in clips)


def sequential_loop(source: Path) -> Round:
    """Decode and scale every frame of every file, as a bare loop does; counted in clips."""
    import av
    from av.video.reformatter import VideoReformatter

    files = sorted(path for path in source.rglob("*.*") if path.is_file())

    def run() -> int:
        reformatter, out = VideoReformatter(), np.empty((CLIP_FRAMES, SIZE, SIZE, 3), np.uint8)
        clips = 0
        for path in files:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_count = 1
                done = 0
                for frame in container.decode(stream):
                    scale = SIZE / min(frame.width, frame.height)
                    width, height = round(frame.width * scale), round(frame.height * scale)
                    small = reformatter.reformat(frame, width, height, format="rgb24", threads=1).to_ndarray()
                    left, top = (width - SIZE) // 2, (height - SIZE) // 2
                    out[done % CLIP_FRAMES] = small[top : top + SIZE, left : left + SIZE]
                    done += 1
                clips += done // CLIP_FRAMES
        return clips

    return run


def measured(run: Round) -> tuple[float, float]:
    """Clips per second, and milliseconds of CPU per clip, children that have ended included."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    clips = run()
    return clips / (time.perf_counter() - wall), 1e3 * (_cpu_seconds() - cpu) / clips


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(title: str, runs: dict[str, Round], rounds: int) -> dict[str, tuple[float, float]]:
    """Take turns, print the medians, and how many times the first one is as fast as each."""
    for run in runs.values():
        run()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(measured(run))
    medians = {
        name: (statistics.median(wall for wall, _ in rows), statistics.median(cpu for _, cpu in rows))
        for name, rows in found.items()
    }
    first = next(iter(medians.values()))
    print(f"\n{title}: median of {rounds} rounds that took turns")
    print(f"{'':44} {'clips/s':>8} {'ms CPU/clip':>12} {'ours, by wall':>14} {'by CPU':>7}")
    for name, (wall, cpu) in medians.items():
        print(f"{name:44} {wall:8.1f} {cpu:12.2f} {first[0] / wall:13.2f}× {cpu / first[1]:6.2f}×")
    return medians


def compare_random(title: str, source: Path, clips: int, rounds: int) -> None:
    """Ours and the peers at random clips, and what ours decoded for them."""
    places = places_of(source, clips)
    run, mine = ours(source, clips)
    runs = {
        "ours": run,
        "torchcodec, exact, 2 threads": torchcodec_threads(places),
        "DataLoader, PyAV and Pillow, 2 workers": torch_dataloader(places),
    }
    compare(title, runs, rounds)
    counts = mine.frame_counts
    sought = _seek_and_decode(mine, places)
    print(
        f"decoded per delivered frame: ours {counts.decoded_per_delivered:.2f}, seek and decode {sought:.2f}: "
        f"{100 * (1 - counts.decoded_per_delivered / sought):.0f} % fewer"
    )
    mine.close()


def _seek_and_decode(clips: VideoIterator, places: Sequence[Place]) -> float:
    """Frames from the last key frame to the end of the clip, for each frame that is delivered."""
    source = clips.source.source  # type: ignore[attr-defined]
    tables = {}
    for index in range(len(source)):
        located = source.locate(index)
        tables[located.container] = clips.recipe.decoder.reader.table(located)  # type: ignore[attr-defined]
    decoded = sum(
        place.start + CLIP_FRAMES - tables[str(Path(place.path).absolute())].key_ordinal(place.start)
        for place in places
    )
    return decoded / (CLIP_FRAMES * len(places))


def main(argv: list[str] | None = None) -> int:
    """Measure and print the tables."""
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("DIRVAE_CACHE", f"{scratch}/cache")
        short_gop = Path(scratch) / "short-gop"
        short_gop.mkdir()
        if {"random", "sequential"} & set(options.only):
            make_files(short_gop, options.files)
        if "random" in options.only:
            compare_random("random clips, GOP 16", short_gop, options.clips, options.rounds)
        if "long" in options.only and options.long_gop:
            title = f"random clips of {options.long_gop}, as they come"
            compare_random(title, Path(options.long_gop), options.clips, options.rounds)
        if "sequential" in options.only:
            folder = Path(options.long_gop or short_gop)
            for title, source in {
                "sequential clips, GOP 16": short_gop,
                f"sequential clips of {folder}": folder,
            }.items():
                runs = {"ours, 1 thread": sequential_ours(source), "bare loop": sequential_loop(source)}
                compare(title, runs, options.rounds)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--long-gop", help="a folder of videos to be read as they come")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    return parser


KINDS = ("random", "long", "sequential")

if __name__ == "__main__":
    sys.exit(main())
