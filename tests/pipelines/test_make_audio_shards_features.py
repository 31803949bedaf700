"""Fields computed of recordings while they are packed: right rows at the right moment, or one sentence."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pipelines import AudioIterator, curve_start, open_source
from pipelines.errors import PipelineError, ShardError, ShardingError, SourceError
from pipelines.sharding import make_shards
from pipelines.sharding.cli import main
from pipelines.sharding.modalities import feature_rows
from pipelines.sources import Selection
from pipelines.storage.manifest import Manifest

from . import toy_features
from .conftest import Pack, png
from .wav_files import encoded, noise, packed, parts_of, read, tone, wav

TOY = "toy_features"


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the toy features, as another project would have them."""
    project = tmp_path / "another_project"
    project.mkdir()
    shutil.copy(Path(__file__).with_name("toy_features.py"), project / "toy_features.py")
    monkeypatch.syspath_prepend(str(project))
    yield project
    sys.modules.pop(TOY, None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "audio"
    folder.mkdir(parents=True)
    return folder


def load(content: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def announce(project: Path, text: str, name: str = "toy-feature-kit") -> None:
    """Install a package in name only: its entry points."""
    metadata = project / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(text)


def ramp(seconds: float, rate: int) -> bytes:
    """A recording whose samples are the time, in eighths of a second."""
    time = np.arange(round(seconds * rate)) / rate
    return encoded((time / 8).astype(np.float32)[:, None], rate, "WAV", "FLOAT")


# What is computed, and of what


@pytest.mark.parametrize("kind", ["s16", "f32", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_feature_gets_the_samples_that_soundfile_decodes_channels_first(
    source: Path, tmp_path: Path, pack: Pack, kind: str, channels: int
) -> None:
    file = {
        "flac": lambda: encoded(tone(0.4, 44_100, channels), 44_100, "FLAC", "PCM_24"),
        "ogg": lambda: encoded(tone(0.4, 44_100, channels), 44_100, "OGG", "VORBIS"),
        "mp3": lambda: encoded(tone(0.4, 44_100, channels), 44_100, "MP3"),
    }.get(kind, lambda: wav(noise(kind, 17_640, channels), kind, channels, 44_100))()
    (source / f"a.{'wav' if kind in ('s16', 'f32') else kind}").write_bytes(file)
    seen = []

    def watched(samples: NDArray[np.float32], sample_rate: int) -> Any:
        seen.append((samples.shape[0], samples.dtype, samples.flags.c_contiguous, sample_rate))
        return samples.T, sample_rate

    assert pack(features={"watched": watched}).failures == ()
    assert seen == [(channels, np.float32, True, 44_100)]
    rows = load(packed(tmp_path / "out")["a"]["watched.npy"])
    assert np.array_equal(rows, read(file)[0])


@pytest.mark.parametrize("segment", [None, 0.25])
def test_a_feature_gets_what_is_packed_where_packing_resamples_and_mixes(
    source: Path, tmp_path: Path, pack: Pack, segment: float | None
) -> None:
    (source / "a.wav").write_bytes(encoded(tone(1.1, 44_100, 2), 44_100, "WAV", "FLOAT"))
    pack(features=f"{TOY}:echo", sample_rate=16_000, channels=1, segment=segment)
    found = packed(tmp_path / "out")
    parts = [found["a"]] if segment is None else parts_of(found, "a")
    assert len(parts) == (1 if segment is None else 5)
    for part in parts:
        samples, rate = read(part["wav"])
        assert rate == 16_000
        assert samples.shape[1] == 1
        assert np.array_equal(load(part["echo.npy"]), samples)
    assert [str(rate[0]) for rate in Manifest.load(tmp_path / "out").curve_rates.values()] == ["16000"]


def test_rows_are_stored_in_c_order_little_endian_and_a_dict_gives_several_fields(
    source: Path, tmp_path: Path, pack: Pack
) -> None:
    samples = tone(1.0, 16_000, 2)
    (source / "a.wav").write_bytes(encoded(samples, 16_000, "WAV", "FLOAT"))
    pack(features={"level": f"{TOY}:level", "time": toy_features.clock, "unspoilt": f"{TOY}:echo"})
    fields = packed(tmp_path / "out")["a"]
    assert sorted(fields) == ["loudest.npy", "peaks.npy", "time.npy", "unspoilt.npy", "wav"]
    peaks, loudest = load(fields["peaks.npy"]), load(fields["loudest.npy"])
    assert peaks.flags.c_contiguous
    assert (peaks.dtype.str, loudest.dtype.str) == ("<f4", "<f8")
    assert np.array_equal(peaks, np.abs(samples).reshape(250, 64, 2).max(axis=1))
    assert np.array_equal(loudest, peaks.max(axis=1))
    assert np.array_equal(load(fields["unspoilt.npy"]), samples), (
        "what one feature does to the samples another sees"
    )
    manifest = Manifest.load(tmp_path / "out")
    assert manifest.settings["features"] == {
        "level": "toy_features:level",
        "time": "tests.pipelines.toy_features:clock",
        "unspoilt": "toy_features:echo",
    }
    text = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert text["curve_rates"] == {
        "loudest.npy": ["250"], "peaks.npy": ["250"], "time.npy": ["250"], "unspoilt.npy": ["16000"]
    }  # fmt: skip


def test_a_set_without_features_has_the_manifest_it_had(source: Path, tmp_path: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(wav(noise("s16", 4000, 1), "s16", 1))
    pack()
    assert b"features" not in (tmp_path / "out" / "manifest.json").read_bytes()
    assert b"curve_rates" not in (tmp_path / "out" / "manifest.json").read_bytes()


# The right moment


def clips_with_their_times(
    audio: AudioIterator, window: int, sample_rate: int
) -> Iterator[tuple[str, float, NDArray[Any]]]:
    """Key, second of the first sample as the sound itself says it, and the rows of `clock.npy`."""
    middle = window // 2  # away from the ends, where resampling rings
    for batch in audio:
        for slot, key in enumerate(batch.keys):
            yield (
                key,
                float(batch.data[slot, 0, middle]) * 8 - middle / sample_rate,
                batch.fields["clock.npy"][slot],
            )


@pytest.mark.parametrize(
    ("packing", "playing", "stored"),
    [
        ({}, {"hop": 3001}, None),
        ({}, {"random_offset": True, "shuffle": True}, None),
        ({"segment": 0.4}, {"random_offset": True}, None),
        ({"segment": 0.4}, {"sample_rate": 16_000, "random_offset": True}, 44_100),
        ({}, {"sample_rate": 16_000, "random_offset": True, "shuffle": "files"}, 44_100),
        ({}, {"sample_rate": 16_000, "hop": 777}, 44_100),
        ({}, {"sample_rate": 48_000, "hop": 1600}, 44_100),
        ({"sample_rate": 22_050, "segment": 0.4}, {"random_offset": True}, None),
        ({"codec": "flac"}, {"hop": 1001}, None),
    ],
)
def test_rows_arrive_cut_to_the_window_at_the_right_moment(
    source: Path, tmp_path: Path, pack: Pack, packing: dict[str, Any], playing: dict[str, Any], stored: int | None
) -> None:
    for name, seconds in (("a", 1.9), ("b", 2.3)):
        (source / f"{name}.wav").write_bytes(ramp(seconds, 44_100))
    assert pack(features=f"{TOY}:clock", **packing).failures == ()
    rate = playing.get("sample_rate") or packing.get("sample_rate") or 44_100
    window = round(0.1 * rate)
    audio = AudioIterator(
        tmp_path / "out", window=window, short="skip", batch_size=5, curves={"clock.npy": 250}, seed=3, **playing
    )
    clips = list(clips_with_their_times(audio, window, rate))
    assert len(clips) > 25
    early = []
    for key, second, rows in clips:
        start = int(key.split("@")[1])
        seconds_early = curve_start(start, 250, rate, stored_rate=stored)
        assert -Fraction(1, 2) < seconds_early * 250 <= Fraction(1, 2)
        assert rows[0] - second == pytest.approx(float(seconds_early), abs=8e-6), key  # a third of a sample
        assert np.allclose(np.diff(rows), 1 / 250), key
        assert len(rows) == 25
        early.append(seconds_early)
    assert len(set(early)) > 2, "clips begin at various moments between two rows"


def test_the_first_row_of_a_clip_is_the_nearest_to_its_first_sample() -> None:
    assert curve_start(0, 250, 44_100) == 0
    assert curve_start(100, 250, 44_100) == Fraction(1, 250) - Fraction(100, 44_100)
    assert curve_start(80, 250, 44_100) == -Fraction(80, 44_100)
    assert curve_start(32, 250, 16_000) == Fraction(1, 500), "half a row is rounded up"
    assert curve_start(np.int64(176), 250.0, 44_100) == Fraction(1, 250) - Fraction(176, 44_100)
    assert curve_start(3 * 512, Fraction(44_100, 512), 44_100) == 0
    rows = [curve_start(start, 250, 44_100) * 250 for start in range(2000)]
    assert min(rows) > -Fraction(1, 2)
    assert max(rows) <= Fraction(1, 2)
    assert curve_start(441, 100, 16_000, stored_rate=44_100) == 0
    assert curve_start(2, 250, 16_000, stored_rate=44_100) == -Fraction(1, 16_000), "START is the frame before"
    with pytest.raises(ValueError, match="rows per second"):
        curve_start(0, 0, 44_100)


def test_a_rate_may_be_a_fraction_that_divides_nothing(source: Path, tmp_path: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(ramp(3.0, 44_100))
    pack(features={"clock": f"{TOY}:odd_clock"})
    assert Manifest.load(tmp_path / "out").curve_rates == {"clock.npy": (Fraction(11_025, 128),)}
    audio = AudioIterator(tmp_path / "out", window=4096, batch_size=4, short="skip", curves="clock.npy")
    for key, second, rows in clips_with_their_times(audio, 4096, 44_100):
        assert abs(rows[0] - second) < 1e-6, key
        assert len(rows) == 8


def test_segments_of_a_feature_join_to_the_whole(source: Path, tmp_path: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(wav(noise("s16", 23_456, 2), "s16", 2, 16_000))
    pack(features=f"{TOY}:level")
    whole = load(packed(tmp_path / "out")["a"]["peaks.npy"])
    pack(features=f"{TOY}:level", segment=0.2, overwrite=True)
    parts = parts_of(packed(tmp_path / "out"), "a")
    assert len(parts) == 8
    assert np.array_equal(np.concatenate([load(part["peaks.npy"]) for part in parts]), whole)


def test_a_segment_that_is_no_whole_number_of_rows_is_refused(source: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(ramp(1.0, 44_100))
    expected = r"a segment of 0.25 s is 21.5332 rows of odd_clock.npy at 86.1328 per second; it must be a whole"
    with pytest.raises(ShardingError, match=expected):
        pack(features=f"{TOY}:odd_clock", segment=0.25)


# Rates from the manifest


def test_iterators_know_the_rates_of_features_by_their_names(source: Path, tmp_path: Path, pack: Pack) -> None:
    for number in range(6):
        (source / f"{number}.wav").write_bytes(ramp(0.5, 16_000))
        np.save(source / f"{number}.beside.npy", np.arange(50, dtype=np.float32), allow_pickle=False)
    pack(features=f"{TOY}:clock", segment=0.2, curves={"beside.npy": 100})
    names, rates = ("beside.npy", "clock.npy"), {"beside.npy": 100, "clock.npy": 250}
    settings: dict[str, Any] = {"window": 1600, "batch_size": 4, "shuffle": True}
    shards = open_source(tmp_path / "out")
    for place in (tmp_path / "out", shards, Selection(shards, range(3, 9))):
        named = list(AudioIterator(place, curves=names, **settings))
        given = list(AudioIterator(place, curves=rates, **settings))
        assert len(named) == len(given) > 0
        for one, other in zip(named, given, strict=True):
            assert one.fields["clock.npy"].shape[1:] == (25,)
            assert all(np.array_equal(one.fields[name], other.fields[name]) for name in names)
    with pytest.raises(SourceError, match=r"has no curve clock; did you mean clock\.npy\?"):
        AudioIterator(tmp_path / "out", curves=["clock"])
    for place, name in ((source, "beside.npy"), (tmp_path / "out" / "audio-000000.tar", "clock.npy")):
        with pytest.raises(SourceError, match=f"has no rate for {name}, so that curves must give it: curves="):
            AudioIterator(place, curves=[name])


def test_different_rates_are_told_and_are_no_rate_for_an_iterator(source: Path, tmp_path: Path, pack: Pack) -> None:
    for rate in (16_000, 44_100):
        (source / f"{rate}.wav").write_bytes(ramp(0.5, rate))
    expected = (
        "hops.npy: 62.5 and 172.266 rows per second; iterators take one rate: give all recordings one sample_rate.",
    )
    assert pack(features=f"{TOY}:hops").notes == expected
    assert pack(features=f"{TOY}:hops").notes == expected
    with pytest.raises(SourceError, match=r"has 2 different rates for hops\.npy"):
        AudioIterator(tmp_path / "out", curves=["hops.npy"])
    assert pack(features=f"{TOY}:hops", sample_rate=16_000, overwrite=True).notes == ()


@pytest.mark.parametrize(
    "rates", [[], {"a": "250"}, {"a": [250]}, {"a": ["0"]}, {"a": ["1/0"]}, {"a": ["1e999999"]}]
)
def test_a_manifest_with_other_rates_than_numbers_is_refused(
    source: Path, tmp_path: Path, pack: Pack, rates: Any
) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    pack(features=f"{TOY}:clock")
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "curve_rates": rates}))
    with pytest.raises(ShardError, match="curve_rates"):
        Manifest.load(tmp_path / "out")


# Processes, names, settings


def test_bytes_do_not_depend_on_workers_or_on_how_a_feature_is_named(
    source: Path, tmp_path: Path, toy: Path
) -> None:
    for number in range(9):
        (source / f"{number}.wav").write_bytes(wav(noise("s16", 4000 + 100 * number, 2, number), "s16", 2))
    announce(toy, "[pipelines.features]\nlevel = toy_features:level\n")
    import toy_features as imported

    ways: list[tuple[int, Any]] = [
        (0, {"level": imported.level}),
        (1, f"level=  {TOY}:level"),
        (2, ["level"]),
    ]
    for workers, features in ways:
        out = tmp_path / str(workers)
        make_shards(source, out, workers=workers, shard_examples=2, features=features, segment=0.1)
        assert contents(out) == contents(tmp_path / "0")


def test_functions_that_processes_cannot_import_need_this_one(source: Path, tmp_path: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))

    def inner(samples: Any, sample_rate: int) -> Any:
        return toy_features.clock(samples, sample_rate)

    functions: list[Callable[..., Any]] = [inner, lambda samples, rate: toy_features.clock(samples, rate)]
    for function in functions:
        with pytest.raises(
            ShardingError, match=r"gives time a function that worker processes cannot import .* workers=0"
        ):
            pack(features={"time": function}, workers=1)
    assert not (tmp_path / "out").exists()
    for function in functions:
        assert pack(features={"time": function}, overwrite=True).examples == 1
    assert "time.npy" in packed(tmp_path / "out")["a"]


def test_other_features_are_other_settings(source: Path, tmp_path: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    pack(features=f"{TOY}:clock")
    assert pack(features={"clock": f"{TOY}:clock"}).was_complete
    for features in (f"{TOY}:level", f"clock={TOY}:level", ()):
        with pytest.raises(ShardingError, match=r"other settings .features was .* Use those"):
            pack(features=features)
    (source / "b.wav").write_bytes(ramp(0.5, 44_100))
    pack(features=f"{TOY}:clock", append=True)
    assert {name for one in packed(tmp_path / "out").values() for name in one} == {"wav", "clock.npy"}


def test_appending_keeps_the_rates_that_were_there(source: Path, tmp_path: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    pack(features=f"{TOY}:hops")
    (source / "b.wav").write_bytes(ramp(0.5, 32_000))
    pack(features=f"{TOY}:hops", append=True)
    assert Manifest.load(tmp_path / "out").curve_rates == {"hops.npy": (Fraction(125, 2), Fraction(125))}


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ("nobody", ValueError, r"features names 'nobody', which is not known \(known are .*level.*\): name it as"),
        ("", ValueError, "features has an empty name in ''; name a feature there, or leave it out."),
        (f"{TOY}:clock,,{TOY}:level", ValueError, "features has an empty name in "),
        ("a:b:c", ValueError, "features names 'a:b:c'; it must be module:function"),
        (f"{TOY}:nothing", ShardingError, f"features names {TOY}:nothing; there is no such function in {TOY}."),
        (f"rate={TOY}:RATE", ShardingError, "there is no such function"),
        ("no_such_module:f", ShardingError, "there is no module no_such_module. Install it"),
        (
            "broken_module:f",
            ShardingError,
            r"importing broken_module fails \(ZeroDivisionError: division by zero\)",
        ),
        ("needs_module:g", ShardingError, r"features: g .needs_module:g. needs nobody_has_this, which is missing"),
        (
            "kit",
            ShardingError,
            r"features: kit needs nobody_has_this: pip install 'toy-feature-kit\[train,audio\]'",
        ),
        ("old_module:f", ShardingError, rf"features: f \(old_module:f\) cannot be imported \(ImportError: .*{TOY}"),
        (f"wav={TOY}:clock", ValueError, "features has 'wav', which cannot be the name of a field"),
        (f"a.b={TOY}:clock", ValueError, "cannot be the name of a field"),
        (f"F0={TOY}:clock", ValueError, "cannot be the name of a field"),
        (f"={TOY}:clock", ValueError, "cannot be the name of a field"),
        (f"{TOY}:clock,{TOY}:clock", ValueError, "features has clock twice"),
        (3, TypeError, "features is 3; it must be names"),
        ([3], TypeError, "features has 3; it must be a name"),
        ({"a": 3}, TypeError, "features has 'a': 3; a name, and a function"),
        ({"a": partial(toy_features.clock)}, TypeError, "has no name for the manifest"),
    ],
)
def test_wrong_names_are_one_sentence_before_anything_is_made(
    source: Path, tmp_path: Path, pack: Pack, toy: Path, features: Any, error: type[Exception], message: str
) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    (toy / "broken_module.py").write_text("1 / 0\n")
    (toy / "old_module.py").write_text(f"from {TOY} import nothing\n")
    (toy / "needs_module.py").write_text("import nobody_has_this\n")
    announce(toy, f"[pipelines.features]\nlevel = {TOY}:level\nkit = needs_module:f [train,audio]\n")
    with pytest.raises(error, match=message) as refused:
        pack(features=features)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_missing_when_a_feature_runs_ends_packing(source: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    with pytest.raises(ShardingError, match=r"lacks_package .* needs no_such_package_at_all, which is missing"):
        pack(features=f"{TOY}:lacks_package")


def test_settings_that_contradict_features_are_refused(source: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    with pytest.raises(ValueError, match="overwrite_features is True, but nothing is computed"):
        pack(overwrite_features=True)
    with pytest.raises(ValueError, match=r"curves names clock\.npy, which is a feature, too"):
        pack(features=f"{TOY}:clock", curves={"clock.npy": 250}, segment=0.2)


# One recording that has no such field


def test_a_feature_that_fails_for_a_recording_makes_it_a_failure_with_the_reason(
    source: Path, tmp_path: Path, pack: Pack
) -> None:
    for name, level in (("quiet", 0.1), ("loud", 0.9)):
        (source / f"{name}.wav").write_bytes(encoded(tone(0.5) * np.float32(level / 0.4), 16_000, "WAV", "PCM_16"))
    for workers in (0, 1):
        report = pack(features=f"{TOY}:breaks", workers=workers, overwrite=True)
        assert [tuple(one) for one in report.failures] == [
            ("loud.wav", "its feature breaks fails (RuntimeError: too loud for <object object at 0x…> and more)")
        ]
        assert sorted(packed(tmp_path / "out")) == ["quiet"]
    with pytest.raises(ShardingError, match=r"1 file cannot be packed"):
        pack(features=f"{TOY}:breaks", strict=True)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("alone", r"gives ndarray; \(rows, rows per second\) are expected"),
        ("three", r"gives tuple; \(rows, rows per second\) are expected"),
        ("scalar", r"its x\.npy has the shape \(\); \(row, …\) is expected"),
        ("empty", r"its x\.npy has the shape \(125, 0\)"),
        ("short", r"its x\.npy has 62 rows, where 125 are as long as the recording"),
        ("nan", r"its x\.npy has a value that is no finite number, in row 3"),
        ("infinite", r"its deep\.npy has a value that is no finite number, in row 0"),
        ("text", r"its x\.npy has values of type <U1; numbers"),
        ("ragged", r"its x\.npy is not an array \(ValueError"),
        ("objects", r"its x\.npy has values of type object"),
        ("complex", r"its x\.npy has values of type complex64"),
        ("rate", r"gives a wrong rate: 0 is not a number of rows per second"),
        ("ratetext", r"gives a wrong rate: '250' is not a number"),
        ("nothing", r"its feature x gives no field"),
        ("dots", r"gives 'a\.b', which cannot be a field's name"),
        ("media", r"gives 'wav', which cannot be a field's name"),
        ("upper", r"gives 'F0', which cannot be a field's name"),
        ("number", r"gives 1, which cannot be a field's name"),
    ],
)
def test_what_cannot_be_a_field_is_a_reason_and_of_every_file_the_end(
    source: Path, tmp_path: Path, pack: Pack, kind: str, reason: str
) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    features = {"x": lambda samples, rate: toy_features.wrong(kind, samples, rate)}
    with pytest.raises(ShardingError, match=f"none of its 1 recording can be packed: a.wav is refused: .*{reason}"):
        pack(features=features)
    assert not list((tmp_path / "out").glob("*.tar"))


def test_two_features_that_give_one_field_are_refused(source: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    with pytest.raises(ShardingError, match=r"two of its features give (loudest|peaks)\.npy"):
        pack(features=f"x={TOY}:level,y={TOY}:level")


def test_silence_and_ten_milliseconds_have_their_rows(source: Path, tmp_path: Path, pack: Pack) -> None:
    (source / "silence.wav").write_bytes(wav(bytes(2 * 16_000), "s16", 1, 16_000))
    (source / "short.wav").write_bytes(ramp(0.01, 44_100))
    (source / "sample.wav").write_bytes(ramp(1 / 44_100, 44_100))
    (source / "nothing.wav").write_bytes(wav(b"", "s16", 1, 16_000))
    report = pack(features=f"{TOY}:clock,{TOY}:level")
    assert [tuple(one) for one in report.failures] == [("nothing.wav", "a recording without a whole sample")]
    found = packed(tmp_path / "out")
    assert {key: len(load(one["peaks.npy"])) for key, one in found.items()} == {
        "silence": 250,
        "short": 2,
        "sample": 1,
    }
    assert not load(found["silence"]["peaks.npy"]).any()
    audio = AudioIterator(tmp_path / "out", window=1000, batch_size=1, curves=("clock.npy",))
    assert sum(len(batch) for batch in audio) == 18
    report = pack(features=f"{TOY}:clock,{TOY}:level", sample_rate=16_000, segment=0.1, overwrite=True)
    assert [one.path for one in report.failures] == ["nothing.wav", "sample.wav"]


def test_a_recording_that_does_not_fit_memory_is_a_failure_that_says_so(
    source: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "long.wav").write_bytes(wav(bytes(4 * 600_000), "s16", 2, 16_000))
    (source / "short.wav").write_bytes(wav(bytes(4 * 60_000), "s16", 2, 16_000))
    monkeypatch.setattr(feature_rows, "MOST_SAMPLE_BYTES", 1 << 20)
    for settings in ({}, {"segment": 1}):
        (failure,) = pack(features=f"{TOY}:clock", overwrite=True, **settings).failures
        assert failure.path == "long.wav"
        assert failure.reason.startswith(
            "5 MiB as samples of 32 bits, and features are computed of 1 at most: cut it"
        )


def test_a_field_that_is_there_already_is_refused_unless_it_is_to_be_replaced(
    source: Path, tmp_path: Path, pack: Pack
) -> None:
    for name in ("a", "b"):
        (source / f"{name}.wav").write_bytes(ramp(0.5, 16_000))
    np.save(source / "b.Peaks.npy", np.zeros(125), allow_pickle=False)
    with pytest.raises(PipelineError, match=r"^b\.wav: peaks\.npy is beside it already, .*--overwrite-features\.$"):
        pack(features={"peaks": f"{TOY}:clock"})
    assert not (tmp_path / "out").exists()
    with pytest.raises(PipelineError, match=r"^b\.wav: peaks\.npy is beside it already"):
        pack(features=f"{TOY}:level", workers=1)
    pack(features=f"{TOY}:level", overwrite_features=True)
    assert load(packed(tmp_path / "out")["b"]["peaks.npy"]).any()
    assert pack(features=f"{TOY}:level", overwrite_features=True).was_complete


# The command line


def test_the_command_line_takes_names_and_modules_in_the_working_folder(
    source: Path, tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "a.wav").write_bytes(ramp(0.5, 16_000))
    (source.parent / "image").mkdir()
    (source.parent / "image" / "a.png").write_bytes(png(1))
    announce(toy, f"[pipelines.features]\nclock = {TOY}:clock\n")
    (tmp_path / "local_features.py").write_text(f"from {TOY} import level\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    flags = ["--workers", "0", "--features", "clock, local_features:level", "--features", f"again={TOY}:clock"]
    assert main(["data", *flags]) == 0
    assert sorted(packed(Path("shards/audio"))["a"]) == [
        "again.npy", "clock.npy", "loudest.npy", "peaks.npy", "wav"
    ]  # fmt: skip
    assert list(packed(Path("shards/image"))["a"]) == ["png"], "features are those of sound"
    capsys.readouterr()
    assert main(["data/image", *flags]) == 2
    assert capsys.readouterr().err == (
        "make_shards: data/image: features is a setting for recordings, and none are packed. Leave it out.\n"
    )
    assert main(["data/audio", "--out", "other", "--features", "clok"]) == 2
    assert capsys.readouterr().err.startswith("make_shards: features names 'clok', which is not known (known are ")
    np.save("data/audio/a.clock.npy", np.zeros(125), allow_pickle=False)
    assert main(["data/audio", "--out", "other", "--features", "clock"]) == 2
    assert "--overwrite-features" in capsys.readouterr().err
    assert main(["data/audio", "--out", "other", "--features", "clock", "--overwrite-features"]) == 0


def test_the_features_of_dirvae_are_announced() -> None:
    from configparser import ConfigParser

    config = ConfigParser()
    config.read(Path(__file__).resolve().parents[2] / "setup.cfg", encoding="utf-8")
    announced = config["options.entry_points"]["pipelines.features"].split("\n")
    assert announced[1:] == [
        "f0 = dirvae.ddsp.features:f0 [train,audio]",
        "loudness = dirvae.ddsp.features:loudness [train,audio]",
    ]


def test_pitch_and_loudness_of_dirvae_are_packed_for_any_number_of_processes(source: Path, tmp_path: Path) -> None:
    if not (Path(__file__).resolve().parents[2] / "dirvae" / "ddsp" / "features.py").exists():
        pytest.skip("dirvae.ddsp.features is not there yet")
    for number, rate in enumerate((16_000, 44_100)):
        samples = tone(1.2, rate, hz=220.0 * (1 + number))
        (source / f"{number}.wav").write_bytes(encoded(samples, rate, "WAV", "PCM_16"))
    soundfile.write(source / "silence.wav", np.zeros(16_000), 16_000)
    features = {"f0": "dirvae.ddsp.features:f0", "loudness": "dirvae.ddsp.features:loudness"}
    for workers in (0, 2):
        report = make_shards(source, tmp_path / str(workers), workers=workers, shard_examples=2, features=features)
        assert report.failures == ()
    assert contents(tmp_path / "0") == contents(tmp_path / "2")
    names = ("f0.npy", "f0_confidence.npy", "loudness.npy")
    batch = next(iter(AudioIterator(tmp_path / "0", window=16_000, batch_size=4, sample_rate=16_000, curves=names)))
    for key, pitch in zip(batch.keys, batch.fields["f0.npy"], strict=True):
        if not key.startswith("silence"):
            expected = 220.0 * (1 + int(key[0]))
            assert np.median(pitch) == pytest.approx(expected, rel=0.01)
