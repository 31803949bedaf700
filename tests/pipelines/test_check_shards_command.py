"""`check_shards` as a command: sets, tars, patterns, URLs and foreign tars; one example; how it ends."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from pipelines import AudioIterator, ImageIterator
from pipelines.check_shards import main
from pipelines.storage.manifest import NAMES_NAME
from tests.web_server import WebServer

from .checked_sets import check, flip, kinds
from .conftest import png
from .recordings import decoded
from .remote_sets import make_sets

ROOT = Path(__file__).resolve().parents[2]
TAR = "image-000001.tar"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture
def folder(sets: Path, tmp_path: Path) -> Path:
    """A copy of the pictures."""
    return Path(shutil.copytree(sets / "image", tmp_path / "image"))


def test_it_says_in_a_line_that_a_set_is_sound(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sets / "image")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{sets / 'image'}: 40 images in 7 shards, 150.5 kB. Sound."
    assert "  sizes     28x20 (100 %)" in lines
    assert "  fields    json (100 %), png (100 %)" in lines


def test_findings_are_grouped_and_no_more_than_asked_for_are_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in folder.glob("*.index.npy"):
        path.unlink()
    assert main([str(folder), "--most", "2"]) == 1
    text = capsys.readouterr().out
    assert text.splitlines()[0].endswith("7 errors.")
    assert text.count("An index is missing [missing-index], 7 of them") == 1
    assert text.count("There is no such file.") == 2
    assert "    and 5 more; --json has them." in text
    assert all(len(line) <= 100 for line in text.splitlines() if str(folder) not in line)


def test_what_is_counted_only_is_not_promised_of_the_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = np.load(folder / f"{TAR}.index.npy")
    for row in index:
        flip(folder / TAR, int(row["data_offset"] + row["data_length"] // 2))
    assert main([str(folder), "--json"]) == 1
    (one,) = json.loads(capsys.readouterr().out)["sets"]
    in_json = sum(finding["kind"] == "damaged-example" for finding in one["findings"])
    assert one["counts"]["damaged-example"] == len(index) > in_json > 2
    main([str(folder)])
    assert f"    and {len(index) - in_json} more, which are counted only." in capsys.readouterr().out
    main([str(folder), "--most", "2"])
    assert f"    and {len(index) - 2} more; --json has {in_json - 2} of them." in capsys.readouterr().out


def test_wrong_names_are_counted_over_all_shards(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / NAMES_NAME).read_text().splitlines()]
    moved = [*lines[1:], lines[0]]
    (folder / NAMES_NAME).write_text("".join(json.dumps(line) + "\n" for line in moved))
    (one,) = check(folder).sets
    assert one.findings.counts["wrong-names"] == len(lines)


def test_more_remarks_and_repairs_than_are_kept_are_no_errors(folder: Path) -> None:
    for number in range(3):
        (folder / f"notes-{number}.txt").write_text("mine")
    for path in folder.glob("*.index.npy"):
        path.unlink()
    report = check(folder, most=1, repair=True)
    assert len(report.findings) == 2
    assert report.is_sound


def test_json_is_one_document_with_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(folder / TAR, 3000)
    assert main([str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (one,) = found["sets"]
    assert not found["sound"]
    assert one["summary"]["examples"] == 40
    assert one["summary"]["width"]["median"] == 28
    assert one["counts"] == {"damaged-tar": 1, "damaged-example": 1}
    assert {finding["file"] for finding in one["findings"]} == {str(folder / TAR)}


def test_repair_says_what_it_did_and_the_set_is_sound_then(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / f"{TAR}.index.npy").unlink()
    assert main([str(folder), "--repair"]) == 0
    assert "Repaired: rebuilt from the tar, and has the digest of the manifest." in capsys.readouterr().out
    assert main([str(folder)]) == 0


def test_a_tar_or_a_pattern_is_compared_with_the_manifest_beside_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(folder / TAR, 3000)
    assert main([str(folder / "image-000000.tar")]) == 0
    assert main([str(folder / TAR)]) == 1
    assert main([str(folder / "image-00000{0,2}.tar")]) == 0
    assert main([str(folder / "*.tar")]) == 1
    assert "checked with the folder only" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["nowhere", "nothing*.tar"])
def test_what_cannot_be_checked_is_said_in_a_sentence(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([source]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("check_shards: ")


def test_files_that_are_none_are_findings(folder: Path) -> None:
    for name in (TAR, "image-000002.tar.index.npy"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    (folder / NAMES_NAME).unlink()
    (folder / NAMES_NAME).mkdir()
    assert kinds(check(folder)) == {
        ("unreadable-file", TAR),
        ("damaged-index", "image-000002.tar.index.npy"),
        ("unreadable-file", NAMES_NAME),
    }


def test_names_in_a_set_do_not_reach_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "\x1b[31mred\n.tar").write_bytes(b"")
    assert main([str(folder)]) == 1
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\\x1b[31mred\\n.tar" in text


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_tars_of_webdataset_are_checked_as_far_as_they_can_be(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIRVAE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "foreign"
    folder.mkdir()
    for shard in range(2):
        with webdataset.TarWriter(str(folder / f"{shard}{suffix}")) as writer:
            for number in range(3):
                key = f"{shard}-{number}"
                writer.write({"__key__": key, "png": png(number), "cls": number, "json": {"a": key}})
    report = check(folder, decode=True)
    assert report.findings == []
    assert report.sets[0].notes[0].startswith("no manifest")
    assert report.sets[0].summary.examples == 6
    assert report.sets[0].summary.labels == {"0": 2, "1": 2, "2": 2}
    shutil.copy(folder / f"0{suffix}", folder / f"2{suffix}")
    assert kinds(check(folder)) == {("duplicate-keys", f"2{suffix}")}
    if suffix == ".tar":
        content = (folder / "1.tar").read_bytes()
        (folder / "1.tar").write_bytes(content[:3000])
        assert ("cut-tar", "1.tar") in kinds(check(folder))


def test_a_set_elsewhere_is_read_once(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"/{path.relative_to(sets)}": path.read_bytes() for path in sets.rglob("*") if path.is_file()}
    web = WebServer(files)
    try:
        assert main([f"{web.url}/image"]) == 0
        asked = [path for method, path, _ in web.asked if path.endswith(".tar")]
        assert sorted(asked) == [f"/image/image-{number:06d}.tar" for number in range(7)]
        assert len(web.asked) <= 2 * 7 + 4
        del files[f"/image/{TAR}.index.npy"]
        damaged = bytearray(files["/image/image-000002.tar"])
        damaged[2000] ^= 4
        files["/image/image-000002.tar"] = bytes(damaged)
        del files["/image/image-000003.tar"]
        capsys.readouterr()
        assert main([f"{web.url}/image", "--json", "--repair"]) == 1
        (found,) = json.loads(capsys.readouterr().out)["sets"]
        assert found["counts"] == {
            "missing-index": 1,
            "damaged-tar": 1,
            "damaged-example": 1,
            "missing-tar": 1,
        }
        assert "because it lies elsewhere" in found["not_repaired"][0]
        assert main([f"{web.url}/nothing"]) == 2
    finally:
        web.close()


@pytest.mark.parametrize("seed", [None, 5])
def test_a_position_is_that_of_the_iterators(
    seed: int | None, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = ImageIterator(sets / "image", size=8, batch_size=1, shuffle=seed is not None, seed=seed or 0)
    played.reset(2, 17)
    arguments = ["--position", "17", "--epoch", "2", *(() if seed is None else ("--seed", str(seed)))]
    assert main([str(sets / "image"), *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["key"] == next(iter(played)).keys[0]
    assert f"shuffle={seed is not None}" in found["found_by"]
    with tarfile.open(found["shard"]) as tar:
        members = {member.name: (member.offset_data, member.size) for member in tar}
    for member in found["members"]:
        assert members[member["name"]] == (member["offset"], member["bytes"])


def test_an_example_is_shown_and_written(sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sets), "--example", "p/07", "--out", str(tmp_path / "a.png")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("p/07\n")
    assert '"label": 7' in text
    with Image.open(tmp_path / "a.png") as written, Image.open(io.BytesIO(png(7, 20, 28))) as original:
        assert np.array_equal(np.asarray(written), np.asarray(original))
    key = AudioIterator(sets / "audio", window=100).source.keys()[0].partition("@")[0]
    assert main([str(sets / "audio"), "--example", key, "--out", str(tmp_path / "a.wav")]) == 0
    assert len(decoded((tmp_path / "a.wav").read_bytes())) == 5000
    assert main([str(sets / "video"), "--position", "1", "--out", str(tmp_path / "a.png")]) == 0
    with Image.open(tmp_path / "a.png") as strip:
        assert strip.width > strip.height


@pytest.mark.parametrize(
    "arguments",
    [["--example", "nobody"], ["--position", "40"], ["--position", "-1"], ["--position", "1", "--out", "a.doc"]],
)
def test_an_example_that_there_is_not_is_a_sentence(
    arguments: list[str], sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sets / "image"), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


def test_the_launcher_ends_with_141_where_nobody_reads(sets: Path) -> None:
    command = f"{sys.executable} {ROOT / 'tools' / 'check_shards.py'} {sets / 'image'}; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr.split()[-1] in ("141", "0")
    assert "Traceback" not in done.stderr
