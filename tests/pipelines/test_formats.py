"""Formats are told by content: each file here is written by another library."""

from __future__ import annotations

import io
import struct
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import AudioIterator, ImageIterator, make_shards
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


@pytest.mark.parametrize("kind", ["AIFF", "WAV", "RF64", "FLAC", "OGG", "AU", "CAF", "W64", "NIST"])
def test_sound_that_libsndfile_writes_is_known(kind: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="no soundfile here")
    file = io.BytesIO()
    endian = "BIG" if kind == "AIFF" else "FILE"
    soundfile.write(file, np.zeros(500, np.float32), 8000, format=kind, endian=endian)
    assert sniff(file.getvalue()[:32]) == ("audio", {"RF64": "wav", "NIST": "sph"}.get(kind, kind.lower()))


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
        (struct.pack(">I", 32) + b"ftypM4A \0\0\0\0", None),  # AAC, which is refused
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


def names_packed(folder: Path) -> list[str]:
    with tarfile.open(next(folder.glob("*.tar"))) as tar:
        return tar.getnames()


def rare_pictures(folder: Path) -> int:
    """Pictures as other programs write them, by Pillow or by hand; how many there are."""
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    image, gray, bits = Image.fromarray(colours), colours[..., 0], colours[..., 0] >> 7
    image.save(folder / "big.tif", big_tiff=True)
    for name, magic, values in (("p1.pbm", 1, bits), ("p2.pgm", 2, gray), ("p3.ppm", 3, colours)):
        limit = "" if magic == 1 else "255\n"
        (folder / name).write_text(f"P{magic}\n16 16\n{limit}" + "\n".join(map(str, values.ravel())) + "\n")
    Image.fromarray(gray).convert("1").save(folder / "p4.pbm")
    bmp = io.BytesIO()
    image.save(bmp, "BMP")
    (folder / "reserved.bmp").write_bytes(bmp.getvalue()[:6] + b"ABCD" + bmp.getvalue()[10:])
    if "JPEG2000" in Image.SAVE:
        image.save(folder / "raw.j2k")
    if "AVIF" in Image.SAVE:
        avif = io.BytesIO()
        image.save(avif, "AVIF")
        (folder / "major.avif").write_bytes(avif.getvalue()[:8] + b"mif1" + avif.getvalue()[12:])
    return len(list(folder.iterdir()))


def test_a_folder_and_packing_know_the_same_rare_pictures(tmp_path: Path) -> None:
    Image.init()
    source = tmp_path / "source"
    source.mkdir()
    num = rare_pictures(source)
    assert num >= 6
    folder = ImageIterator(source, size=16, batch_size=num)
    report = make_shards(source, tmp_path / "out", workers=0, shuffle=None)
    assert (report.examples, report.failures) == (num, ())
    packed = ImageIterator(tmp_path / "out", size=16, batch_size=num)
    for mine, theirs in zip(next(iter(folder)).data, next(iter(packed)).data, strict=True):
        assert np.array_equal(mine, theirs)
    for path in source.iterdir():
        assert sniff_file(path) == "image"
        assert is_media_name(path.name, "image")


@pytest.mark.parametrize(("kind", "suffix"), [("AU", "au"), ("CAF", "caf"), ("W64", "w64"), ("NIST", "sph")])
def test_a_folder_and_packing_know_the_same_rare_recordings(tmp_path: Path, kind: str, suffix: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="no soundfile here")
    samples = np.random.default_rng(0).integers(-20_000, 20_000, 3000).astype(np.int16)
    (tmp_path / "source").mkdir()
    soundfile.write(tmp_path / f"source/a.{suffix}", samples, 22_050, format=kind, subtype="PCM_16")
    make_shards(tmp_path / "source", tmp_path / "out", workers=0)
    assert names_packed(tmp_path / "out") == [f"a.{suffix}"]
    for place in ("source", "out"):
        played = next(iter(AudioIterator(tmp_path / place, window=3000, batch_size=1))).data
        assert np.array_equal(played.ravel(), (samples / 32_768).astype(np.float32))


def test_a_flac_behind_a_tag_is_a_flac(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="no soundfile here")
    flac = io.BytesIO()
    soundfile.write(flac, np.zeros(500, np.int16), 8000, format="FLAC")
    tag = b"ID3\x03\0\0" + bytes([0, 0, 1, 2]) + bytes(130)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/song").write_bytes(tag + flac.getvalue())
    make_shards(tmp_path / "source", tmp_path / "out", workers=0)
    assert names_packed(tmp_path / "out") == ["song.flac"]
    for lying in (b"ID3\x03\0\0" + bytes([127] * 4) + bytes(30), b"ID3\x03\0", tag + b"\xff\xfb"):
        (tmp_path / "other").write_bytes(lying)
        assert sniff_file(tmp_path / "other") == "audio"
