"""The label that colours a report: its value for each example that the report encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dirvae.tasks.data import ReplayedBatches
from dirvae.tasks.example_factors import FIELDS, annotated_categories, example_factors, without_field_warnings
from dirvae.training.errors import ConfigError

if TYPE_CHECKING:
    from dirvae.evaluate.labels import Label

__all__ = ["shown_label"]


def shown_label(batches: ReplayedBatches, num: int, name: str | None) -> Label | None:
    """The factor or category with this name in the first `num` examples; None without a name.

    `ConfigError` if none of them has it. The errors of the data pass through.
    """
    if name is None:
        return None
    from dirvae.evaluate.labels import find_label

    fields: list[dict[str, Any] | None] = []
    categories: list[frozenset[str] | None] = []
    with without_field_warnings():
        for batch in batches.with_fields(*FIELDS):
            fields += map(example_factors, batch.fields["json"], batch.fields["cls"])
            categories += map(annotated_categories, batch.fields["json"])
            if len(fields) >= num:
                break
    try:
        return find_label(name, fields[:num], categories[:num])
    except ValueError as error:
        looked_at = f"The report looks at {min(num, len(fields)):,} of them"
        raise ConfigError(f"{error} {looked_at}; leave label out for one without its colours.") from error
