"""Truncated pictures, bombs, crashers and fuzz seeds, each decoded in a process of its own under limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory limits are only dependable on Linux")

CHILDREN = """
import json, os, resource, sys, warnings
from pathlib import Path
import torch
from pipelines import Example, ExampleError
from pipelines.decode import ImageDecoder
from pipelines.order.randomness import Place

warnings.simplefilter("ignore")
torch.set_num_threads(1)
decoders = {name: ImageDecoder(size=64, resizer=name) for name in ("exact", "pillow", "simd", "torch")}

def verdict(decoder, data):
    out = decoder.allocate(1)
    try:
        decoder.decode_into(Example(0, "key", data, "x.tar", 0), out[0], Place(0, 0, 0))
    except ExampleError as error:
        return error.reason
    return "decoded"

for path in sorted(Path(sys.argv[1]).iterdir()):
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30),) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
        data = path.read_bytes()
        found = {name: verdict(decoder, data) for name, decoder in decoders.items()}
        os.write(send, json.dumps(found).encode()[:60_000])
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([path.name, status, json.loads(text or "{}")]), flush=True)
"""

MUST_DECODE = {
    *(f"Landscape_{number}.jpg" for number in (1, 3, 5, 7)),
    *(f"Portrait_{number}.jpg" for number in (0, 2, 4, 6)),
    "hopper_bad_exif.jpg",
    "jpg-cmyk-1.jpg",
    "jpg-cmyk-2.jpg",
    "pil_sample_cmyk.jpg",
    "ycck.jpg",
}
MUST_BE_REFUSED = {"truncated_jpeg.jpg", "truncated_image.png", "decompression_bomb.gif"}


@pytest.mark.slow
def test_every_hostile_picture_is_decoded_or_refused_alike_by_every_resizer(shared_data: Path) -> None:
    folder = shared_data / "hostile" / "image"
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(list(folder.iterdir()))
    decoded, refused = set(), set()
    for name, status, verdicts in lines:
        assert status == 0, f"{name} ended its process: exit status {status}"
        assert set(verdicts) == {"exact", "pillow", "simd", "torch"}, name
        assert all(verdicts.values()), f"{name}: refused without a reason"
        outcomes = {reason == "decoded" for reason in verdicts.values()}
        assert len(outcomes) == 1, f"{name}: {verdicts}"
        (decoded if outcomes.pop() else refused).add(name)
    assert decoded >= MUST_DECODE
    assert refused >= MUST_BE_REFUSED
