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
import os, sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pipelines import ImageIterator, make_shards
from tests.pipelines.bucket_listing import bucket_contents, folder_contents
from tests.pipelines.moto_server import aws_settings, run_moto
from tests.pipelines.ray_clusters import running_cluster

def read_back(place):
    batches = list(ImageIterator(place, size=16, batch_size=4))
    return [key for batch in batches for key in batch.keys], b"".join(batch.data.tobytes() for batch in batches)

source, local, out = sys.argv[1:]
options = {"shard_examples": 4, "resize": 12}
make_shards(source, local, workers=0, **options)
expected = folder_contents(Path(local))
with ExitStack() as stack:
    if out.startswith("s3://"):
        server, s3 = stack.enter_context(contextmanager(run_moto)())
        s3.create_bucket(Bucket="packed")
        os.environ.update(aws_settings(server))
    with running_cluster() as address:
        report = make_shards(source, out, engine="ray", ray_address=address, **options)
    found = bucket_contents(s3, "packed", "set") if out.startswith("s3://") else folder_contents(Path(out))
    assert found == expected, (found, expected)
    keys, pixels = read_back(out)
    assert (keys, pixels) == read_back(local)
    print(report.shards, report.examples, len(keys), len(pixels))
"""
CALL = re.compile(r"(connect|sendto|sendmsg|sendmmsg)\(\d+<(\w+):.*?(?:inet_addr\(\"|AF_INET6, \")([^\"]+)\"")
LOOPBACK = "127.", "::1", "::ffff:127."
CLOUD, CLOUD_NAME = "169.254.169.254", "metadata.google.internal"
"""Of the machine's own cloud, if any: `ray start` asks there which one that is, with telemetry switched off, too."""
QUERY = re.compile(r'"((?:\\x[0-9a-f]{2})+)"')


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


def names_asked(trace: str) -> set[str]:
    """Names that the nameserver of the test was asked for, which is on loopback so that they are seen."""
    found = set()
    for line in trace.splitlines():
        for query in QUERY.findall(line) if "->127.0.0.1:53]" in line else ():
            labels, rest = [], bytes.fromhex(query.replace("\\x", ""))[12:]
            while rest and (length := rest[0]):
                labels.append(rest[1 : 1 + length].decode())
                rest = rest[1 + length :]
            found.add(".".join(labels))
    return found


def test_what_is_sent_outside_is_found() -> None:
    trace = """\
7 connect(5<UDP:[91]>, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 0
7 sendto(5<UDP:[91]>, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 1
8 connect(6<TCP:[92]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
8 connect(6<TCP:[93]>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("1.2.3.4")}, 16) = -1 ENETUNREACH
9 connect(7<TCPv6:[94]>, {sa_family=AF_INET6, inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = -1 ENETUNREACH
"""
    assert [line[:9] for line in sent_outside(trace)] == ["7 sendto(", "8 connect", "9 connect"]


def test_a_name_that_is_looked_up_is_found() -> None:
    query = "".join(f"\\x{byte:02x}" for byte in b"\x07\x07\1\0\0\1" + bytes(6) + b"\3www\7example\3org\0\0\1\0\1")
    line = f'9 sendto(7<UDP:[127.0.0.1:40000->127.0.0.1:53]>, "{query}", 33, MSG_NOSIGNAL, NULL, 0) = 33'
    assert names_asked(line) == {"www.example.org"}
    assert names_asked(line.replace(":53]", ":80]")) == set()


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(
    not all(map(shutil.which, ("unshare", "ip", "mount", "strace"))), reason="needs unshare, ip, strace"
)
@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_nothing_is_sent_outside_of_loopback(tmp_path: Path, place: str) -> None:
    if place == "bucket":
        for package, use in (
            ("obstore", "writes to buckets"),
            ("boto3", "looks into them"),
            ("flask", "is moto's"),
        ):
            pytest.importorskip(package, reason=f"{package} is absent: it {use}")
    (tmp_path / "source").mkdir()
    generator = np.random.Generator(np.random.Philox(3))
    for number in range(8):
        picture = Image.fromarray(generator.integers(0, 255, (20, 30, 3), np.uint8))
        picture.save(tmp_path / "source" / f"{number}.png")
    trace = tmp_path / "trace"
    watch = f"strace -f -qq -yy --seccomp-bpf -e trace=connect,sendto,sendmsg,sendmmsg -x -s 300 -o {trace}"
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\nsearch .\n")
    nameserver = f"mount --bind {tmp_path / 'resolv.conf'} /etc/resolv.conf"
    script = f'ip link set lo up && {nameserver} && exec {watch} "$@"'
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "source"), str(tmp_path / "local")]
    program.append(str(tmp_path / "out") if place == "folder" else "s3://packed/set")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DIRVAE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-c", script, "sh", *program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"2 8 8 {8 * 3 * 16 * 16}"
    content = trace.read_text(errors="replace")
    assert content.count("127.0.0.1") > 10
    assert sent_outside(content) == []
    assert names_asked(content) <= {CLOUD_NAME}
