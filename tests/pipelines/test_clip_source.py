"""Clips of a source as examples: keys, tables, caches, order, growth, and how little is read and kept."""

from __future__ import annotations

import gc
import os
import pickle
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines import (
    AudioIterator,
    DataIterator,
    Example,
    ExampleError,
    Source,
    SourceError,
    StateError,
    hold_out,
    open_source,
)
from pipelines.decode.audio.recording_reader import RecordingReader
from pipelines.order.clip_arithmetic import ClipSpec
from pipelines.sources.clips import ClipSource
from pipelines.sources.located import LocatedExample, Member
from pipelines.sources.records import Probe
from pipelines.storage.index import INDEX_DTYPE, Index

from .recordings import album, encoded, melody, write_folder, write_tar


class Lengths(Source):
    """Recordings that are only lengths, in shards of `size`; what is asked of it is written down."""

    name = "lengths"

    def __init__(self, num: int, size: int) -> None:
        self.num, self.size = num, size
        self.looked_at: list[int] = []

    def __len__(self) -> int:
        return self.num

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        return np.full(self.num // self.size, self.size)

    def prefix_hash(self, examples: int) -> str | None:
        return f"{examples:032x}"

    def fingerprint(self, shard: int) -> str:
        return str(shard)

    def read(self, indices: Sequence[int]) -> list[Example]:
        raise AssertionError("nothing is to be read whole")

    def locate(self, index: int) -> LocatedExample:
        return LocatedExample(index, f"r{index}", Member(lambda offset, length: b"", 0))

    def records(self, shard: int, probe: Probe) -> Index:
        self.looked_at.append(shard)
        found = np.zeros(self.size, INDEX_DTYPE)
        found["frames"] = (np.arange(self.size) + shard) % 7 * 10
        found["rate_numerator"] = found["rate_denominator"] = found["channels"] = 1
        return found


def clips_of(source: Source, window: int = 10, hop: int = 10, **more: object) -> ClipSource:
    return ClipSource(source, ClipSpec(window, hop, **more), RecordingReader())  # type: ignore[arg-type]


def test_every_clip_has_the_key_of_its_recording_and_its_start() -> None:
    source = Lengths(14, 7)
    expected = [
        f"r{shard * 7 + row}@{start}"
        for shard in range(2)
        for row in range(7)
        for start in range(0, (row + shard) % 7 * 10, 10)
    ]
    clips = clips_of(source)
    assert clips.keys() == expected
    assert clips.find(expected[13]) == 13
    assert [example.index for example in clips.read(range(len(clips)))] == list(range(len(clips)))
    assert clips[-1].key == expected[-1]


def test_totals_are_counted_once_and_a_shard_s_table_is_read_when_one_of_its_clips_is() -> None:
    first = Lengths(700, 7)
    assert len(clips_of(first)) == 100 * 21
    assert first.looked_at == list(range(100))
    second = Lengths(700, 7)
    clips = clips_of(second)
    assert len(clips) == 2100
    assert second.looked_at == []
    clips.read([0, 1, 2099, 20])
    assert sorted(second.looked_at) == [0, 99]
    other = Lengths(700, 7)
    clips_of(other, hop=5)
    assert len(other.looked_at) == 100, "another spec has other totals"


def test_a_damaged_cache_is_made_anew() -> None:
    clips_of(Lengths(70, 7))
    for entry in Path(os.environ["DIRVAE_CACHE"]).iterdir():
        entry.write_bytes(entry.read_bytes()[:50])
    again = Lengths(70, 7)
    assert len(clips_of(again)) == 210
    assert len(again.looked_at) == 10


@pytest.mark.slow
def test_opening_ten_million_recordings_keeps_only_numbers_of_shards() -> None:
    clips_of(Lengths(10_000_000, 10_000))
    source = Lengths(10_000_000, 10_000)
    tracemalloc.start()
    clips = clips_of(source)
    example = clips.read([len(clips) - 1])[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert example.key.startswith("r99999")
    assert peak < 4 << 20


def test_files_are_played_whole_in_random_order_and_another_one_each_epoch(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(9, frames=900))
    audio = AudioIterator(folder, window=700, hop=300, batch_size=4, shuffle="files")
    orders = []
    for _ in range(2):
        keys = [key for batch in audio for key in batch.keys]
        assert sorted(keys) == sorted(audio.source.keys())
        names = [key.split("@")[0] for key in keys]
        order = list(dict.fromkeys(names))
        assert names == sorted(names, key=order.index), "the clips of a file stand together"
        for name in order:
            starts = [int(key.split("@")[1]) for key in keys if key.startswith(name)]
            assert starts == sorted(starts)
        orders.append(order)
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_every_clip_comes_once_an_epoch_in_every_order(tmp_path: Path) -> None:
    for shard in range(4):
        write_tar(
            tmp_path / f"{shard}.tar", {f"{shard}{name}": file for name, file in album(4, frames=800).items()}
        )
    for settings in ({}, {"shuffle": True}, {"shuffle": "files"}, {"shuffle": True, "shuffle_shards": 2}):
        for groups in (1, 3):
            audio = AudioIterator(tmp_path, window=500, batch_size=6, groups=groups, **settings)  # type: ignore[arg-type]
            keys = [key for batch in audio for key in batch.keys]
            assert len(keys) == len(set(keys)) == len(audio.source)
            if settings.get("shuffle") is not True and groups == 1:
                assert keys != sorted(keys) if settings else keys == audio.source.keys()


def test_held_out_recordings_share_no_clip_with_the_others(tmp_path: Path) -> None:
    for shard in range(3):
        write_tar(
            tmp_path / f"{shard}.tar", {f"{shard}{name}": file for name, file in album(10, frames=500).items()}
        )
    parts = hold_out(open_source(tmp_path, modality="audio"), 0.2)
    keys = [AudioIterator(part, window=300).source.keys() for part in parts]
    names = [{key.split("@")[0] for key in of_part} for of_part in keys]
    assert len(names[1]) == 6
    assert not names[0] & names[1]
    assert sorted(keys[0] + keys[1]) == sorted(AudioIterator(tmp_path, window=300).source.keys())
    for part in parts:
        assert sum(len(batch) for batch in AudioIterator(part, window=300, shuffle=True)) > 0


def test_select_and_limit_choose_recordings(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(6, frames=1000))
    chosen = AudioIterator(folder, window=500, select=[4, 1], batch_size=3)
    played = [key for batch in chosen for key in batch.keys]
    whole = AudioIterator(folder, window=500).source.keys()
    assert played == [key for name in ("take04", "take01") for key in whole if key.startswith(name)]
    first = AudioIterator(folder, window=500, limit=2, batch_size=3, shuffle="files")
    assert {key.split("@")[0] for batch in first for key in batch.keys} == {"take00", "take01"}


def test_an_unreadable_recording_is_named_when_it_is_come_upon(tmp_path: Path) -> None:
    files = {**album(3), "bad.wav": b"RIFF nothing of the kind", "worse.flac": b"fLaC" + bytes(99)}
    folder = write_folder(tmp_path / "takes", files)
    audio = AudioIterator(folder, window=1000, batch_size=1)
    with pytest.raises(ExampleError, match=r"bad\.wav.*'bad@0'.*cannot be decoded: "):
        list(audio)
    quarantine = tmp_path / "bad.jsonl"
    going_on = AudioIterator(folder, window=1000, batch_size=1, on_error="substitute", quarantine=quarantine)
    batches = list(going_on)
    assert sum(bool(batch.substituted.any()) for batch in batches if batch.substituted is not None) == 2
    assert quarantine.read_text().count("\n") == 2
    assert "bad@0" in quarantine.read_text()


def test_no_clip_at_all_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(2, frames=100))
    with pytest.raises(SourceError, match=r'as long as a window of 9,999 frames.*short="pad"'):
        AudioIterator(folder, window=9999, short="skip")


def test_pictures_are_no_recordings(tmp_path: Path, picture_folder: object) -> None:
    from pipelines import make_shards

    make_shards(picture_folder(3), tmp_path / "shards")  # type: ignore[operator]
    with pytest.raises(SourceError, match="holds image data"):
        AudioIterator(tmp_path / "shards")


def test_an_epoch_in_progress_ends_over_the_tars_it_began_with(tmp_path: Path) -> None:
    def make() -> AudioIterator:
        return AudioIterator(tmp_path / "tars", window=400, batch_size=5, shuffle=True)

    write_tar(tmp_path / "tars" / "0.tar", album(5, frames=700))
    write_tar(tmp_path / "tars" / "1.tar", {f"b{name}": file for name, file in album(5, frames=600).items()})
    before = make()
    whole = [key for batch in before for key in batch.keys]
    stopped = make()
    state = next(iter(stopped)).state
    stopped.close()
    write_tar(tmp_path / "tars" / "2.tar", {f"c{name}": file for name, file in album(4, frames=650).items()})
    grown = make()
    grown.load_state_dict(state)
    assert [key for batch in grown for key in batch.keys] == whole[5:]
    following = [key for batch in grown for key in batch.keys]
    assert len(following) == len(grown.source) > len(whole)


def test_a_state_of_other_clips_is_refused_and_names_both(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(4))
    state = next(iter(AudioIterator(folder, window=1000, batch_size=2))).state
    assert state["clips"] == {
        "kind": "window",
        "window": 1000,
        "hop": 1000,
        "sample_rate": None,
        "short": "pad",
        "random_offset": False,
    }
    others = ({"hop": 10}, {"short": "skip"}, {"random_offset": True})
    for changed in ({"window": 1001}, *({"window": 1000, **other} for other in others)):
        other = AudioIterator(folder, batch_size=2, **changed)  # type: ignore[arg-type]
        with pytest.raises(StateError, match=r"clips=\{.*'window': 1000.*now \{.*'window': "):
            other.load_state_dict(state)


def test_a_file_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", {"a.wav": encoded(melody(1000)), "b.wav": encoded(melody(1000))})
    assert len(AudioIterator(folder, window=500).source) == 4
    stereo = encoded(melody(500, 2))  # of the same size in bytes
    assert len(stereo) == (folder / "a.wav").stat().st_size
    (folder / "a.wav").write_bytes(stereo)
    os.utime(folder / "a.wav", ns=(1, 1))
    assert len(AudioIterator(folder, window=500).source) == 3


def test_clips_of_whole_files_are_needed_to_play_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(3))
    audio = AudioIterator(folder, window=1000)
    with pytest.raises(ValueError, match="shuffle='files' needs the clips of whole files"):
        next(iter(DataIterator(audio.source, audio.recipe.decoder, select=[1, 2, 3], shuffle="files")))


def test_a_clip_source_is_pickled_without_anything_live(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(5, kinds=("flac", "s16")))
    audio = AudioIterator(folder, window=900, batch_size=4, shuffle=True)
    expected = [batch.data for batch in audio]
    audio.reset()
    copy = pickle.loads(pickle.dumps(audio))
    np.testing.assert_array_equal(np.concatenate([batch.data for batch in copy]), np.concatenate(expected))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_nothing_is_open_before_the_first_batch_or_after_close(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(6, kinds=("flac", "s16", "vorbis")))
    gc.collect()
    before = open_files()
    audio = AudioIterator(folder, window=900, batch_size=4)
    assert open_files() == before
    next(iter(audio))
    assert open_files() > before
    audio.close()
    assert open_files() == before
