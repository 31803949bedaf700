"""COCO files that are packed with their pictures: everything they say, in the pixels that are stored and delivered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines
from pipelines import ImageIterator, boxes, make_shards
from pipelines.errors import SourceError
from pipelines.sharding import PackReport
from pipelines.storage.manifest import Manifest

from .coco_folder import COLOURS, CocoFolder, make_coco_folder
from .test_make_shards_killed import contents
from .wav_files import packed

pytest.importorskip("ijson")
FIELDS = ("boxes", "classes", "crowd", "keypoints", "masks", "captions")


@pytest.fixture
def coco(tmp_path: Path) -> CocoFolder:
    return make_coco_folder(tmp_path / "coco")


def pack(coco: CocoFolder, out: Path, **settings: Any) -> PackReport:
    return make_shards(
        coco.images, out, **{"workers": 0, "shard_examples": 2, "annotations": coco.files, **settings}
    )


def records(out: Path) -> dict[str, Any]:
    return {key: json.loads(example["json"]) for key, example in packed(out).items() if "json" in example}


def test_every_field_of_the_files_is_in_the_shards_as_json_has_it(coco: CocoFolder, tmp_path: Path) -> None:
    pack(coco, tmp_path / "out")
    found = records(tmp_path / "out")
    captions, instances = (json.loads(path.read_text(encoding="utf-8")) for path in coco.files)
    names, classes = {3: "cat", 70: "traffic light"}, {3: 0, 70: 1}
    assert found.keys() == {Path(image["file_name"]).stem for image in captions["images"]}
    for image in captions["images"]:
        record = found[Path(image["file_name"]).stem]
        assert record.pop("image") == image
        assert record.pop("license") == captions["licenses"][0]
        assert record.pop("captions") == [one for one in captions["annotations"] if one["image_id"] == image["id"]]
        expected = [
            {**one, "category": names[one["category_id"]], "class": classes[one["category_id"]]}
            for one in instances["annotations"]
            if one["image_id"] == image["id"]
        ]
        assert record.pop("annotations") == expected
        assert record == {}


def test_every_field_of_coco_itself_comes_back(shared_data: Path, tmp_path: Path) -> None:
    """In our iterator and in the webdataset package; run lengths and polygons by pycocotools as well."""
    mask = pytest.importorskip("pycocotools.mask")
    source, files = shared_data / "coco", sorted((shared_data / "coco" / "annotations").glob("*.json"))
    if not files:
        pytest.skip(f"{source} is absent: COCO's photographs are not part of the project")
    wanted = coco_by_file(files)
    (tmp_path / "images").mkdir()
    others = sorted(path.name for path in (source / "images").iterdir() if path.name not in wanted)[:10]
    for name in [*wanted, *others]:
        (tmp_path / "images" / name).symlink_to(source / "images" / name)
    make_shards(tmp_path / "images", tmp_path / "out", annotations=files, workers=0)
    images = ImageIterator(tmp_path / "out", size=16, batch_size=64, fields=("json", *FIELDS))
    ours = {}
    for batch in images:
        for number, key in enumerate(batch.keys):
            fields = {name: batch.fields[name][number] for name in batch.fields}
            ours[f"{key}.jpg"] = fields["json"]
            check_fields(fields, wanted.get(f"{key}.jpg"))
    theirs = {
        f"{key}.jpg": json.loads(members["json"]) if "json" in members else None
        for key, members in packed(tmp_path / "out").items()
    }
    assert ours == theirs
    assert {name for name, record in ours.items() if record is not None} == wanted.keys()
    num_masks = 0
    for name, expected in wanted.items():
        record = ours[name]
        assert record["image"] == expected["image"]
        assert record["license"] == expected["license"]
        assert record["captions"] == expected["captions"]
        assert [without_added(one) for one in record["annotations"]] == expected["annotations"]
        assert [one["category"] for one in record["annotations"]] == expected["names"]
        size = (record["image"]["height"], record["image"]["width"])
        for one in record["annotations"]:
            coded = one["segmentation"]
            if isinstance(coded, dict):
                coded = mask.frPyObjects(coded, *size)
                assert boxes.runs_to_mask(one["segmentation"]["counts"], size).sum() == mask.area(coded)
                num_masks += 1
    assert num_masks == 13, "crowds among the shared photographs"
    table = pipelines.labels(tmp_path / "out")
    counted = [
        sum(names.count(label.name) for names in (one["names"] for one in wanted.values())) for label in table
    ]
    assert len(table) == 80
    assert list(table.counts) == counted


def coco_by_file(files: list[Path]) -> dict[str, Any]:
    """What plain json says of each file name, over all files."""
    found: dict[str, Any] = {}
    for path in files:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {one["id"]: one["name"] for one in content.get("categories", ())}
        licences = {one["id"]: one for one in content["licenses"]}
        by_id = {}
        for image in content["images"]:
            nothing: dict[str, Any] = {"captions": [], "annotations": [], "names": []}
            entry = found.setdefault(image["file_name"], nothing)
            entry |= {"image": image, "license": licences[image["license"]]}
            by_id[image["id"]] = entry
        for one in content["annotations"]:
            by_id[one["image_id"]]["captions" if "caption" in one else "annotations"].append(one)
            by_id[one["image_id"]]["names"] += [names[one["category_id"]]] if "category_id" in one else []
    return found


def without_added(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name not in ("category", "class")}


def check_fields(fields: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """The ragged fields of one example say what the JSON says."""
    objects = [] if expected is None else expected["annotations"]
    assert np.array_equal(fields["boxes"], np.array([one["bbox"] for one in objects], np.float32).reshape(-1, 4))
    assert fields["crowd"].tolist() == [bool(one["iscrowd"]) for one in objects]
    assert len(fields["classes"]) == len(objects)
    assert fields["captions"] == ([] if expected is None else [one["caption"] for one in expected["captions"]])
    assert fields["masks"].num_objects == len(objects)


ALL_ORIENTATIONS = (1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("resize", [None, 120])
@pytest.mark.parametrize(
    "reading",
    [
        {"size": 150},
        {"size": 170, "crop": "random", "flip": True, "shuffle": True},
        {"size": (160, 290), "fit": "pad"},
        {"size": (290, 160), "fit": "stretch", "flip": True},
    ],
    ids=["crop", "random", "pad", "stretch"],
)
def test_boxes_masks_and_keypoints_lie_where_the_pixels_are(
    tmp_path: Path, resize: int | None, reading: dict[str, Any]
) -> None:
    """Each object is a rectangle of its own colour, which is looked for in the picture that is delivered."""
    coco = make_coco_folder(tmp_path / "coco", 10, orientations=ALL_ORIENTATIONS, size=(192, 288))
    pack(coco, tmp_path / "out", resize=resize, quality=95 if resize else None)
    looked_at = 0
    for batch in ImageIterator(tmp_path / "out", batch_size=5, fields=FIELDS, **reading):
        placed = boxes.place(batch)
        for number in range(len(batch)):
            pixels = batch.data[number].astype(int)
            for position in range(len(placed.fields["boxes"][number])):
                seen = np.abs(pixels - np.array(COLOURS[position])[:, None, None]).max(0) < 52
                looked_at += check_object(seen, placed.fields, number, position)
    assert looked_at > 15


def check_object(seen: np.ndarray[Any, Any], fields: dict[str, Any], number: int, position: int) -> bool:
    """One object's box, mask and keypoints against the pixels of its colour; False where too little of it is seen."""
    box, visible = fields["boxes"][number][position], fields["visible"][number][position]
    mask, points = fields["masks"][number][position], fields["keypoints"][number][position]
    rows, columns = np.nonzero(seen)
    if visible < 0.5 or min(box[2:]) < 12:
        return False
    edges = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.abs(edges - [box[0], box[1], box[0] + box[2], box[1] + box[3]]).max() < 1.6, (edges, box)
    assert (mask & seen).sum() / (mask | seen).sum() > 0.9
    inside = points[points[:, 2] > 0, :2]
    is_whole = box[:2].min() > 0.5 and (box[:2] + box[2:] < np.array(seen.shape[::-1]) - 0.5).all()
    if is_whole:
        assert len(inside) == 4
        assert np.abs(inside.min(0) - edges[:2]).max() < 1.6
        assert np.abs(inside.max(0) - edges[2:]).max() < 1.6
    return True


def test_a_frame_can_be_named_where_both_would_fit(tmp_path: Path) -> None:
    """A square picture, upside down: its boxes count the file's pixels, or those that are seen."""
    coco = make_coco_folder(tmp_path / "coco", 3, orientations=(3,), size=(96, 96))
    expected = coco.objects["000000.jpg"]
    for frame, turned in (("auto", True), ("stored", True), ("upright", False)):
        pack(coco, tmp_path / frame, annotation_frame=frame)
        found = [one["bbox"] for one in records(tmp_path / frame)["000000"]["annotations"]]
        for one, box in zip(expected, found, strict=True):
            x, y, width, height = one["bbox"]
            assert box == ([96 - x - width, 96 - y - height, width, height] if turned else one["bbox"])


def test_a_record_beside_a_picture_follows_a_resize_as_well(coco: CocoFolder, tmp_path: Path) -> None:
    """As SA-1B has them: no annotation file, a json beside each picture."""
    content = {"image": {"width": 96, "height": 64}, "mood": "calm", "annotations": coco.objects["000000.png"][:1]}
    (coco.images / "000000.json").write_text(json.dumps(content))
    make_shards(coco.images, tmp_path / "out", resize=32, workers=0)
    record = records(tmp_path / "out")["000000"]
    assert record["mood"] == "calm"
    assert record["stored"] == {"height": 32, "width": 48, "transform": [[0.5, 0, 0], [0, 0.5, 0]]}
    assert record["annotations"][0]["bbox"] == [value / 2 for value in content["annotations"][0]["bbox"]]
    make_shards(coco.images, tmp_path / "whole", workers=0)
    assert packed(tmp_path / "whole")["000000"]["json"] == json.dumps(content).encode(), "bytes stay as they are"


def test_a_json_beside_a_picture_is_joined_and_its_own_values_count(coco: CocoFolder, tmp_path: Path) -> None:
    (coco.images / "000000.json").write_text(json.dumps({"license": "mine", "mood": "calm"}))
    (coco.images / "000001.json").write_text("[1]")
    report = pack(coco, tmp_path / "out")
    found = records(tmp_path / "out")
    assert (found["000000"]["license"], found["000000"]["mood"]) == ("mine", "calm")
    assert len(found["000000"]["annotations"]) == 3
    assert found["000001"] == [1]
    said = " ".join(one for packed_set in report.sets for one in packed_set.notes)
    assert "000000.png: license" in said
    assert "(first: 000001.png)" in said


def test_the_labels_lie_beside_the_manifest(coco: CocoFolder, tmp_path: Path) -> None:
    pack(coco, tmp_path / "out")
    table = pipelines.labels(tmp_path / "out")
    assert table.names == ("cat", "traffic light")
    assert (table.ids, table.counts) == ((3, 70), (8, 4))
    assert [label.images for label in table] == [4, 4]
    assert table.find("traffic light").number == 1
    assert pipelines.labels(ImageIterator(tmp_path / "out", size=8)) == table
    (tmp_path / "out" / "labels.json").unlink()
    assert pipelines.labels(tmp_path / "out") == table, "the manifest has them too"
    assert not pack(coco, tmp_path / "out").was_complete or (tmp_path / "out" / "labels.json").exists()
    with pytest.raises(KeyError, match=r"no label 'dog'; there are cat, traffic light"):
        table.find("dog")
    make_shards(coco.images, tmp_path / "bare", workers=0)
    with pytest.raises(SourceError, match="has no table of labels"):
        pipelines.labels(tmp_path / "bare")


def test_a_skeleton_of_keypoints_without_names_is_packed_without_them(coco: CocoFolder, tmp_path: Path) -> None:
    categories = json.loads(coco.instances.read_text())["categories"]
    categories[0] |= {"name": "\ud800x", "keypoints": ["a", "b"], "skeleton": [[1, 2], [2, 7], [0, 1]]}
    coco.change(coco.instances, categories=categories)
    pack(coco, tmp_path / "out")
    first = pipelines.labels(tmp_path / "out")[0]
    assert (first.name, first.keypoints, first.skeleton) == ("?x", ("a", "b"), ((1, 2),))
    assert Manifest.load(tmp_path / "out").labels == pipelines.labels(tmp_path / "out")


def test_packing_twice_changes_nothing_and_other_annotations_are_refused(coco: CocoFolder, tmp_path: Path) -> None:
    first = pack(coco, tmp_path / "out")
    before = contents(tmp_path / "out")
    again = pack(coco, tmp_path / "out")
    assert (first.was_complete, again.was_complete) == (False, True)
    assert contents(tmp_path / "out") == before
    coco.change(coco.captions, annotations=[])
    with pytest.raises(pipelines.ShardingError, match=r"annotations has changed \(captions\.json\)"):
        pack(coco, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_workers_and_interruptions_do_not_change_a_byte(coco: CocoFolder, tmp_path: Path) -> None:
    pack(coco, tmp_path / "out", resize=40)
    pack(coco, tmp_path / "two", resize=40, workers=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "two")


def test_what_is_appended_keeps_the_numbers_of_classes(coco: CocoFolder, tmp_path: Path) -> None:
    """New files with a new annotation file, in which a category with a smaller id comes up."""
    pack(coco, tmp_path / "out")
    before = records(tmp_path / "out")
    more = make_coco_folder(tmp_path / "more", 9)
    content = json.loads(more.instances.read_text())
    for one in content["annotations"]:
        one["category_id"] = 1 if one["category_id"] == 70 else 3
    more.change(
        more.instances,
        annotations=content["annotations"],
        categories=[{"id": 1, "name": "ant"}, {"id": 3, "name": "cat"}],
    )
    pack(more, tmp_path / "out", append=True)
    table = pipelines.labels(tmp_path / "out")
    assert table.names == ("cat", "traffic light", "ant")
    assert table.counts == (8 + 2, 4, 1)
    after = records(tmp_path / "out")
    assert {key: after[key] for key in before} == before
    assert [one["class"] for one in after["000006"]["annotations"]] == [0, 2, 0]


def test_strict_names_every_fault_before_anything_is_packed(coco: CocoFolder, tmp_path: Path) -> None:
    content = json.loads(coco.instances.read_text())
    content["annotations"][0]["category_id"] = 99
    content["annotations"][1]["bbox"] = [90, 1, 50, 5]
    content["images"].append({"id": 5, "file_name": "gone.jpg", "width": 8, "height": 8})
    coco.change(coco.instances, **content)
    with pytest.raises(pipelines.ShardingError) as caught:
        pack(coco, tmp_path / "out", strict=True)
    said = str(caught.value)
    assert "without --strict" in said
    assert "gone.jpg" in said
    assert "99" in said
    assert "leaves its picture" in said
    assert list((tmp_path / "out").glob("*.tar")) == []
    report = pack(coco, tmp_path / "out")
    assert report.examples == 6
    assert len(report.sets[0].notes) == 3 + 1, "three faults, and a remark on pictures without annotation"
    assert Manifest.load(tmp_path / "out").remarks == list(report.sets[0].notes[:3])
    assert records(tmp_path / "out")["000000"]["annotations"][0]["class"] == -1
    assert pack(coco, tmp_path / "out").sets[0].notes == report.sets[0].notes[:3], "said again when it is complete"


def test_a_picture_of_another_size_than_is_said_is_named(coco: CocoFolder, tmp_path: Path) -> None:
    content = json.loads(coco.instances.read_text())
    for path in coco.files:
        images = json.loads(path.read_text())["images"]
        images[1]["width"] = 500
        coco.change(path, images=images)
    report = pack(coco, tmp_path / "out", shard_examples=1)
    said = [note for note in report.sets[0].notes if "annotations say" in note]
    assert len(said) == 1
    assert "1 ×" in said[0]
    assert "000001.png: 96 × 64 pixels, annotated as 500 × 64" in said[0]
    assert [one["bbox"] for one in records(tmp_path / "out")["000001"]["annotations"]] == [
        one["bbox"] for one in content["annotations"] if one["image_id"] == 1001
    ]
    with pytest.raises(pipelines.ShardingError, match="another size"):
        pack(coco, tmp_path / "strict", strict=True)


def test_annotations_are_refused_where_they_make_no_sense(coco: CocoFolder, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.json: cannot be read"):
        pack(coco, tmp_path / "out", annotations=tmp_path / "absent.json")
    folder = coco.captions.parent
    names = sorted(path.name for path in folder.glob("*.json"))
    with pytest.raises(SourceError, match=f"is a folder; name its files: {', '.join(names)}\\."):
        pack(coco, tmp_path / "out", annotations=folder)
    with pytest.raises(ValueError, match="twice"):
        pack(coco, tmp_path / "out", annotations=[coco.captions, coco.captions])
    with pytest.raises(ValueError, match="annotation_frame is 'raw'"):
        pack(coco, tmp_path / "out", annotation_frame="raw")
    with pytest.raises(ValueError, match="it needs labels"):
        pack(coco, tmp_path / "out", label_key="name")
    with pytest.raises(TypeError, match="annotations is 3"):
        pack(coco, tmp_path / "out", annotations=3)
    assert not (tmp_path / "out").exists()
