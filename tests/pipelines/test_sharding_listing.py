"""What the listing of a folder takes, refuses and passes over."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pipelines.sharding.wording import printable
from pipelines.storage.listing import Contents, Listing, list_folder


def picture(kind: str = "JPEG", size: tuple[int, int] = (8, 6)) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).save(target, kind)
    return target.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def contents(folder: Path) -> Contents:
    return list_folder(folder, ("image",))


def images(folder: Path) -> Listing:
    return contents(folder).listings["image"]


def paths(folder: Path, *exclude: Path) -> list[str]:
    return [image.path for image in list_folder(folder, ("image",), exclude=exclude).listings["image"].files]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("JPEG", "jpg"),
        ("PNG", "png"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tif"),
        ("WEBP", "webp"),
        ("PPM", "ppm"),
    ],
)
def test_formats_are_told_by_content_whatever_the_name(folder: Path, kind: str, suffix: str) -> None:
    for name in ("right." + suffix, "no_suffix", "wrong.dat", "lying.jpg"):
        (folder / name).write_bytes(picture(kind))
    listing = images(folder)
    assert {image.path: image.suffix for image in listing.files} == {
        "lying.jpg": suffix,
        "no_suffix": suffix,
        "right." + suffix: suffix,
        "wrong.dat": suffix,
    }
    assert (listing.failures, contents(folder).skipped) == ([], 0)


def test_a_suffix_that_fits_the_content_is_kept_in_lower_case(folder: Path) -> None:
    (folder / "a.JPEG").write_bytes(picture())
    (folder / "b.TIFF").write_bytes(picture("TIFF"))
    assert [image.suffix for image in images(folder).files] == ["jpeg", "tiff"]


def test_files_named_like_images_that_are_none_are_failures_with_reasons(folder: Path) -> None:
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (folder / "sound.png").write_bytes(b"RIFF\0\0\0\0WAVEfmt " + bytes(20))
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    listing = images(folder)
    assert listing.files == []
    assert {failure.path: failure.reason for failure in listing.failures} == {
        "text.jpg": "not an image: it does not begin like one",
        "empty.png": "an empty file",
        "phone.jpg": "a HEIF picture, which cannot be read: convert it to JPEG",
        "phone.heic": "a HEIF picture, which cannot be read: convert it to JPEG",
        "sound.png": "not an image but audio",
        "gone.jpg": "a symbolic link to nothing",
    }


def test_sidecars_go_with_the_image_of_their_stem_and_other_files_are_counted(folder: Path) -> None:
    (folder / "a.b.jpg").write_bytes(picture())
    (folder / "a.b.json").write_text("{}")
    (folder / "a.b.TXT").write_text("caption")
    (folder / "alone.json").write_text("{}")
    (folder / "README.md").write_text("read me")
    (folder / "song.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt " + bytes(20))
    (folder / ".hidden.jpg").write_bytes(picture())
    (folder / ".cache").mkdir()
    (folder / ".cache" / "b.jpg").write_bytes(picture())
    listing, found = images(folder), contents(folder)
    assert [(image.path, image.sidecars) for image in listing.files] == [("a.b.jpg", (("TXT", 7), ("json", 2)))]
    assert (found.skipped, found.other_media, listing.failures) == (3, {"audio": 1}, [])


def test_links_are_followed_each_folder_once_and_loops_end(folder: Path, tmp_path: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "one.jpg").write_bytes(picture())
    (folder / "a" / "up").symlink_to(folder)
    (folder / "a" / "self").symlink_to(folder / "a" / "self")
    (folder / "0_link_to_a").symlink_to(folder / "a")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "two.jpg").write_bytes(picture())
    (folder / "first").symlink_to(elsewhere)
    (folder / "second").symlink_to(elsewhere)
    (folder / "file.jpg").symlink_to(elsewhere / "deep" / "two.jpg")
    assert paths(folder) == ["a/one.jpg", "file.jpg", "first/deep/two.jpg"]


def test_folders_that_link_to_each_other_are_listed_in_no_time(folder: Path) -> None:
    for name in range(12):  # 12! ways down, if each were walked
        (folder / str(name)).mkdir()
        (folder / str(name) / "x.jpg").write_bytes(picture())
        for other in range(12):
            (folder / str(name) / f"to_{other}").symlink_to(folder / str(other))
    assert len(paths(folder)) == 12


def test_the_output_folder_inside_the_source_is_not_listed(folder: Path) -> None:
    (folder / "a.jpg").write_bytes(picture())
    out = folder / "shards"
    out.mkdir()
    (out / "b.jpg").write_bytes(picture())
    assert paths(folder, out) == ["a.jpg"]
    assert paths(folder) == ["a.jpg", "shards/b.jpg"]


def test_a_pipe_in_the_folder_does_not_block(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "a.jpg").write_bytes(picture())
    assert paths(folder) == ["a.jpg"]


def test_the_fingerprint_follows_paths_and_sizes_and_not_times_or_places(folder: Path, tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "c.txt", "c.png"):
        (folder / name).write_bytes(picture("PNG" if name == "c.png" else "JPEG"))
    first = images(folder).fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    os.utime(copy / "a.jpg", (1, 1))
    assert images(copy).fingerprint == first
    for change in ("rename", "grow", "sidecar", "failure"):
        shutil.rmtree(copy)
        shutil.copytree(folder, copy)
        if change == "rename":
            (copy / "a.jpg").rename(copy / "z.jpg")
        elif change == "grow":
            (copy / "a.jpg").write_bytes(picture() + b"\0")
        elif change == "sidecar":
            (copy / "c.txt").write_text("shorter")
        else:
            (copy / "new.jpg").write_text("no image")
        assert images(copy).fingerprint != first, change
    (folder / "notes.md").write_text("neither image nor sidecar")
    assert images(folder).fingerprint == first


def test_paths_that_would_upset_a_terminal_are_shown_as_escapes() -> None:
    assert printable("plain/ü 写.jpg") == "plain/ü 写.jpg"
    assert printable("a\x1b[2Jb\nc\udcff.jpg") == "a\\x1b[2Jb\\nc\\udcff.jpg"
