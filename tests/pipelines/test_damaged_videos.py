"""Videos that are cut off or have a changed byte: refused with a reason, or decoded as far as it goes.

Every frame of every clip is compared with plain PyAV's decode of the same damaged file, by the packets it is made of.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from .damaged_videos import NUM_CUTS, SOURCES, make_source
from .video_children import Played, played

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory limits are only dependable on Linux")

QUICK = ("h264.mp4", "hevc-open.mkv", "vp9.webm")


def assert_sound(found: list[Played]) -> None:
    """No process crashed, took too long or too much memory or wrote to stderr, and no frame is another one."""
    for one in found:
        assert (one.status, one.stderr) == (0, ""), str(one)
        assert "refused" in one.verdict or (one.verdict["frames"] and one.verdict["clips"]), str(one)
        assert not one.verdict.get("wrong"), str(one)
        reason = one.verdict.get("refused", "-")
        assert reason, str(one)
        assert "Traceback" not in reason, str(one)


@pytest.mark.parametrize("name", QUICK)
def test_a_damaged_video_is_refused_or_decoded_as_far_as_it_goes(name: str, tmp_path: Path) -> None:
    path = make_source(tmp_path, name)
    cuts = [(path, "cut", number, number + 1) for number in (0, 25, 39)]
    found = played(tmp_path / "copies", [(path, "byte", 0, 7), *cuts, (path, "whole", 0, 1)])
    assert_sound(found)
    assert (found[-1].outcome, found[-1].verdict["frames"], found[-1].verdict["unsteady"]) == ("whole", 30, [])
    assert found[7].outcome == "refused", "nearly nothing of it is there"
    some, most = (one.verdict.get("frames", 0) for one in found[8:10])
    assert 0 <= some <= most <= 30
    assert (most > some > 0) == name.endswith((".mkv", ".webm")), "an mp4 ends with its table of frames"


def test_a_frame_that_waits_while_damage_is_passed_comes_out_before_the_next_key(tmp_path: Path) -> None:
    """Packet 27 is damaged, and 28 is a key with damage of its own, before which the decoder still holds frame 26."""
    (one,) = played(tmp_path / "copies", [(make_source(tmp_path, "mpeg2.ts"), "byte", 19, 20)])
    assert_sound([one])
    assert (one.verdict["frames"], one.verdict["broken"]) == (27, 3)


@pytest.mark.heavy
@pytest.mark.parametrize("name", SOURCES)
def test_many_copies_of_every_kind_of_video(name: str, tmp_path: Path) -> None:
    path = make_source(tmp_path, name)
    cuts = [(path, "cut", number, number + 1) for number in range(0, NUM_CUTS, 3)]
    found = played(
        tmp_path / "copies", [*cuts, (path, "byte", 7, 31), (path, "head", 0, 12), (path, "packet", 0, 12)]
    )
    assert_sound(found)
    assert found[0].outcome == "refused", "nothing of it is there"
    assert Counter(one.outcome for one in found)["refused"] < len(found)


@pytest.mark.heavy
def test_every_shared_video_cut_off_anywhere_and_with_a_changed_byte(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "video").iterdir())
    assert len(paths) >= 22
    for path in paths:
        num = 8 if path.stat().st_size < 100_000 else 1
        assert_sound(played(tmp_path / path.stem, [(path, "cut", 35, 36), (path, "byte", 0, num)], "sampled"))


@pytest.mark.heavy
def test_every_hostile_video_is_played_or_refused(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted(path for path in (shared_data / "hostile" / "video").iterdir() if path.is_file())
    assert paths
    assert_sound(played(tmp_path / "copies", [(path, "whole", 0, 1) for path in paths]))
