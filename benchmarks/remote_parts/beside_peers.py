"""c. Examples per second beside webdataset and litData, from the same servers, each with a cold cache."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.remote_parts.servers import AbsentError, Moto, Nginx, find_program

__all__ = ["Peers", "find_litdata", "measure", "pack_for_litdata", "run_reader", "upload"]

ROOT = Path(__file__).resolve().parent.parent.parent
READER = Path(__file__).with_name("reader.py")
LONGEST_SECONDS = 60.0
ACCESS = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@dataclass(frozen=True)
class Peers:
    """A Python that has litData, or None and the reason."""

    litdata_python: str | None
    reason: str = ""


def find_litdata(given: str | None) -> Peers:
    """A Python with litData: the `given` one; without it this one, else that of `.venv-peers`."""
    for python in [given] if given else [sys.executable, str(ROOT / ".venv-peers" / "bin" / "python")]:
        tried = (
            subprocess.run([python, "-c", "import litdata"], capture_output=True) if Path(python).exists() else None
        )
        if tried is not None and tried.returncode == 0:
            return Peers(python)
    return Peers(None, "litData is absent: pip install litdata, or name a Python that has it by --litdata-python.")


def run_reader(python: str, *arguments: str, endpoint: str = "", most: int = 0, **more: str) -> dict[str, Any]:
    """Run `reader.py` with these arguments; returns what it prints. Raises `AbsentError`."""
    environment = {**os.environ, **ACCESS, **more, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if endpoint:
        environment |= {"AWS_ENDPOINT_URL": endpoint}
    command = [python, "-W", "ignore", str(READER), *arguments, *([str(most)] if most else [])]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AbsentError(f"{arguments[0]} took more than {LONGEST_SECONDS:.0f} seconds.") from error
    if done.returncode:
        raise AbsentError(f"{arguments[0]} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found


def upload(folder: Path, server: Moto, bucket: str) -> None:
    """All files of a folder into a bucket."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket)
    for path in sorted(folder.iterdir()):
        client.upload_file(str(path), bucket, f"set/{path.name}")


def pack_for_litdata(peers: Peers, shards: Path, folder: Path, *, chunk_bytes: int = 8 << 20) -> None:
    """The examples of shards in litData's format."""
    assert peers.litdata_python is not None
    run_reader(peers.litdata_python, "pack", str(shards), "raw", str(folder), CHUNK_BYTES=str(chunk_bytes))


def measure(server: Nginx, shards: Path, scratch: Path, runs: int, bucket: Moto | None, peers: Peers) -> None:
    """Print medians and ratios; the loaders take turns."""
    rows: dict[str, tuple[str, str, str, str]] = {
        "ours, nginx": (sys.executable, "ours", f"{server.url}/set", ""),
        "webdataset, nginx, pipe:curl": (sys.executable, "webdataset", f"{server.url}/set", ""),
    }
    missing = []
    try:
        find_program("curl")
        import webdataset  # noqa: F401
    except (AbsentError, ImportError) as error:
        rows.popitem()
        missing.append(f"webdataset: {error}")
    if bucket is None or peers.litdata_python is None:
        missing.append(f"litData: {peers.reason or 'moto is absent.'}")
    else:
        pack_for_litdata(peers, shards, scratch / "litdata")
        upload(scratch / "litdata", bucket, "chunks")
        upload(shards, bucket, "shards")
        rows["ours, moto"] = (sys.executable, "ours", "s3://shards/set", bucket.url)
        rows["litData, moto"] = (peers.litdata_python, "litdata", "s3://chunks/set", bucket.url)
    names = json.dumps([path.name for path in sorted(shards.glob("*.tar"))])
    print("c. Examples per second over one epoch, cold cache, 2 threads or workers each, our decoder in all")
    for mode in ("raw", "decoded"):
        speeds: dict[str, list[float]] = {what: [] for what in rows}
        costs: dict[str, list[float]] = {what: [] for what in rows}
        for _ in range(runs):
            for what, (python, loader, url, endpoint) in rows.items():
                cache = scratch / "peer cache"
                shutil.rmtree(cache, ignore_errors=True)
                cache.mkdir()
                (cache / "names.json").write_text(names)
                try:
                    found = run_reader(python, loader, url, mode, str(cache), endpoint=endpoint)
                    speeds[what].append(found["examples"] / found["seconds"])
                    costs[what].append(1000 * found["cpu_seconds"] / found["examples"])
                except (AbsentError, KeyError) as error:
                    missing.append(f"{what}: {error}")
        for what, measured in speeds.items():
            if not measured:
                continue
            ours = speeds[f"ours, {'moto' if 'moto' in what else 'nginx'}"]
            ratio = statistics.median(ours) / statistics.median(measured) if ours else 0.0
            each = f"{statistics.median(measured):>7,.0f} examples/s, {min(costs[what]):>6.2f} CPU s per 1,000"
            print(f"   {mode:<9}{what:<32}{each}; ours is {ratio:.2f}×", flush=True)
    for reason in dict.fromkeys(missing):
        print(f"   left out: {reason}")
