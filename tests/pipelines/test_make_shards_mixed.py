"""Folders of several kinds of media: a set of shards for each, and what is said of the rest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import ImageIterator
from pipelines.errors import ShardingError, SourceError
from pipelines.modality import Format, Modality, register
from pipelines.sharding import make_shards
from pipelines.sharding.cli import main
from pipelines.storage.listing import list_folder
from pipelines.storage.manifest import Manifest

from .conftest import png
from .wav_files import encoded, noise, packed, tone, wav

SCAN = b"SCAN"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, with a modality that cannot be packed."""
    monkeypatch.chdir(tmp_path)
    register(Modality(name="scan", noun="scan", formats=(Format("scan", rb"SCAN"),)))


def put(path: str, content: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def sound(number: int = 0) -> bytes:
    return wav(noise("s16", 800, 1, number), "s16", 1)


def originals(out: str) -> list[str]:
    return sorted(json.loads(line)[1] for line in Path(out, "manifest.names.jsonl").read_text().splitlines())


def test_folders_of_kinds_become_a_set_each(capsys: pytest.CaptureFixture[str]) -> None:
    put("data/README.md", b"drop files here")
    for number in range(3):
        put(f"data/image/{number}.png", png(number))
    put("data/audio/deep/a.wav", sound())
    put("data/audio/cover.png", png(9))
    put("data/scan/a.scan", SCAN)
    assert main(["data", "--workers", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data/scan is left: scan is not packed by this version."
    assert lines[1].startswith("shards/image: 3 images in 1 shard")
    assert lines[2].startswith("shards/audio: 1 recording in 1 shard")
    assert lines[3] == "1 file passed over: neither an image, a recording nor a sidecar file of one."
    assert (originals("shards/image"), originals("shards/audio")) == (["0.png", "1.png", "2.png"], ["deep/a.wav"])
    for folder in ("data/image", "data/audio"):
        assert make_shards(folder, workers=0).was_complete, "the same sets as by their own names"
    report = make_shards("data", "elsewhere", workers=0)
    assert (report.out, report.examples, len(report.sets)) == (Path("elsewhere"), 4, 2)
    assert [one.out for one in report.sets] == [Path("elsewhere/image"), Path("elsewhere/audio")]
    assert len(list(ImageIterator("shards", size=8, batch_size=3))) == 1


def test_files_of_several_kinds_side_by_side_become_a_set_each() -> None:
    put("data/a.png", png(0))
    put("data/a.wav", sound())
    put("data/a.json", b'{"both": 1}')
    put("data/told/by/content.png", sound(1))
    put("data/deep/a.scan", SCAN)
    put("data/broken.wav", b"no sound")
    put("data/broken.jpg", b"no picture")
    report = make_shards("data", workers=0)
    assert (originals("shards/image"), originals("shards/audio")) == (["a.png"], ["a.wav", "told/by/content.png"])
    assert packed(Path("shards/image"))["a"]["json"] == packed(Path("shards/audio"))["a"]["json"] == b'{"both": 1}'
    assert {one.modality: [failure.path for failure in one.failures] for one in report.sets} == {
        "image": ["broken.jpg"],
        "audio": ["broken.wav"],
    }
    assert report.notes == ("1 scan left: scan is not packed by this version.",)
    assert make_shards("data", workers=0).was_complete


def test_a_folder_of_one_kind_keeps_its_name_and_strays_of_others_are_passed_over() -> None:
    put("music/a.flac", encoded(tone(0.1), 16_000, "FLAC"))
    put("music/cover.jpg", b"no picture")
    report = make_shards("music", workers=0)
    assert (report.out, report.examples, report.failures, report.skipped) == (Path("shards/music"), 1, (), 1)
    put("data/image/a.png", png(0))
    put("data/image/stray.wav", sound())
    report = make_shards("data/image", workers=0)
    assert (report.out, report.examples, report.skipped) == (Path("shards/image"), 1, 1)


def test_one_kind_can_be_asked_for() -> None:
    put("mixed/a.png", png(0))
    put("mixed/a.wav", sound())
    report = make_shards("mixed", only="audio", workers=0)
    assert (report.out, report.sets[0].modality) == (Path("shards/mixed"), "audio")
    put("data/image/a.png", png(0))
    put("data/audio/a.wav", sound())
    assert [one.modality for one in make_shards("data", only="image", workers=0).sets] == ["image"]
    with pytest.raises(ValueError, match="only is 'scan'"):
        make_shards("data", only="scan")


@pytest.mark.parametrize(
    ("source", "only", "message"),
    [
        ("data/image", None, "data/image: holds audio, no images. Pack it with --only audio."),
        ("data/scan", None, "data/scan: scan is not packed by this version."),
        (
            "scans",
            None,
            "scans: holds scan, no images, recordings or videos; only images, recordings and videos are packed",
        ),
        ("more", None, "more: holds scan; only images, recordings and videos are packed by this version."),
        ("nothing", None, "nothing: no images, recordings or videos in it."),
        ("nothing", "audio", "nothing: no recordings in it."),
        ("bad", None, "bad: no recording in it can be read: a.wav is not a recording: it does not begin like one."),
        (
            "two",
            None,
            "two: no recording in it can be read: a.wav is an empty file; 1 other cannot be read either.",
        ),
        ("notes", None, "notes: no images, recordings or videos in it. Put some there, or name another folder."),
        ("tars", None, "tars: no images, recordings or videos in it, but tars, which may be shards already."),
        ("sets", None, "sets: no images, recordings or videos in it, but tars, which may be shards already."),
    ],
)
def test_what_cannot_be_packed_is_one_sentence(source: str, only: str | None, message: str) -> None:
    put("data/image/a.wav", sound())
    put("data/scan/a.scan", SCAN)
    put("scans/a.scan", SCAN)
    put("more/scan/a.scan", SCAN)
    put("two/a.wav", b"")
    put("two/b.wav", b"")
    put("tars/a.tar", bytes(1024))
    put("sets/audio/a.tar", bytes(1024))
    put("bad/a.wav", b"no sound")
    put("notes/a.txt", b"text")
    Path("nothing/audio").mkdir(parents=True)
    with pytest.raises(SourceError) as caught:
        make_shards(source, only=only, workers=0)
    assert str(caught.value).startswith(message)
    assert not Path("shards").exists()


def test_settings_of_another_kind_are_refused_and_not_ignored() -> None:
    put("data/image/a.png", png(0))
    with pytest.raises(SourceError, match="segment is a setting for recordings and videos, and none are packed"):
        make_shards("data", segment=1, workers=0)
    put("data/audio/a.wav", sound())
    with pytest.raises(SourceError, match="resize is a setting for images and videos, and none are packed"):
        make_shards("data/audio", resize=8, workers=0)
    with pytest.raises(TypeError, match="segmnt"):
        make_shards("data/audio", segmnt=1, workers=0)  # type: ignore[call-arg]
    assert make_shards("data/audio", "plain", resize=None, quality=None, workers=0).examples == 1
    report = make_shards("data", resize=8, segment=0.01, decode=True, workers=0)
    assert [one.examples for one in report.sets] == [1, 5]


def test_a_folder_that_holds_a_set_of_another_kind_is_refused_or_made_anew() -> None:
    put("a/a.png", png(0))
    put("b/b.wav", sound())
    make_shards("a", "out", workers=0)
    for settings in ({}, {"append": True}):
        with pytest.raises(ShardingError, match="out: holds shards of image"):
            make_shards("b", "out", workers=0, **settings)  # type: ignore[arg-type]
    make_shards("b", "out", workers=0, overwrite=True)
    assert sorted(path.name for path in Path("out").glob("*.tar")) == ["audio-000000.tar"]
    assert Manifest.load("out").modality == "audio"


def test_strict_stops_before_anything_is_packed_where_any_kind_has_failures() -> None:
    put("mixed/a.png", png(0))
    put("mixed/a.wav", sound())
    put("mixed/b.wav", b"no sound")
    with pytest.raises(ShardingError, match="1 file cannot be packed"):
        make_shards("mixed", strict=True, workers=0)
    assert not Path("shards").exists()


def test_the_shards_of_a_folder_within_it_are_not_packed_again() -> None:
    put("mixed/a.png", png(0))
    put("mixed/a.wav", sound())
    first = make_shards("mixed", "mixed/packed", workers=0)
    assert make_shards("mixed", "mixed/packed", workers=0).was_complete
    assert first.skipped == 0
    with pytest.raises(ShardingError, match="is the folder that is read"):
        make_shards("mixed", "mixed", workers=0)


def test_sidecars_may_have_names_of_several_parts() -> None:
    for name in ("a.f0.npy", "a.f0.json", "a.b.c.npy", "a.wav.json", "a.bad name.txt", "b.wav.txt", "c.npy"):
        put(f"audio/{name}", b"x")
    put("audio/a.wav", sound())
    put("audio/a.f0.flac", encoded(tone(0.1), 16_000, "FLAC"))
    contents = list_folder(Path("audio"), ("audio",))
    assert {file.path: [suffix for suffix, _ in file.sidecars] for file in contents.listings["audio"].files} == {
        "a.f0.flac": ["json", "npy"],
        "a.wav": ["b.c.npy"],
    }
    assert contents.skipped == 4


def test_what_is_asked_for_is_said_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    put("audio/a.wav", wav(noise("s16", 32_000, 2), "s16", 2))
    put("audio/a.f0.npy", _npy(500))

    def run(*flags: str) -> dict[str, Any]:
        assert main(["audio", "--workers", "0", "--overwrite", *flags]) == 0
        return Manifest.load("shards/audio").settings

    assert run()["segment"] is None
    assert capsys.readouterr().out.startswith("shards/audio: 1 recording in 1 shard")
    cut = run("--segment", "0.5", "--curve", "f0.npy=250", "--channels", "1", "--sample-rate", "8000")
    assert (cut["segment"], cut["curves"], cut["channels"]) == (0.5, {"f0.npy": 250.0}, 1)
    assert capsys.readouterr().out.startswith("shards/audio: 4 segments in 1 shard")
    assert run("--codec", "flac")["codec"] == "flac"
    assert list(next(iter(packed(Path("shards/audio")).values()))) == ["f0.npy", "flac"]
    assert main(["audio", "--overwrite", "--segment", "1", "--curve", "pitch.npy=250"]) == 2
    assert capsys.readouterr().err == (
        "make_shards: No recording has a field pitch.npy beside it. Name another one with --curve.\n"
    )
    with pytest.raises(SystemExit):
        main(["audio", "--curve", "f0.npy"])
    assert "'f0.npy' is not a field with its rows per second" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "settings"),
    [("soundfile", {"codec": "flac"}), ("soundfile", {}), ("soxr", {"sample_rate": 8000, "only": "audio"})],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str, settings: dict[str, Any]
) -> None:
    put("audio/a.wav", sound())
    put("audio/a.flac", encoded(tone(0.1), 16_000, "FLAC"))
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("pipelines.decode.audio.resampling", "pipelines.decode.audio.compressed"):
        for function in vars(sys.modules[name]).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
    with pytest.raises(ShardingError, match=f"pip install {package}"):
        make_shards("audio", workers=0, **settings)
    assert not Path("shards").exists()


def test_a_wav_that_needs_a_missing_package_stops_the_run_and_is_packed_once_it_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put("audio/a.wav", sound())
    put("audio/b.wav", encoded(tone(0.1), 16_000, "WAV", "IMA_ADPCM"))
    for workers in ("0", "1"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "soundfile", None)
            if workers == "1":  # a process of its own blocks the package by a module that cannot be imported
                put("blocked/soundfile.py", b"raise ImportError")
                patch.syspath_prepend("blocked")
            assert main(["audio", "--workers", workers]) == 2
        error = capsys.readouterr().err
        assert "make_shards: b.wav: no wav of plain PCM; " in error
        assert error.rstrip().endswith("pip install soundfile, and run the same command again.")
        assert not Path("shards/audio/manifest.json").exists()
    report = make_shards("audio", workers=0)
    assert (report.examples, report.failures) == (2, ())


def _npy(rows: int) -> bytes:
    import io

    import numpy as np

    file = io.BytesIO()
    np.save(file, np.zeros(rows, np.float32))
    return file.getvalue()
