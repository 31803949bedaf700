"""Writes `golden_before_layers/`: packed sets, a folder, arrays, and states in the middle of epochs.

Run with the version whose files are wanted, from an empty folder to be made:

    PYTHONPATH=CHECKOUT_OF_THAT_VERSION python tests/pipelines/make_golden_before_layers.py OUT

What is in `golden_before_layers/` was written at 6ac3390, before the files of `pipelines` moved into layers. It is not
written again: this file says how it was made.
"""

from __future__ import annotations

import json
import shutil
import sys
import wave
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from golden_runs import build, play

from pipelines import make_shards

IMAGES = {"source": "image", "iterator": "ImageIterator"}
AUDIO = {"source": "audio", "iterator": "AudioIterator"}
PICTURE = {"size": 16, "resizer": "exact", "crop": "random", "flip": True, "batch_size": 3}
"""The pictures are 16 wide or 16 high: cropped to 16 × 16 they are never resized, only cropped and mirrored."""
PARTS = {"of": "image", "hold_out": 0.3, "seed": 4}


def image(source: Any = "image", **settings: Any) -> dict[str, Any]:
    return {"iterator": "ImageIterator", "source": source, "settings": {**PICTURE, "seed": 11, **settings}}


def audio(**settings: Any) -> dict[str, Any]:
    return {**AUDIO, "settings": {"window": 320, "batch_size": 4, "seed": 5, **settings}}


def array(source: str, **settings: Any) -> dict[str, Any]:
    return {"iterator": "ArrayIterator", "source": source, "settings": {"batch_size": 5, "seed": 3, **settings}}


def specs() -> dict[str, dict[str, Any]]:
    """What is saved: a name and a spec for `build`. "take" is the number of batches before the state."""
    labelled = {"fields": ["cls", "json"]}
    ones_rate = {"select": [1, 2, 3]}
    tars = ["image/image-000000.tar", "image/image-000001.tar"]
    parts = [image(shuffle=True), image({**PARTS, "part": 0}, shuffle=True, seed=7), image("pictures", seed=2)]
    mixture = {"seed": 9, "batch_size": 7, "epoch_examples": 40}
    return {
        "image, shards": {**image(shuffle=True, **labelled), "take": 4},
        "image, shards as stored": {**image(**labelled), "take": 1},
        "image, folder": {**image("pictures", shuffle=True), "take": 1},
        "image, folder as stored": {**image("pictures"), "take": 2},
        "image, list of tars": {**image(tars, shuffle=True), "take": 1},
        "image, tars without index": {**image("bare", shuffle=True), "take": 4},
        "image, training part": {**image({**PARTS, "part": 0}, shuffle=True, batch_size=2), "take": 1},
        "image, held-out part": {**image({**PARTS, "part": 1}, shuffle=True, batch_size=1), "take": 2},
        "image, selection": {**image(shuffle=True, select=[7, 2, 5, 0, 3], batch_size=2), "take": 1},
        "image, limit": {**image(shuffle=True, limit=6, batch_size=2), "take": 1},
        "image, groups": {**image(shuffle=True, groups=2, batch_size=2), "take": 2},
        "image, files": {**image(shuffle="files"), "take": 1},
        "image, windows of one shard": {**image(shuffle=True, shuffle_shards=1), "take": 1},
        "audio, one rate": {**audio(shuffle=True, curves={"f0.npy": 250}, **ones_rate), "take": 2},
        "audio, files": {**audio(shuffle="files", hop=200, channels=2, **ones_rate), "take": 3},
        "audio, every rate": {**audio(batch_size=1), "take": 9},
        "audio, sample_rate": {
            **audio(shuffle=True, sample_rate=8000, curves={"f0.npy": 250}),
            "take": 2,
            "digests": False,
        },
        "audio, random_offset": {**audio(shuffle=True, random_offset=True, **ones_rate), "take": 2},
        "audio, skip": {**audio(shuffle=True, short="skip", hop=160, **ones_rate), "take": 2},
        "audio, groups": {**audio(shuffle=True, groups=2, **ones_rate), "take": 2},
        "array, rows of npy": {**array("rows.npy", shuffle=True), "take": 2},
        "array, windows of npy": {**array("rows.npy", window=4, hop=3, shuffle=True, batch_size=2), "take": 1},
        "array, rows of zarr": {**array("group.zarr", arrays="x", fields=["label"], shuffle=True), "take": 3},
        "array, windows of zarr": {
            **array("group.zarr", arrays="x", window=5, hop=2, shuffle=True, batch_size=3),
            "take": 1,
        },
        "array, chunks in windows": {**array("group.zarr", arrays="x", shuffle=True, shuffle_shards=2), "take": 2},
        "array, part": {
            **array({"of": "rows.npy", "hold_out": 0.25, "seed": 1, "part": 0}, shuffle=True),
            "take": 1,
        },
        "data, shards": {
            **{"iterator": "DataIterator", "source": "image", "take": 1},
            "settings": {"batch_size": 3, "shuffle": True, "seed": 21, "fields": ["json"]},
        },
        "mixture of two": {"iterator": "mix", "parts": parts[:2], "settings": mixture, "take": 2},
        "mixture of three": {
            **{"iterator": "mix", "parts": parts, "take": 3},
            "settings": {**mixture, "weights": [0.5, 0.2, 0.3]},
        },
    }


def draw_pictures(folder: Path) -> None:
    """Eight PNGs in three folders, with a json beside each; the folders' names sort otherwise with a slash behind."""
    generator = np.random.Generator(np.random.Philox(1))
    for number, name in enumerate(("cat", "cat", "cat", "cat-big", "dog", "dog", "dog", "dog")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        height, width = ((16, 20), (19, 16), (16, 16))[number % 3]
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels // 32 * 32).save(folder / name / f"{number}.png")
        (folder / name / f"{number}.json").write_text(json.dumps({"number": number}) + "\n")


def draw_recordings(folder: Path) -> None:
    """Four wavs of 16 bits, of three rates, one in stereo, with 250 rows of pitch per second."""
    generator = np.random.Generator(np.random.Philox(2))
    folder.mkdir(parents=True)
    for number, (frames, rate, channels) in enumerate(
        ((1200, 8000, 2), (1500, 8000, 2), (1300, 11025, 1), (700, 8000, 1), (900, 16000, 1))
    ):
        samples = generator.integers(-9000, 9000, (frames, channels), dtype=np.int16)
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((channels, 2, rate, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
        rows = round(frames / rate * 250)
        np.save(folder / f"{number}.f0.npy", np.linspace(100, 200 + number, rows, dtype=np.float32))


def write_arrays(folder: Path) -> None:
    generator = np.random.Generator(np.random.Philox(3))
    np.save(folder / "rows.npy", generator.integers(0, 1000, (26, 3), dtype=np.int16))
    group = zarr.create_group(folder / "group.zarr")
    values = generator.integers(0, 1000, (30, 4), dtype=np.int32).astype(np.float32)
    group.create_array("x", shape=values.shape, chunks=(8, 4), dtype="float32")[:] = values
    group.create_array("label", shape=(30,), chunks=(16,), dtype="int64", compressors=None)[:] = np.arange(30)


def save_state(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The spec, with the state after its first batches and what comes after it."""
    take, digests = spec.pop("take"), spec.get("digests", True)
    iterator = build(spec, folder)
    left = take
    while left:
        left -= len(list(islice(iterator, left)))
    state = json.loads(json.dumps(iterator.state_dict()))
    assert state["position"], f"{spec}: the state lies between epochs"
    rest, following = play(iterator, digests=digests)
    return {**spec, "state": state, "rest": rest, "next_epoch": following}


def main(out: Path) -> None:
    out.mkdir()
    draw_pictures(out / "pictures")
    draw_recordings(out / "recordings")
    make_shards(out / "pictures", out / "image", classes=True, shard_examples=5, workers=0)
    make_shards(out / "recordings", out / "audio", shard_examples=3, workers=0)
    write_arrays(out)
    shutil.copytree(out / "image", out / "bare", ignore=lambda _, names: [n for n in names if n[-4:] != ".tar"])
    found = {name: save_state(spec, out) for name, spec in specs().items()}
    shutil.rmtree(out / "bare")
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in found.items())
    (out / "states.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
