"""A modality registered from outside the package: listed, packed, iterated, resumed and mixed like our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pipelines import make_shards, mix, open_source
from pipelines.errors import ExampleError, ShardingError, SourceError
from pipelines.modality import find_modality
from pipelines.sharding.cli import main
from pipelines.storage.index import load_index
from pipelines.storage.manifest import Manifest
from pipelines.storage.media_types import sniff
from pipelines.testing import assert_resumes_exactly, play_epoch

from .conftest import png
from .wav_files import noise, packed, wav


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven toys, one with a field and one without a suffix; a broken one, and files of other modalities."""
    folder = tmp_path / "things"
    (folder / "deep").mkdir(parents=True)
    for number in range(10):
        (folder / f"{number}.toy").write_text(f"TOY1 {number} {number**2 % 7} {-number}")
    (folder / "deep" / "unnamed").write_text("TOY1 100 200 300")
    (folder / "3.json").write_text('{"label": 3}')
    (folder / "picture.toy").write_bytes(png(1))
    (folder / "sound.wav").write_bytes(wav(noise("s16", 500, 1), "s16", 1))
    return folder


def rows(iterator: object) -> list[list[int]]:
    return [entry.tolist() for batch in iterator for entry in batch.data]  # type: ignore[attr-defined]


def test_its_files_are_detected_and_its_parts_found(toy: ModuleType) -> None:
    assert sniff(b"TOY1 1 2 3") == ("toy", "toy")
    modality = find_modality("toy")
    assert modality.part("iterator") is toy.ToyIterator
    assert modality.part("packing") is toy.ToySettings
    assert (modality.with_article, modality.plural) == ("a toy", "toys")


@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_packed_by_the_function(toy: ModuleType, folder: Path, tmp_path: Path, workers: int) -> None:
    (folder / "bad.toy").write_text("no toy")
    (folder / "first.oldtoy").write_text("TOY0 1")
    (folder / "much.toy").write_text("TOY1 1 2 3 4 5")
    out = tmp_path / "out"
    report = make_shards(folder, out, only="toy", workers=workers, shard_examples=4, most_numbers=4)  # type: ignore[call-arg]
    assert (report.examples, report.skipped) == (11, 1)
    assert {failure.path: failure.reason for failure in report.failures} == {
        "bad.toy": "not a toy: it does not begin like one",
        "first.oldtoy": "a toy of the first kind",
        "much.toy": "5 numbers are too many",
        "picture.toy": "not a toy but image",
    }
    assert sorted(path.name for path in out.glob("*.tar")) == [f"toy-00000{number}.tar" for number in range(3)]
    assert Manifest.load(out).settings["most_numbers"] == 4
    assert packed(out)["3"] == {"json": b'{"label": 3}', "toy": b"TOY1 3 2 -3"}
    index = load_index(out / "toy-000000.tar.index.npy")
    assert {tuple(row) for row in index[["frames", "rate_numerator", "rate_denominator"]].tolist()} == {(3, 5, 2)}
    assert make_shards(folder, out, only="toy", workers=0, shard_examples=4, most_numbers=4).was_complete  # type: ignore[call-arg]


def test_every_number_of_workers_gives_the_same_bytes(toy: ModuleType, folder: Path, tmp_path: Path) -> None:
    for workers in (0, 2):
        make_shards(folder, tmp_path / str(workers), only="toy", workers=workers, shard_examples=4)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("0", "2")]
    assert files[0] == files[1]


def test_it_is_packed_on_the_command_line(
    toy: ModuleType, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(folder), "--out", str(tmp_path / "out"), "--workers", "0"]
    assert main([*command, "--only", "toy", "--codec", "sorted", "--most-numbers", "9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'out'}: 11 toys in 1 shard")
    assert lines[1] == "1 file passed over: neither a toy nor a sidecar file of one."
    assert packed(tmp_path / "out")["3"]["toy"] == b"TOY1 -3 2 3"
    assert main([*command[:1], "--out", str(tmp_path / "all"), "--workers", "0"]) == 0
    sets = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert sets == ["audio", "image", "toy"]
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert shown.count("--codec ") == 2, "once in the usage, once explained: the flag is one for both modalities"
    assert "toys:\n  --most-numbers" in shown
    assert "images, recordings, videos or toys" in " ".join(shown.split())


def test_a_setting_of_several_modalities_is_checked_by_those_that_are_packed(
    toy: ModuleType, folder: Path, tmp_path: Path
) -> None:
    def pack(only: str | None, codec: str) -> None:
        make_shards(folder, tmp_path / f"{only} {codec}", only=only, codec=codec, workers=0)  # type: ignore[arg-type]

    pack("toy", "sorted")
    pack("audio", "flac")
    with pytest.raises(ValueError, match="codec is 'flac'; it must be keep or sorted"):
        pack("toy", "flac")
    with pytest.raises(ValueError, match="codec is 'sorted'; it must be keep, wav or flac"):
        pack("audio", "sorted")
    with pytest.raises(ValueError, match="codec is 'mp3'"):
        pack(None, "mp3")
    with pytest.raises(SourceError, match="most_numbers is a setting for toys, and none are packed"):
        make_shards(folder, tmp_path / "out", only="image", most_numbers=3, workers=0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="fewest_numbers"):
        make_shards(folder, tmp_path / "out", fewest_numbers=3, workers=0)  # type: ignore[call-arg]


def test_a_set_of_it_is_continued_and_overwritten(toy: ModuleType, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_shards(folder, out, only="toy", workers=0)
    (folder / "new.toy").write_text("TOY1 7 7 7")
    with pytest.raises(ShardingError, match="1 new, 0 gone"):
        make_shards(folder, out, only="toy", workers=0)
    assert make_shards(folder, out, only="toy", workers=0, append=True).shards == 2
    assert make_shards(folder, out, only="toy", workers=0, overwrite=True, shard_examples=20).shards == 1
    assert sorted(path.name for path in out.glob("*.tar")) == ["toy-000000.tar"]


def test_a_folder_of_its_name_stands_for_it(
    toy: ModuleType, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, "data/toy")
    (tmp_path / "data" / "image").mkdir()
    (tmp_path / "data" / "image" / "a.png").write_bytes(png(0))
    assert [str(one.out) for one in make_shards("data", workers=0).sets] == ["shards/image", "shards/toy"]
    assert len(open_source("shards", modality="toy")) == 11


def test_it_is_iterated_from_the_folder_and_from_the_shards(toy: ModuleType, folder: Path, tmp_path: Path) -> None:
    make_shards(folder, tmp_path / "out", only="toy", workers=0, shuffle=None)
    played = {}
    for place in (folder, tmp_path / "out"):
        batches = list(toy.ToyIterator(place, batch_size=4, fields=["json"], seed=3))
        played[place] = {
            key: (data.tolist(), label)
            for batch in batches
            for key, data, label in zip(batch.keys, batch.data[:, :3], batch.fields["json"], strict=True)
        }
    assert played[folder] == played[tmp_path / "out"]
    assert len(played[folder]) == 11
    assert played[folder]["3"] == ([3, 2, -3], {"label": 3})
    (folder / "broken.toy").write_text("TOY1 no numbers")
    with pytest.raises(ExampleError, match="not a list of numbers"):
        rows(toy.ToyIterator(folder))


@pytest.mark.parametrize("packed_first", [False, True])
def test_it_resumes_exactly(toy: ModuleType, folder: Path, tmp_path: Path, packed_first: bool) -> None:
    data = folder
    if packed_first:
        data = tmp_path / "out"
        make_shards(folder, data, only="toy", workers=0, shard_examples=4)
    tried = assert_resumes_exactly(
        lambda **changes: toy.ToyIterator(data, **{"batch_size": 3, "shuffle": True, "seed": 5, **changes}),
        variations=[{}, {"threads": 3, "batch_size": 2}, {"world_size": 2, "tail": "pad", "batch_size": 2}],
    )
    assert tried == 27


def test_it_is_mixed_with_itself(toy: ModuleType, folder: Path, tmp_path: Path) -> None:
    make_shards(folder, tmp_path / "out", only="toy", workers=0)

    def make(**changes: object) -> object:
        toys = [toy.ToyIterator(place, shuffle=True) for place in (folder, tmp_path / "out")]
        return mix(toys, weights=[3, 1], **{"batch_size": 4, "epoch_examples": 20, **changes})  # type: ignore[arg-type]

    assert assert_resumes_exactly(make, variations=[{}, {"threads": 2}]) == 22  # type: ignore[arg-type]
    assert sum(len(entries) for entries, _ in play_epoch([make()])) == 20  # type: ignore[list-item]
    json.dumps(make().state_dict())  # type: ignore[attr-defined]


def test_toys_are_examples_of_no_other_modality(toy: ModuleType, folder: Path) -> None:
    assert open_source(folder, modality="image").keys() == ["picture"]
    assert open_source(folder, modality="audio").keys() == ["sound"]
    assert np.array_equal(sorted(open_source(folder, modality="toy").keys())[-1:], ["deep/unnamed"])


def test_command_lines_import_the_module_that_registers_it(toy: ModuleType, folder: Path, tmp_path: Path) -> None:
    project = Path(str(toy.__file__)).parent
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *map(str, arguments)]
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)

    named = ("--import", "toy_modality")
    out = tmp_path / "out"
    flags = ("--only", "toy", "--most-numbers", 4, "--workers", 2, "--out", out)
    done = run("pipelines.make_shards", folder, *named, *flags)
    assert done.returncode == 0, done.stderr
    assert "11 toys in 1 shard" in done.stdout
    verified = run("pipelines.verify_resume", out, *named, "--kills", 1, "--batch-size", 1)
    assert verified.returncode == 0, verified.stderr
    assert run("pipelines.make_shards", folder, "--only", "toy").returncode == 2
    missing = run("pipelines.make_shards", folder, "--import", "no_such_module")
    assert missing.returncode == 2
    assert missing.stderr.endswith(
        "make_shards: error: --import no_such_module: No module named 'no_such_module'\n"
    )
