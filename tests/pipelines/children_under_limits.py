"""Files of others, each played whole in a process of its own: at most 2 GB, 10 s of processor time, and no torch.

As a program: `children_under_limits.py SCRATCH FOLDER…` prints a line [name, exit status, verdicts] for each file.
A verdict is the sentence of a refusal, or [keys, which of them were substituted].
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines import DataIterator, ImageIterator, PipelineError, Source, open_source

MAX_BYTES, MAX_SECONDS, HANG_SECONDS = 2 << 30, 10, 60
FIELDS = ("json", "cls", "txt", "npy")


def played_in_children(scratch: Path, *folders: Path) -> dict[str, dict[str, Any]]:
    """The verdicts on every file of these folders, by its name; asserts that each child has ended well."""
    done = subprocess.run(
        [sys.executable, __file__, str(scratch), *map(str, folders)],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for line in done.stdout.splitlines():
        name, status, verdicts = json.loads(line)
        assert status == 0, f"{name} ended its process: exit status {status}\n{done.stderr[-2000:]}"
        found[name] = verdicts
    assert len(found) == sum(len(list(folder.iterdir())) for folder in folders)
    return found


def play(source: Callable[[], Source], listing: Path | None = None) -> Any:
    settings: dict[str, Any] = {} if listing is None else {"on_error": "substitute", "quarantine": listing}
    try:
        images = ImageIterator(
            source(), size=64, batch_size=4, threads=2, resizer="pillow", fields=FIELDS, **settings
        )
        batches = list(images)
        images.close()
    except PipelineError as error:
        return str(error)
    replaced = [bool(one) for batch in batches if batch.substituted is not None for one in batch.substituted]
    return [[key for batch in batches for key in batch.keys], replaced]


def play_raw(source: Callable[[], Source]) -> Any:
    """Without decoding anything."""
    try:
        batches = list(DataIterator(source(), lambda example, rng: [len(example.media)], batch_size=4, threads=2))
    except PipelineError as error:
        return str(error)
    return [[key for batch in batches for key in batch.keys], []]


def beside_good_ones(path: Path, folder: Path) -> None:
    folder.mkdir()
    for number in range(3):
        picture = io.BytesIO()
        Image.new("RGB", (40, 30), (80 * number, 0, 0)).save(picture, "PNG")
        (folder / f"good{number}.png").write_bytes(picture.getvalue())
    (folder / f"hostile{path.suffix.lower()}").write_bytes(path.read_bytes())


def as_members(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name if file.suffix else f"{file.name}.bin")
    return path


def verdicts_on(path: Path, scratch: Path) -> dict[str, Any]:
    sources: dict[str, Callable[[], Source]]
    if path.suffix == ".tar":
        sources = {"whole": lambda: open_source(path), "cut": lambda: open_source(path, allow_truncated=True)}
    else:
        beside_good_ones(path, scratch / "folder")
        tar = as_members(scratch / "folder", scratch / "x.tar")
        sources = {"folder": lambda: open_source(scratch / "folder"), "tar": lambda: open_source(tar)}
    found = {}
    for name, source in sources.items():
        listing = scratch / f"{name}.jsonl"
        found[name], found[f"{name}, raw"] = play(source), play_raw(source)
        found[f"{name}, lenient"] = play(source, listing)
        lines = listing.read_text().splitlines() if listing.exists() else []
        found[f"{name}, listed"] = [json.loads(line)["reason"] for line in lines]
    return found


def main(scratch: Path, folders: list[Path]) -> None:
    warnings.simplefilter("ignore")
    assert "torch" not in sys.modules
    for number, path in enumerate(sorted(file for folder in folders for file in folder.iterdir())):
        own = scratch / str(number)
        own.mkdir()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES,) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS,) * 2)
            signal.alarm(HANG_SECONDS)
            (own / "verdicts.json").write_text(json.dumps(verdicts_on(path, own)))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        report = own / "verdicts.json"
        verdicts = json.loads(report.read_text()) if report.exists() else {}
        print(json.dumps([path.name, status, verdicts]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
