"""Modules around a model, such as those of `torch.compile` and of data parallelism: looked through, and not saved."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

__all__ = ["clean_name", "clean_names", "unwrapped"]

_COMPILED = "_orig_mod"


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without what `torch.compile`, `DataParallel` or `DistributedDataParallel` put around it."""
    while (inner := _inner_name(model)) is not None:
        model = getattr(model, inner)
    return model


def clean_names(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """The names of a model's weights without those of wrappers around its parts, by the names that it has them by."""
    inner = [
        f"{path}.{attribute}." if path else f"{attribute}."
        for path, module in model.named_modules()
        if (attribute := _inner_name(module)) is not None
    ]
    cleaned = {}
    for name in names:
        clean = name
        for prefix in sorted(inner, key=len, reverse=True):
            if clean.startswith(prefix):
                outer = prefix[:-1].rpartition(".")[0]
                clean = (f"{outer}." if outer else "") + clean.removeprefix(prefix)
        cleaned[name] = clean
    return cleaned


def clean_name(name: str) -> str:
    """A weight's name as older checkpoints hold it, without a compiled model's part and a leading `module.`."""
    return re.sub(rf"(^|\.){_COMPILED}\.", r"\1", name.removeprefix("module."))


def _inner_name(module: nn.Module) -> str | None:
    if _COMPILED in getattr(module, "_modules", {}):
        return _COMPILED
    return "module" if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) else None
