"""Windows of recordings are soundfile's samples of the same range: bit by bit for PCM, in every order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines import AudioIterator, Batch, DataIterator, Example, ExampleError, Source, SourceError
from pipelines.decode.audio.audio_decoder import AudioDecoder
from pipelines.decode.audio.recording_reader import RecordingReader
from pipelines.order.clip_arithmetic import ClipSpec
from pipelines.order.randomness import Place
from pipelines.sources.clips import ClipSource
from pipelines.storage.blob import LocalFile
from pipelines.storage.index import index_path, save_index
from pipelines.storage.tar_index import scan_tar

from .recordings import COMPRESSED, SUBTYPES, album, decoded, encoded, melody, write_folder, write_tar

ORDERS = ({}, {"shuffle": True}, {"shuffle": "files"}, {"shuffle": True, "shuffle_shards": 1})


def valid(batch: Batch, slot: int) -> int:
    return int(batch.lengths[slot]) if batch.lengths is not None else batch.data.shape[2]


def assert_windows(audio: AudioIterator, samples_of: Callable[[str], np.ndarray], *, atol: float = 0) -> int:
    """Every window against the samples of its recording, (time, channel); how many there were."""
    num = 0
    for batch in audio:
        assert batch.data.dtype == np.float32
        for slot, key in enumerate(batch.keys):
            name, _, start = key.rpartition("@")
            length = valid(batch, slot)
            expected = samples_of(name)[int(start) : int(start) + length]
            assert len(expected) == length > 0
            found = batch.data[slot, :, :length].T
            assert np.array_equal(found, expected) if not atol else np.abs(found - expected).max() < atol, key
            assert not batch.data[slot, :, length:].any()
            num += 1
    assert num == len(audio.source)
    return num


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """Mono recordings of every PCM encoding, of different lengths."""
    return album(12, kinds=tuple(SUBTYPES), frames=2000)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_windows_of_pcm_are_bit_exact_from_folders_and_from_tars(
    order: dict[str, Any], threads: int, made: dict[str, bytes], tmp_path: Path
) -> None:
    names = list(made)
    write_folder(tmp_path / "folder", made)
    for shard in range(3):
        write_tar(tmp_path / "tars" / f"{shard}.tar", {name: made[name] for name in names[shard::3]})
    samples = {name.removesuffix(".wav"): decoded(content) for name, content in made.items()}
    for source in ("folder", "tars"):
        audio = AudioIterator(tmp_path / source, window=777, hop=500, batch_size=7, threads=threads, **order)
        assert assert_windows(audio, samples.__getitem__) > 100


@pytest.mark.parametrize("kind", COMPRESSED)
def test_windows_of_other_formats_are_those_of_the_whole(kind: str, tmp_path: Path) -> None:
    files = album(2, kinds=(kind,), frames=30_000)
    write_tar(tmp_path / "a.tar", files)
    write_folder(tmp_path / "folder", files)
    samples = {name.split(".")[0]: decoded(content) for name, content in files.items()}
    exact = kind not in ("mp3", "opus")
    for order in ORDERS[:3]:
        for source in ("a.tar", "folder"):
            audio = AudioIterator(tmp_path / source, window=4000, batch_size=5, threads=2, **order)
            assert_windows(audio, samples.__getitem__, atol=0 if exact else 5e-3)


@pytest.mark.parametrize("order", ORDERS[:3], ids=str)
def test_windows_of_the_shared_recordings_are_bit_exact(
    order: dict[str, Any], shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "audio"
    paths = sorted(root.rglob("*.wav"))
    for shard in range(2):
        write_tar(tmp_path / f"{shard}.tar", {path.name: path.read_bytes() for path in paths[shard::2]})
    known = {str(path.relative_to(root).with_suffix("")): decoded(path.read_bytes()) for path in paths}
    known |= {Path(name).name: samples for name, samples in known.items()}
    for number, source in enumerate((root, tmp_path)):
        audio = AudioIterator(source, window=20_000, batch_size=1, threads=1 + 3 * number, **order)  # many rates
        assert assert_windows(audio, lambda name: known[name]) > 900


def test_what_runs_over_the_end_is_padded_and_told_or_skipped(tmp_path: Path) -> None:
    write_folder(tmp_path, {"long.wav": encoded(melody(2500)), "short.wav": encoded(melody(300))})
    padded = list(AudioIterator(tmp_path, window=1000, batch_size=4))
    assert padded[0].keys == ["long@0", "long@1000", "long@2000", "short@0"]
    assert padded[0].lengths.tolist() == [1000, 1000, 500, 300]
    assert padded[0].data.shape == (4, 1, 1000)
    skipped = list(AudioIterator(tmp_path, window=1000, batch_size=4, short="skip"))
    assert skipped[0].keys == ["long@0", "long@1000"]
    assert skipped[0].lengths is None


def test_channels_are_averaged_repeated_or_the_first_are_taken(tmp_path: Path) -> None:
    three = encoded(melody(1500, 3), "f32")
    write_folder(tmp_path, {"mono.wav": encoded(melody(1500)), "three.wav": three})
    mono, many = decoded((tmp_path / "mono.wav").read_bytes()), decoded(three)

    def both(channels: int | None) -> np.ndarray:
        return next(iter(AudioIterator(tmp_path, window=1500, batch_size=2, channels=channels))).data

    np.testing.assert_array_equal(both(1)[0], mono.T)
    np.testing.assert_array_equal(both(1)[1, 0], (many.sum(axis=1) / np.float32(3)).astype(np.float32))
    np.testing.assert_array_equal(both(2)[0], np.repeat(mono.T, 2, axis=0))
    np.testing.assert_array_equal(both(2)[1], many[:, :2].T)
    with pytest.raises(ValueError, match="batch_size=1"):
        both(None)
    own = [batch.data.shape for batch in AudioIterator(tmp_path, window=1500, batch_size=1, channels=None)]
    assert own == [(1, 1, 1500), (1, 3, 1500)]
    with pytest.raises(ExampleError, match="it has 3 channels, and 4 cannot be made of them"):
        both(4)
    with pytest.raises(ValueError, match="channels is 0"):
        both(0)


def test_random_offsets_are_keyed_by_place_whole_and_uniform(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(1050)), "b.wav": encoded(melody(90))})
    known = {name: decoded((tmp_path / f"{name}.wav").read_bytes()) for name in "ab"}

    def make(threads: int = 1) -> AudioIterator:
        return AudioIterator(
            tmp_path, window=100, batch_size=6, shuffle=True, random_offset=True, threads=threads, seed=3
        )

    audio, starts = make(), []
    for _ in range(300):
        keys = []
        for batch in audio:
            keys += batch.keys
            for slot, key in enumerate(batch.keys):
                name, start = key.split("@")
                length = valid(batch, slot)
                assert length == (100 if name == "a" else 90)
                expected = known[name][int(start) : int(start) + length, 0]
                np.testing.assert_array_equal(batch.data[slot, 0, :length], expected)
        starts.append(sorted(int(key[2:]) for key in keys if key[0] == "a"))
    assert len(starts[0]) == 11, "as many clips as without"
    spread = np.array(starts)
    assert spread.max() == 950
    assert spread.min() == 0
    shares = np.arange(12) * 951 // 11
    assert ((spread >= shares[:-1]) & (spread < shares[1:])).all(), "one clip from each share of the beginnings"
    counts, _ = np.histogram(spread, bins=10, range=(0, 951))
    expected = spread.size / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001
    again, other = make(), make(threads=4)
    assert [batch.keys for batch in again] == [batch.keys for batch in other]


class CountedReads:
    """Counts the bytes that are read of local files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = self.reads = 0
        read = LocalFile.read

        def counted(file: LocalFile, offset: int, length: int) -> bytes:
            content = read(file, offset, length)
            self.bytes, self.reads = self.bytes + len(content), self.reads + 1
            return content

        monkeypatch.setattr(LocalFile, "read", counted)


@pytest.mark.parametrize("kind", ["tar", "folder"])
@pytest.mark.parametrize("rate", [8000, 44_100])
def test_a_second_of_a_five_minute_wav_reads_little_more_than_its_bytes(
    kind: str, rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.tile(melody(rate), (300, 1))
    files = {"long.wav": encoded(samples, rate=rate), "long.json": b"{}", "longer.wav": encoded(samples, rate=rate)}
    source = write_tar(tmp_path / "a.tar", files) if kind == "tar" else write_folder(tmp_path / "folder", files)
    audio = AudioIterator(source, window=rate, batch_size=20, shuffle=True)
    counted = CountedReads(monkeypatch)
    num = sum(len(batch) for batch in audio)
    assert num == 600
    assert counted.bytes <= 1.1 * num * rate * 2
    assert counted.bytes >= num * rate * 2, "otherwise the count misses something"
    first = AudioIterator(source, window=rate, batch_size=1)
    counted.bytes = 0
    next(iter(AudioIterator(source, window=rate, batch_size=1, prefetch_bytes=1, threads=1)))
    assert counted.bytes <= 1.1 * rate * 2 + 4096
    assert len(first) == num


def test_headers_and_decoders_are_forgotten_at_the_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(2000)), "b.flac": encoded(melody(2000), "flac")})
    audio = AudioIterator(tmp_path, window=100, batch_size=1, threads=1, prefetch_bytes=1)
    played, counted = next(iter(audio)), CountedReads(monkeypatch)

    def bytes_to_read(start: str) -> int:
        counted.bytes = 0
        audio.recipe.decoder.decode(audio.source[audio.source.find(start)], Place(0, 0, 0))
        return counted.bytes

    assert played.keys == ["a@0"]
    assert bytes_to_read("a@300") == 200
    bytes_to_read("b@300")
    assert bytes_to_read("b@400") == 0, "the decoder stands there, and has read ahead"
    audio.close()
    assert bytes_to_read("a@300") == 200 + 512
    assert bytes_to_read("b@400") > 0


def test_bytes_of_windows_are_accounted_for(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(10_000, 2))})
    audio = AudioIterator(tmp_path, window=1000, batch_size=5)
    list(audio)
    headers = audio.stats.bytes - 40_000
    assert headers in (512, 1024), "the beginning of the file is read once, or by both threads at the same time"


@pytest.mark.parametrize("frames", [6000, 1 << 40])
@pytest.mark.parametrize(
    ("kind", "reason", "played"), [("s16", r"says [\d,]+ frames, its header 5,000", 0), ("flac", "5,000 frames", 5)]
)
def test_an_index_that_promises_more_than_is_there_is_found_out(
    kind: str, reason: str, played: int, frames: int, tmp_path: Path
) -> None:
    tar = write_tar(tmp_path / "a.tar", album(1, kinds=(kind,), frames=5000))
    file = LocalFile(tar)
    index = scan_tar(file.read, file.size, where="a.tar")
    index["frames"], index["rate_numerator"], index["rate_denominator"], index["channels"] = frames, 16_000, 1, 1
    save_index(index_path(tar), index)
    audio = AudioIterator(tar, window=1000, batch_size=1)
    assert len(audio) == -(-frames // 1000)
    with pytest.raises(ExampleError, match=reason):
        for _ in audio:  # `list` would make room for as many as are promised
            pass
    assert audio.position == played


def test_a_folder_that_changes_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(5000))})
    audio = AudioIterator(tmp_path, window=1000, batch_size=5)
    (tmp_path / "a.wav").write_bytes(encoded(melody(2000)))
    with pytest.raises(SourceError, match="2 clips, 5 were counted"):
        list(audio)


class InMemory(Source):
    """A user's own source, of whole recordings in memory."""

    name = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = list(files.items())

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Any) -> list[Example]:
        return [Example(int(i), *self.files[i], fields={"txt": b"said"}) for i in indices]


def test_a_source_of_one_s_own_is_enough(made: dict[str, bytes]) -> None:
    more = {**made, **album(2, kinds=("flac", "vorbis"))}
    audio = AudioIterator(InMemory(more), window=900, batch_size=6, shuffle=True, fields="txt")
    assert_windows(audio, lambda name: decoded(more[name]))
    audio.reset()
    assert next(iter(audio)).fields["txt"] == ["said"] * 6


def test_a_transform_gets_the_samples_and_the_clip(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(5000))})
    seen = []

    def louder(array: np.ndarray, rng: np.random.Generator, example: Any) -> np.ndarray:
        seen.append((example.key, example.record.frames, example.start))
        return array * 2

    plain = next(iter(AudioIterator(tmp_path, window=2000, batch_size=3, threads=1)))
    batch = next(iter(AudioIterator(tmp_path, window=2000, batch_size=3, threads=1, transform=louder)))
    np.testing.assert_array_equal(batch.data, plain.data * 2)
    assert batch.lengths.tolist() == [2000, 2000, 1000]
    assert seen == [("a@0", 5000, 0), ("a@2000", 5000, 2000), ("a@4000", 5000, 4000)]


def test_clips_can_be_played_with_a_decoder_of_one_s_own_settings(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(5000))})
    spec, listener = ClipSpec(1000, 500), RecordingReader()
    source = ClipSource(AudioIterator(tmp_path).source.source, spec, listener)  # type: ignore[attr-defined]
    direct = DataIterator(source, AudioDecoder(listener, spec), batch_size=3)
    np.testing.assert_array_equal(
        next(iter(direct)).data, next(iter(AudioIterator(tmp_path, window=1000, hop=500, batch_size=3))).data
    )
    with pytest.raises(TypeError, match="decodes clips"):
        AudioDecoder(listener, spec).decode(Example(0, "a", b""), Place(0, 0, 0))


def test_float_recordings_are_delivered_as_they_are_stored(tmp_path: Path) -> None:
    loud = melody(500) * 40
    soundfile.write(tmp_path / "loud.wav", loud, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(next(iter(AudioIterator(tmp_path, window=500))).data[0, 0], loud[:, 0])
