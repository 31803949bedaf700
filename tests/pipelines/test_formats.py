"""Formats are told by content: each file here is written by another library."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.modality import modalities
from pipelines.storage.media_types import is_media_name, media_suffix, sniff, sniff_file

PILLOW_FORMATS = {
    "JPEG": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "WEBP": "webp",
    "TIFF": "tif",
    "BMP": "bmp",
    "PPM": "ppm",
    "AVIF": "avif",
    "JPEG2000": "jp2",
}


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.full((16, 16, 3), 99, np.uint8)).convert(mode)


@pytest.mark.parametrize(("name", "suffix"), PILLOW_FORMATS.items())
def test_pictures_that_pillow_writes_are_known(name: str, suffix: str) -> None:
    Image.init()
    if name not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {name}")
    file = io.BytesIO()
    picture().save(file, name)
    assert sniff(file.getvalue()[:32]) == ("image", suffix)


def test_gray_and_progressive_pictures_are_known() -> None:
    for mode, name, suffix, options in (("L", "PPM", "pgm", {}), ("L", "JPEG", "jpg", {"progressive": True})):
        file = io.BytesIO()
        picture(mode).save(file, name, **options)
        assert sniff(file.getvalue()[:32]) == ("image", suffix)


def test_sound_that_the_standard_library_writes_is_known() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1000))
    assert sniff(file.getvalue()[:32]) == ("audio", "wav")


@pytest.mark.parametrize("kind", ["AIFF", "WAV", "RF64", "FLAC", "OGG"])
def test_sound_that_libsndfile_writes_is_known(kind: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="no soundfile here")
    file = io.BytesIO()
    endian = "BIG" if kind == "AIFF" else "FILE"
    soundfile.write(file, np.zeros(500, np.float32), 8000, format=kind, endian=endian)
    assert sniff(file.getvalue()[:32]) == ("audio", {"RF64": "wav"}.get(kind, kind.lower()))


def test_big_endian_wav_and_bw64_are_known() -> None:
    for magic in (b"RIFX", b"BW64"):
        assert sniff(magic + bytes(4) + b"WAVEfmt ") == ("audio", "wav")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"fLaC\0\0\0\x22", ("audio", "flac")),
        (b"OggS\0\2", ("audio", "ogg")),
        (b"ID3\x04\0\0", ("audio", "mp3")),
        (b"\xff\xfb\x90\x64", ("audio", "mp3")),
        (struct.pack(">I", 32) + b"ftypM4A \0\0\0\0", ("audio", "m4a")),
        (struct.pack(">I", 32) + b"ftypisom\0\0\2\0", ("video", "mp4")),
        (struct.pack(">I", 24) + b"ftypqt  \0\0\0\0", ("video", "mp4")),
        (b"\x1aE\xdf\xa3\x01\0\0\0", ("video", "mkv")),
        (b"RIFF\x24\0\0\0AVI LIST", ("video", "avi")),
        (struct.pack(">I", 24) + b"ftypheic\0\0\0\0", None),
        (struct.pack(">I", 24) + b"ftypmif1\0\0\0\0", None),
        (b"RIFF\x24\0\0\0ABCD", None),
        (b"<svg xmlns=", None),
        (b"BMX not a bitmap, surely", None),
        (b"P5not a header", None),
        (b"\xff\xfe\0\0utf-32", None),
        (b"{}", None),
        (b"\0", None),
        (b"", None),
    ],
)
def test_beginnings_by_the_formats_own_documents(head: bytes, kind: tuple[str, str] | None) -> None:
    assert sniff(head) == kind


def test_every_cut_of_a_beginning_is_looked_at_without_a_crash() -> None:
    rng = np.random.default_rng(0)
    for head in (
        b"RIFF\x24\0\0\0WEBPVP8 ",
        b"\0\0\0\x20ftypisom",
        b"BM\x36\0\0\0\0\0\0\0",
        b"P6 4 4 255 ",
        b"\xff\xd8\xff\xe0",
    ):
        for length in range(len(head)):
            sniff(head[:length])
    for _ in range(5_000):
        sniff(rng.bytes(int(rng.integers(0, 33))))


def test_real_files_are_what_their_folders_say(shared_data: Path) -> None:
    for folder, modality in (("coco/images", "image"), ("audio/saxophone", "audio"), ("video", "video")):
        files = sorted(path for path in (shared_data / folder).iterdir() if path.suffix)[:30]
        assert files
        assert {path.name: sniff_file(path) for path in files} == {path.name: modality for path in files}


def test_a_file_that_cannot_be_read_is_of_no_format(tmp_path: Path) -> None:
    assert sniff_file(tmp_path / "absent") is None
    assert sniff_file(tmp_path) is None


def test_suffixes_are_read_from_the_base_name_in_lower_case() -> None:
    assert [media_suffix(name) for name in ("a.JPG", "a.b/c", "a.tar.Gz", "a.", "noext", ".jpg")] == [
        "jpg",
        "",
        "gz",
        "",
        "",
        "jpg",
    ]
    assert is_media_name("x/IMG_1.JPeG", "image")
    assert not is_media_name("x/IMG_1.jpg.txt", "image")


def test_no_suffix_belongs_to_two_modalities() -> None:
    every = [suffix for modality in modalities() for suffix in modality.suffixes]
    assert len(every) == len(set(every))
