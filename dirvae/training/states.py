"""A model and its optimiser as named tensors and JSON values, and back: no pickle, no memory layout lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dirvae.training.errors import CheckpointError
from dirvae.training.wrappers import clean_name, clean_names, unwrapped

__all__ = ["load_model_tensors", "load_optimizer_state", "model_to_tensors", "optimizer_to_tensors"]

# How an optimiser is implemented, not what it does: chosen again for the device on which a run continues.
_IMPLEMENTATION = frozenset({"params", "fused", "foreach", "capturable", "differentiable"})


def model_to_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name; of weights that several names share, the first name only.

    Wrappers are looked through: a compiled model has the names of the model itself.
    """
    model = unwrapped(model)
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    state = model.state_dict(keep_vars=True)
    names = clean_names(model, state)
    for name, value in state.items():
        if id(value) not in seen:
            seen.add(id(value))
            tensors[names[name]] = value.detach()
    return tensors


def load_model_tensors(model: nn.Module, tensors: Mapping[str, Tensor], *, origin: str) -> None:
    """Give a model the weights of `model_to_tensors`. Raises `CheckpointError`, naming `origin`, on a misfit."""
    expected = model_to_tensors(model)
    if tensors.keys() != expected.keys():  # perhaps saved under the names of a wrapper
        tensors = {clean_name(name): value for name, value in tensors.items()}
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    wrong += [f"{name} is not in the model" for name in tensors if name not in expected]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)}, the model's is {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{origin}: its weights are of another model ({wrong[0]}{more}). Give the settings it was trained with."
        )
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(tensors[name])


def optimizer_to_tensors(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split a state into tensors, named `PARAMETER.STATE`, and JSON values: the groups' settings and scalars.

    Raises `CheckpointError` for an optimiser that keeps anything else, nested lists for instance.
    """
    content = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for parameter, entries in content["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{parameter}.{name}"] = value
            else:
                scalars[f"{parameter}.{name}"] = _json_value(value, name, optimizer)
    groups = [
        {name: _json_value(value, name, optimizer) for name, value in group.items() if name not in _IMPLEMENTATION}
        for group in content["param_groups"]
    ]
    return tensors, {"kind": type(optimizer).__name__, "groups": groups, "scalars": scalars}


def load_optimizer_state(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    """Give a fresh optimiser the state that `optimizer_to_tensors` took. Raises `CheckpointError` on a misfit.

    A tensor of its parameter's shape gets its parameter's memory layout, which it had when it was made, so that the
    arithmetic of resumed steps is the same to the last bit.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    _check_fits(optimizer, len(parameters), tensors, description)
    state: dict[int, dict[str, Any]] = {}
    for key, value in (*tensors.items(), *description["scalars"].items()):
        index, name = key.split(".", 1)
        if isinstance(value, Tensor) and value.shape == parameters[int(index)].shape:
            value = torch.empty_like(parameters[int(index)], dtype=value.dtype, device="cpu").copy_(value)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    for group, saved in zip(groups, description["groups"], strict=True):
        for name, value in saved.items():
            group[name] = tuple(value) if isinstance(value, list) else value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _check_fits(
    optimizer: Optimizer, count: int, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    kind, saved = type(optimizer).__name__, description["kind"]
    if saved != kind or len(description["groups"]) != len(optimizer.param_groups):
        raise CheckpointError(
            f"the checkpoint's optimiser is {saved} over {len(description['groups'])} parameter groups, this one "
            f"is {kind} over {len(optimizer.param_groups)}. Resume with the same optimiser."
        )
    if tensors and max(int(key.split(".", 1)[0]) for key in tensors) >= count:
        raise CheckpointError(
            f"the checkpoint's optimiser knows more than the {count} parameters of this one. Resume with the same "
            "model and optimiser."
        )


def _json_value(value: Any, name: str, optimizer: Optimizer) -> Any:
    parts = value if isinstance(value, list | tuple) else (value,)
    if all(part is None or isinstance(part, bool | int | float | str) for part in parts):
        return value
    raise CheckpointError(
        f"{type(optimizer).__name__} keeps {name!r} as {type(value).__name__}, which a checkpoint cannot hold. "
        "Use numbers or tensors."
    )
