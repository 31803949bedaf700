"""Shard boundaries and keys, decided before anything is read."""

from __future__ import annotations

import json
import random

import pytest

from pipelines.sharding.modalities.image import ImageSettings
from pipelines.sharding.plan import make_plan
from pipelines.sharding.settings import PackSettings, settings_for
from pipelines.storage.keys import split_member_name
from pipelines.storage.listing import Listing, SourceFile


def listing_of(*sizes: int, names: list[str] | None = None) -> Listing:
    names = names or [f"{index:04d}.jpg" for index in range(len(sizes))]
    images = [SourceFile(name, size, "jpg") for name, size in zip(names, sizes, strict=True)]
    return Listing(sorted(images, key=lambda image: image.path), [])


def test_no_shard_exceeds_its_limits_and_none_could_take_the_next_file() -> None:
    generator = random.Random(5)
    sizes = [generator.randrange(1, 30_000) for _ in range(300)]
    plan = make_plan(listing_of(*sizes), PackSettings(shard_bytes=200_000, shard_examples=12))
    shards = list(plan.shards)

    def padded(size: int) -> int:
        return 512 + -(-size // 512) * 512

    totals = [sum(padded(one.file.size) for one in shard.files) for shard in shards]
    assert all(total <= 200_000 and len(shard.files) <= 12 for total, shard in zip(totals, shards, strict=True))
    for total, shard, after in zip(totals, shards, shards[1:], strict=False):
        assert len(shard.files) == 12 or total + padded(after.files[0].file.size) > 200_000
    assert sorted(one.file.path for shard in shards for one in shard.files) == sorted(
        f"{i:04d}.jpg" for i in range(300)
    )
    assert [shard.number for shard in shards] == list(range(len(shards)))


def test_a_file_larger_than_a_shard_gets_one_of_its_own() -> None:
    plan = make_plan(listing_of(10, 10_000, 10), PackSettings(shuffle=None, shard_bytes=4_000))
    assert [len(shard.files) for shard in plan.shards] == [1, 1, 1]


def test_the_default_shard_is_a_sixteenth_of_the_whole_within_bounds() -> None:
    mebi = 1 << 20
    for total_mebi, expected in ((8, 1), (100, 7), (1024, 16), (64 * 1024, 256)):
        sizes = [mebi * total_mebi // 2048 - 512] * 2048  # with its header, each is a 2048th of the whole
        plan = make_plan(listing_of(*sizes), PackSettings())
        assert len(plan.stops) == expected


def test_the_shuffle_is_a_permutation_that_follows_the_seed() -> None:
    listing = listing_of(*[100] * 50)

    def order(seed: int | None) -> list[str]:
        return [one.file.path for one in make_plan(listing, PackSettings(shuffle=seed)).files]

    assert order(None) == sorted(order(None))
    assert order(0) == order(0) != order(1)
    assert sorted(order(0)) == sorted(order(1)) == order(None) != order(0)


def test_keys_do_not_depend_on_any_setting() -> None:
    names = ["a.jpg", "a.png", "b.c.jpg", "b_c.jpg", "__x__.jpg", "d/a.jpg", "a~2.jpg"]
    listing = listing_of(*[10] * len(names), names=names)
    keys = {one.file.path: one.key for one in make_plan(listing, PackSettings(shuffle=None)).files}
    for settings in (
        PackSettings(shuffle=3),
        PackSettings(shard_examples=1),
        PackSettings(ImageSettings(resize=8)),
    ):
        assert {one.file.path: one.key for one in make_plan(listing, settings).files} == keys
    assert len(set(keys.values())) == len(names)
    assert (keys["a.jpg"], keys["a.png"], keys["b.c.jpg"], keys["b_c.jpg"]) == ("a", "a~2", "b_c", "b_c~2")
    for key in keys.values():
        assert split_member_name(key + ".jpg") == (key, "jpg")
        assert not key.startswith("__")


def test_keys_hold_nothing_that_cannot_be_printed_or_stored() -> None:
    names = ["new\nline.jpg", "bad\udcffbyte.jpg", "bad\udcfebyte.jpg"]
    keys = {one.key for one in make_plan(listing_of(1, 1, 1, names=names), PackSettings()).files}
    assert keys == {"new_line", "bad�byte", "bad�byte~2"}


def test_an_addition_takes_the_new_files_and_keys_that_are_free() -> None:
    names = ["a.jpg", "a.png", "b.jpg"]
    listing = listing_of(1, 1, 1, names=names)
    plan = make_plan(
        listing, PackSettings(shuffle=None), packed={"a.jpg": "a", "gone.jpg": "b"}, base="ab", first_shard=7
    )
    assert [(one.key, one.file.path) for one in plan.files] == [("a~2", "a.png"), ("b~2", "b.jpg")]
    assert [shard.number for shard in plan.shards] == [7]
    assert plan.describe()["base"] == "ab"


def test_what_is_saved_of_a_plan_is_json_and_tells_plans_apart() -> None:
    plan = make_plan(listing_of(1, 2, 3), PackSettings())
    assert json.loads(json.dumps(plan.describe())) == plan.describe()
    others = [
        make_plan(listing_of(1, 2, 4), PackSettings()),
        make_plan(listing_of(1, 2, 3), PackSettings(ImageSettings(decode=True))),
        make_plan(listing_of(1, 2, 3), PackSettings(), base="00"),
    ]
    assert all(other.describe() != plan.describe() for other in others)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shard_bytes": 0}, "shard_bytes is 0"),
        ({"shard_examples": 0}, "shard_examples is 0"),
        ({"resize": -1}, "resize is -1"),
        ({"quality": 90}, "it needs resize"),
        ({"quality": 99, "resize": 8}, "between 1 and 95"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_for("image", settings)  # type: ignore[arg-type]
