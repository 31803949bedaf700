"""The files beside a manifest whose content follows from it: classes and labels, copied for readers."""

from __future__ import annotations

import json

from ..storage.label_table import LABELS_NAME
from ..storage.manifest import Manifest
from .classes import CLASSES_NAME, known_classes

__all__ = ["table_texts"]


def table_texts(manifest: Manifest) -> dict[str, str]:
    """The text of each such file by its name, without its last line break; empty for a set without any.

    Raises `ShardError` for nonsense in the place of classes.
    """
    found = {}
    if classes := known_classes(manifest.settings):
        found[CLASSES_NAME] = json.dumps(classes, ensure_ascii=False, indent=1)
    if manifest.labels is not None:
        found[LABELS_NAME] = manifest.labels.text()
    return found
