"""Pictures on a contact sheet: their number, and objects drawn where they are, read back from the pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFont

from pipelines import make_shards, open_source
from pipelines.show_batch import ShowOptions, draw_batch, text
from pipelines.show_batch.annotation_shapes import shapes_of
from pipelines.show_batch.image_cells import image_cells
from pipelines.show_batch.sheet import columns_for
from pipelines.show_batch.style import MAT, PALETTE, PAPER, class_colour, readable_on

Pixels = NDArray[np.uint8]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def write_example(
    folder: Path,
    pixels: Pixels,
    objects: Sequence[Mapping[str, Any]],
    captions: Sequence[str] = (),
    name: str = "a",
) -> Path:
    """A picture and its record beside it."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    image = {"id": 1, "file_name": f"{name}.png", "height": pixels.shape[0], "width": pixels.shape[1]}
    said = [{"id": number, "image_id": 1, "caption": caption} for number, caption in enumerate(captions)]
    record = {"image": image, "annotations": list(objects), "captions": said}
    (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def dark(height: int = 40, width: int = 40) -> Pixels:
    """A dark picture that is nowhere black, as bars are."""
    return np.full((height, width, 3), 9, np.uint8)


def drawn(folder: Path, **options: Any) -> list[Pixels]:
    """The pictures of the cells, (height, width, 3)."""
    cells = image_cells(open_source(folder), ShowOptions(**options)).cells
    return [np.asarray(cell.picture) for cell in cells]


def where(picture: Pixels, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the pixels of exactly this colour, half open."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_a_box_is_drawn_on_its_pixels_and_nowhere_else(tmp_path: Path) -> None:
    folder = write_example(tmp_path / "in", dark(), [{"bbox": [10, 4, 20, 12], "class": 1}])
    (picture,) = drawn(folder, size=40, fields=["boxes"])
    assert picture.shape == (80, 80, 3)
    assert where(picture, class_colour(1)) == (20, 8, 60, 32)
    lines = (picture == class_colour(1)).all(axis=2)
    assert lines[8:11, 20:60].all()
    assert lines[29:32, 20:60].all()
    assert lines[8:32, 20:23].all()
    assert lines[8:32, 57:60].all()
    outside = np.ones((80, 80), bool)
    outside[8:32, 20:60] = False
    assert (picture[outside] == 9).all()
    assert (picture[15:25, 30:50] == 9).all()


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (41, 40), (40, 41)])
def test_padded_pictures_are_shown_without_their_bars_and_boxes_stay_on_them(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    height, width = shape
    folder = write_example(tmp_path / "in", dark(height, width), [{"bbox": [0, 0, width, height], "class": 0}])
    for flip in (False, True):
        for seed in range(4):
            (picture,) = drawn(folder, size=30, fields=["boxes"], flip=flip, shuffle=seed)
            assert picture.any(axis=2).all(), "a bar is left"
            assert max(picture.shape) == 60
            assert where(picture, class_colour(0)) == (0, 0, picture.shape[1], picture.shape[0])


@pytest.mark.parametrize("augmented", [{"flip": True}, {"crop": "random"}, {"flip": True, "crop": "random"}])
def test_boxes_move_with_pictures_that_are_mirrored_and_cropped(tmp_path: Path, augmented: dict[str, Any]) -> None:
    pixels = dark(40, 80)
    pixels[10:22, 30:38] = WHITE
    for number in range(8):
        write_example(tmp_path / "in", pixels, [{"bbox": [30, 10, 8, 12], "class": 2}], name=f"n{number}")
    places = set()
    for augmented_picture, plain in zip(
        drawn(tmp_path / "in", size=40, fields=["boxes"], **augmented),
        drawn(tmp_path / "in", size=40, fields=[], **augmented),
        strict=True,
    ):
        bright = (plain > 200).all(axis=2)
        if not bright.any():
            continue
        rows, columns = np.nonzero(bright)
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        found = where(augmented_picture, class_colour(2))
        assert np.abs(np.subtract(found, expected)).max() <= 1
        places.add(found)
    assert len(places) > 1


def test_classes_have_their_colours_and_unknown_ones_are_grey() -> None:
    colours = [class_colour(number) for number in range(len(PALETTE) * 3)]
    assert len(set(colours)) == len(colours)
    assert len(set(class_colour(-1))) <= 3
    assert max(class_colour(-1)) - min(class_colour(-1)) < 12
    assert readable_on((250, 250, 200)) != readable_on((20, 20, 90))


def test_lines_of_a_crowd_are_dashed(tmp_path: Path) -> None:
    shape = {"bbox": [5, 5, 30, 30], "class": 0, "iscrowd": 1}
    (picture,) = drawn(write_example(tmp_path / "in", dark(), [shape]), size=40, fields=["boxes"])
    top = (picture[11, 10:70] == class_colour(0)).all(axis=1)
    assert 0.3 < top.mean() < 0.8
    assert np.abs(np.diff(top.astype(int))).sum() > 4


def test_masks_are_translucent_within_and_leave_the_rest(tmp_path: Path) -> None:
    ring = [10, 10, 30, 10, 30, 30, 10, 30]
    shape = {"bbox": [10, 10, 20, 20], "class": 3, "segmentation": [ring]}
    (picture,) = drawn(write_example(tmp_path / "in", dark(), [shape]), size=40, fields=["masks"])
    inside, goal = picture[40, 40].astype(int), np.array(class_colour(3))
    share = (inside - 9) / (goal - 9)
    assert np.ptp(share) < 0.05
    assert 0.1 < share.mean() < 0.6
    assert (picture[:15] == 9).all()
    assert (picture[:, :15] == 9).all()


def test_masks_of_every_kind_are_the_same_pixels() -> None:
    """The text of the run lengths is what pycocotools 2.0.11 makes of this mask."""
    mask = np.zeros((7, 9), bool)
    mask[2:5, 3:8], mask[6, 0], mask[0, 8], mask[3, 5] = True, True, True, False
    flat = mask.T.ravel().tolist()
    counts, last = [0], False
    for value in flat:
        counts += [0] if value != last else []
        counts[-1], last = counts[-1] + 1, value
    kinds = [{"counts": kind, "size": [7, 9]} for kind in (counts, "61`02D00NM03200NN4")]
    objects = [{"bbox": [0, 0, 9, 7], "segmentation": kind} for kind in kinds]
    record = {"image": {"width": 9, "height": 7}, "annotations": objects}
    for matrix, expected in (
        ([[1, 0, 0], [0, 1, 0]], mask),
        ([[-1, 0, 9], [0, 1, 0]], mask[:, ::-1]),
        ([[3, 0, 0], [0, 3, 0]], mask.repeat(3, 0).repeat(3, 1)),
        ([[1, 0, -2], [0, 1, -1]], mask[1:, 2:]),
    ):
        shapes = shapes_of(record, np.array(matrix, float), expected.shape, with_masks=True)
        assert shapes.masks is not None
        for found in shapes.masks:
            np.testing.assert_array_equal(found, expected)


def test_the_share_of_a_box_that_is_left_is_known() -> None:
    objects = [{"bbox": [-4, 0, 8, 10]}, {"bbox": [20, 20, 5, 5]}, {"bbox": [1, 1, 2, 2], "class": 4}]
    record = {"image": {"width": 10, "height": 10}, "annotations": objects}
    shapes = shapes_of(record, np.array([[1.0, 0, 0], [0, 1.0, 0]]), (10, 10), with_masks=False)
    np.testing.assert_allclose(shapes.visible, [0.5, 0, 1])
    assert shapes.classes.tolist() == [-1, -1, 4]


def test_keypoints_are_dots_where_they_are(tmp_path: Path) -> None:
    points = [10, 10, 2, 30, 20, 1, 0, 0, 0]
    shape = {"bbox": [5, 5, 30, 30], "class": 1, "keypoints": points}
    (picture,) = drawn(write_example(tmp_path / "in", dark(), [shape]), size=40, fields=["keypoints"])
    assert tuple(picture[20, 20]) == class_colour(1)
    assert tuple(picture[40, 60]) == WHITE
    assert (picture[:4, :4] == 9).all()


def test_a_sheet_has_as_many_cells_as_were_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number in range(12):
        write_example(folder, np.full((20, 20, 3), (7, 200, 10 + number), np.uint8), [], name=f"n{number:02d}")
    for num in (1, 5, 12, 30):
        sheet = np.asarray(draw_batch(folder, "image", ShowOptions(num=num, size=20)))
        shown = sheet[(sheet[..., 0] == 7) & (sheet[..., 1] == 200)]
        counts = {int(blue): int((shown[:, 2] == blue).sum()) for blue in np.unique(shown[:, 2])}
        assert counts == {10 + number: 40 * 40 for number in range(min(num, 12))}
        assert tuple(sheet[0, 0]) == PAPER
    later = np.asarray(draw_batch(folder, "image", ShowOptions(num=3, start=10, size=20, columns=1)))
    blues = {int(blue) for blue in np.unique(later[(later[..., 0] == 7) & (later[..., 1] == 200)][:, 2])}
    assert blues == {20, 21}


def test_columns_are_about_as_many_as_rows_and_leave_no_cell_alone_where_they_can() -> None:
    assert [columns_for(num, 6) for num in (1, 2, 3, 4, 6, 7, 8, 12, 16, 100)] == [1, 2, 3, 2, 3, 4, 3, 4, 4, 6]
    assert columns_for(8, 2) == 2
    assert columns_for(6, 1) == 1


def test_shards_and_their_folder_look_the_same(tmp_path: Path) -> None:
    folder = write_example(
        tmp_path / "in", dark(), [{"bbox": [5, 5, 9, 9], "class": 5, "category": "hat"}], ["A hat."]
    )
    make_shards(folder, tmp_path / "out", workers=0)
    sheets = [np.asarray(draw_batch(path, "image", ShowOptions(size=64))) for path in (folder, tmp_path / "out")]
    below_the_title = slice(120, None)
    assert sheets[0].shape == sheets[1].shape
    np.testing.assert_array_equal(sheets[0][below_the_title], sheets[1][below_the_title])
    assert (sheets[0] == MAT).all(axis=2).sum() == 0


def test_a_damaged_picture_is_replaced_and_said(tmp_path: Path) -> None:
    folder = write_example(tmp_path / "in", dark(), [])
    (folder / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    cells = image_cells(open_source(folder), ShowOptions(size=20)).cells
    said = [[line.text for line in cell.lines] for cell in cells]
    assert [any("damaged" in line for line in lines) for lines in said] == [False, True]


@pytest.mark.parametrize(
    "damaged",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": [float("nan"), 1, 2, 3]},
        {"bbox": ["a", 1, 2, 3]},
        {"bbox": [0, 0, 5, 5], "segmentation": {"counts": [1 << 60], "size": [1 << 30, 1 << 30]}},
        {"bbox": [0, 0, 5, 5], "segmentation": {"counts": [3, 4], "size": [5, 5]}},
        {"bbox": [0, 0, 5, 5], "segmentation": {"counts": "é", "size": [5, 5]}},
        {"bbox": [0, 0, 5, 5], "segmentation": {"size": [5, 5]}},
        {"bbox": [0, 0, 5, 5], "segmentation": [[1, 2, 3]]},
        {"bbox": [0, 0, 5, 5], "segmentation": 7},
        {"bbox": [0, 0, 5, 5], "keypoints": [1, 2]},
        {"bbox": [0, 0, 5, 10**400]},
    ],
)
def test_a_damaged_record_is_named_in_one_sentence(tmp_path: Path, damaged: dict[str, Any]) -> None:
    folder = write_example(tmp_path / "in", dark(), [damaged])
    with pytest.raises(ValueError, match="the annotations of 'a' are damaged") as caught:
        draw_batch(folder, "image", ShowOptions(size=20))
    assert "\n" not in str(caught.value)


def test_captions_are_wrapped_and_cut_with_an_ellipsis() -> None:
    lines = text.wrap("a caption of some length " * 20, 10, 300, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(text.text_width(line, 10) <= 300 for line in lines)
    assert " ".join(lines)[:-1].startswith("a caption of some length a caption")
    assert text.wrap("short", 10, 300, 3) == ["short"]
    assert text.wrap("", 10, 300, 3) == []
    assert "".join(text.wrap("x" * 60, 10, 200, 9)) == "x" * 60
    assert text.shorten("folder/of/many/names", 10, 100, keep_end=True).endswith("names")


@pytest.mark.parametrize(
    "caption", ["Ein Café", "日本語の説明", "Я тут", "😀", "a\x00b\nc", "‮right to left", "lone \ud800"]
)
def test_any_text_can_be_drawn(caption: str) -> None:
    picture = Image.new("RGB", (200, 40), PAPER)
    text.draw_text(picture, (4, 4), text.shorten(caption, 10, 190), 10)
    assert (np.asarray(picture) != PAPER).any()


def test_without_freetype_there_are_letters_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ImageFont.load_default_imagefont()

    def load_default(size: float | None = None) -> ImageFont.ImageFont:
        if size is not None:
            raise ImportError("the _imagingft C module is not installed")
        return own

    monkeypatch.setattr(ImageFont, "load_default", load_default)
    text._own_font.cache_clear()
    try:
        picture = Image.new("RGB", (200, 40), PAPER)
        text.draw_text(picture, (4, 4), text.shorten("Café Я " * 20, 10, 190), 10)
        assert (np.asarray(picture) != PAPER).any()
        assert text.text_width("wide", 10) > 0
    finally:
        text._own_font.cache_clear()
