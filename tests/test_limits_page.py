"""docs/limits.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipelines.batching import state
from pipelines.decode import resize
from pipelines.decode.audio import audio_decoder, compressed, mp3, resampling, wav
from pipelines.decode.image import jpeg2000, limits, pillow
from pipelines.decode.video import measuring_child, measuring_process, mpegts, whole_video
from pipelines.sharding.modalities import audio_examples, feature_rows, video_cutting, video_encoding
from pipelines.sources import folder, shards
from pipelines.sources.arrays import array_source, stored_array, zarr_array
from pipelines.storage import index, manifest, npy, tar, tar_index

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "limits.md").read_text(encoding="utf-8")
MEBI, GIBI = 1 << 20, 1 << 30

LIMITS = {
    "178,956,970": 2 * (Image.MAX_IMAGE_PIXELS or 0) == 178_956_970,
    "WebP and JPEG 2000 1/4, AVIF 1/3": pillow.BYTES_A_PIXEL == {"WEBP": 16, "AVIF": 12, "JPEG2000": 16},
    "turned 1/2": pillow.TURNED_TIFF_BYTES == 8,
    "BMP of runs 1/25": pillow.RLE_BYTES == 100,
    "500,000; 4,000,000 packets": (jpeg2000.MOST_PARTS, jpeg2000.MOST_PACKETS) == (500_000, 4_000_000),
    "4 times its pixels, and 2²²": pillow.FREE_TILE_PIXELS == 1 << 22,
    "200 times its size, and 64 MiB": (tar_index.INFLATION, tar_index.FREE_INFLATED_BYTES) == (200, 64 * MEBI),
    "2²⁹, and 500 for each byte": (limits.FREE_SCAN_PIXELS, limits.SCAN_PIXELS_A_BYTE) == (1 << 29, 500),
    "bands of 64 MiB": resize.BAND_BYTES == 64 * MEBI,
    "pictures above 256 MiB one": limits.GIANT_BYTES == 256 * MEBI,
    "2 GiB; 512 MiB": (audio_decoder.MAX_CLIP_BYTES, audio_decoder.MAX_OWN_BYTES) == (2 * GIBI, 512 * MEBI),
    "8,192 for each byte, and 65,536": (compressed.MAX_FRAMES_A_BYTE, compressed.AT_ONCE) == (8192, 65_536),
    "| 1,024 |": wav.MAX_CHANNELS == 1024,
    "behind its tags | 65,536": mp3.MOST_JUNK == 65_536,
    "resampling | 256": resampling.MOST_RATIO == 256,
    "features | 256 MiB": feature_rows.MOST_SAMPLE_BYTES == 256 * MEBI,
    "256 MiB as samples": audio_examples.LARGEST_MADE == 256 * MEBI,
    "8 channels, 655,350 Hz": (audio_examples.MOST_FLAC_CHANNELS, audio_examples.MOST_FLAC_HZ) == (8, 655_350),
    "2³¹, and 131,072 for each byte": (whole_video.FREE_PIXELS, whole_video.PIXELS_A_BYTE) == (1 << 31, 131_072),
    "65,536, and one for 8 bytes": (whole_video.FREE_PACKETS, whole_video.BYTES_A_PACKET) == (65_536, 8),
    "measures a video | 2 GiB": measuring_child.MOST_BYTES == 2 * GIBI,
    "measured | 300 s": measuring_process.SECONDS_OF_SILENCE == 300,
    "again | 2²⁵, which is 8K": video_encoding.MOST_PIXELS == 1 << 25 >= 7680 * 4320,
    "left whole | 8": video_cutting.MOST_FAILURES == 8,
    "first table | 1 MiB": mpegts.SEARCHED == MEBI,
    "10,000 bytes, 32 axes": (npy.MAX_HEADER_BYTES, npy.MAX_AXES) == (10_000, 32),
    "unpacked | 1 GiB": stored_array.MAX_CHUNK_BYTES == GIBI,
    "lies in | 65,536": zarr_array.MAX_CHUNKS == 65_536,
    "ten million": array_source.MOST_SHARDS == 10_000_000,
    "64 GiB, and 1 GiB": (tar_index.MAX_INFLATED_BYTES, tar_index.RESERVED_BYTES) == (64 * GIBI, GIBI),
    "long name) | 1 MiB": tar.MAX_EXTENSION_BYTES == MEBI,
    "examples of a set | 2⁴⁸": manifest.MAX_EXAMPLES == 1 << 48,
    "in an index | 2⁴⁸": index.MAX_FRAMES == 1 << 48,
    "0 to 2⁵³": state.MAX_COUNT == 1 << 53,
    "100 shards, 64 files": (shards.OPEN_SHARDS, folder.OPEN_FILES) == (100, 64),
}


@pytest.mark.parametrize("words", LIMITS)
def test_a_limit_of_the_page_is_that_of_the_code(words: str) -> None:
    assert LIMITS[words]
    assert words in " ".join(PAGE.split())


def test_the_formats_of_the_page_are_those_that_are_opened() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| formats |"))
    named = {name.strip().upper().replace(" ", "") for name in row.split("|")[2].split(",")}
    assert named == set(pillow.FORMATS)
