"""On a machine whose only network is loopback: a cluster, packing on it, reading back; and where anything was sent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .ray_clusters import ROOT

pytestmark = pytest.mark.heavy
pytest.importorskip("ray", reason="ray is absent: pip install 'dirvae[ray]'")

PROGRAM = """
import sys
from pipelines import ImageIterator, make_shards
from tests.pipelines.ray_clusters import running_cluster

source, out = sys.argv[1:]
with running_cluster() as address:
    report = make_shards(source, out, engine="ray", ray_address=address, shard_examples=4)
examples = sum(len(batch.keys) for batch in ImageIterator(out, size=16, batch_size=4))
print(report.examples, examples)
"""
CALL = re.compile(r"(connect|sendto|sendmsg|sendmmsg)\(\d+<(\w+):.*?(?:inet_addr\(\"|AF_INET6, \")([^\"]+)\"")
LOOPBACK = "127.", "::1", "::ffff:127."
CLOUD = "169.254.169.254"
"""Of the machine's own cloud, if any: `ray start` asks there which one that is, with telemetry switched off, too."""


def sent_outside(trace: str) -> list[str]:
    """Calls that name an address outside of loopback, but for two things of Ray's own.

    A `connect` of a UDP socket, by which Ray looks up its own address, sends nothing; see `CLOUD` for the other.
    """
    calls = [(call, line) for line in trace.splitlines() if (call := CALL.search(line))]
    return [
        line
        for call, line in calls
        if not call[3].startswith((*LOOPBACK, CLOUD)) and not (call[1] == "connect" and call[2].startswith("UDP"))
    ]


def test_what_is_sent_outside_is_found() -> None:
    trace = """\
7 connect(5<UDP:[91]>, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 0
7 sendto(5<UDP:[91]>, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 1
8 connect(6<TCP:[92]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
8 connect(6<TCP:[93]>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("1.2.3.4")}, 16) = -1 ENETUNREACH
9 connect(7<TCPv6:[94]>, {sa_family=AF_INET6, inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = -1 ENETUNREACH
"""
    assert [line[:9] for line in sent_outside(trace)] == ["7 sendto(", "8 connect", "9 connect"]


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "ip", "strace"))), reason="needs unshare, ip and strace")
def test_nothing_is_sent_outside_of_loopback(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    generator = np.random.Generator(np.random.Philox(3))
    for number in range(8):
        picture = Image.fromarray(generator.integers(0, 255, (20, 30, 3), np.uint8))
        picture.save(tmp_path / "source" / f"{number}.png")
    trace = tmp_path / "trace"
    watch = f"strace -f -qq -yy --seccomp-bpf -e trace=connect,sendto,sendmsg,sendmmsg -s 8 -o {trace}"
    script = f'ip link set lo up && exec {watch} "$@"'
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "source"), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script, "sh", *program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "8 8"
    content = trace.read_text(errors="replace")
    assert content.count("127.0.0.1") > 10
    assert sent_outside(content) == []
