"""Answers to the requests of the page: each function takes the desk and the fields of a request.

They run on the worker's thread. Latents are flat lists of numbers in requests and float32 arrays in answers.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dirvae.explorer.desk import Desk
from dirvae.explorer.exports import FORMATS, ExportError, export, formats_of
from dirvae.explorer.fields import RefusedError, text_of, whole_number
from dirvae.explorer.latents import latent_of
from dirvae.explorer.showing import Shown, media_arrays
from dirvae.explorer.wire import pack

__all__ = ["about", "decode", "describe_shown", "exported", "latent", "original", "thumbnails"]

Fields = Mapping[str, Any]
THUMBNAIL_SIDE = 64
THUMBNAILS_PER_PAGE = 64
THUMBNAIL_COLUMNS = 8


def about(desk: Desk, fields: Fields) -> dict[str, Any]:
    """Facts about the runs from which the page draws its controls."""
    return {"runs": [_describe(desk, number) for number in range(len(desk.opens))]}


def _describe(desk: Desk, number: int) -> dict[str, Any]:
    import torch

    from dirvae.explore.component_use import by_use, usage
    from dirvae.explore.explored import vectors
    from dirvae.explore.registry import EXPLORATIONS

    run = desk.run(number)
    found = usage(run.latents, on_simplex=run.on_simplex)
    flat = run.latents.movedim(1, 0).flatten(1).float()
    ranges = torch.quantile(flat[:, :: max(1, flat.shape[1] // 100_000)], torch.tensor([0.005, 0.995]), dim=1)
    return {
        "name": run.name,
        "label": desk.opens[number].label,
        "step": run.step,
        "kind": run.kind,
        "keys": list(run.keys),
        "model_size": run.model_size,
        "grid": list(run.latents.shape[2:]),
        "on_simplex": run.on_simplex,
        "has_concentrations": run.concentrations is not None,
        "context_name": run.context_name,
        "least": ranges[0].tolist(),
        "most": ranges[1].tolist(),
        "usage": {
            "means": found.means.tolist(),
            "spread": found.spread.tolist(),
            "in_use": found.is_in_use.tolist(),
            "effective": found.effective,
            "order": by_use(found),
        },
        "typical": run.typical,
        "top": vectors(run.latents).argmax(0).tolist(),
        "explorations": [
            {
                "name": one.name,
                "title": one.title,
                "summary": one.summary,
                "parameters": [vars(parameter) for parameter in one.parameters],
            }
            for one in EXPLORATIONS.values()
            if one.needs == "anything" or run.on_simplex
        ],
    }


def latent(desk: Desk, fields: Fields) -> bytes:
    """The latent of an example or an upload: "latent", as float32 (model_size, *grid)."""
    subject = desk.subject(fields)
    return pack({"label": subject.label}, {"latent": subject.latent.numpy()})


def decode(desk: Desk, fields: Fields) -> bytes:
    """A latent decoded by the model with the context of `start`; `sequence` is returned unchanged."""
    import torch

    _, run = desk.run_of(fields)
    values = latent_of(fields, tuple(run.latents.shape[1:]), on_simplex=run.on_simplex)
    context = desk.subject(fields).context if "start" in fields else None
    sequence = whole_number(fields, "sequence", below=1 << 53, default=0)
    media = run.decode(torch.from_numpy(values)[None], context)
    return describe_shown(desk, Shown(media, f"{run.name}-steered"), {"sequence": sequence})


def original(desk: Desk, fields: Fields) -> bytes:
    """An example or an uploaded file, as the encoder receives it."""
    _, run = desk.run_of(fields)
    subject = desk.subject(fields)
    return describe_shown(desk, Shown(subject.original(), f"{run.name}-original"), {"label": subject.label})


def describe_shown(desk: Desk, shown: Shown, facts: Mapping[str, Any]) -> bytes:
    """Media for the page, with the number that an export request names."""
    media_facts, arrays = media_arrays(shown)
    kept = {"shown": desk.shown.keep(shown), "formats": formats_of(shown), "kind": shown.media.kind}
    return pack({**facts, **kept, **media_facts}, arrays)


def thumbnails(desk: Desk, fields: Fields) -> bytes:
    """A page of thumbnails: 64 examples in rows of 8, each 64 pixels wide and high, as WebP."""
    number, run = desk.run_of(fields)
    pages = -(-len(run.keys) // THUMBNAILS_PER_PAGE)
    page = whole_number(fields, "page", below=pages, default=0)
    place = ("thumbnails", number, len(run.keys), page)
    if place not in desk.remembered:
        first = page * THUMBNAILS_PER_PAGE
        numbers = range(first, min(first + THUMBNAILS_PER_PAGE, len(run.keys)))
        desk.remembered[place] = _sprite([run.thumbnail(one) for one in numbers])
    found: bytes = desk.remembered[place]
    return found


def _sprite(pictures: list[NDArray[np.uint8]]) -> bytes:
    side = THUMBNAIL_SIDE
    rows = -(-len(pictures) // THUMBNAIL_COLUMNS)
    sprite = Image.new("RGB", (THUMBNAIL_COLUMNS * side, rows * side))
    for place, pixels in enumerate(pictures):
        tile = ImageOps.fit(Image.fromarray(pixels), (side, side), Image.Resampling.LANCZOS)
        sprite.paste(tile, (place % THUMBNAIL_COLUMNS * side, place // THUMBNAIL_COLUMNS * side))
    buffer = io.BytesIO()
    sprite.save(buffer, "WEBP", quality=88, method=2)
    return buffer.getvalue()


def exported(desk: Desk, fields: Fields) -> tuple[bytes, str, str]:
    """A file of what was shown: its content, its media type and its name."""
    shown = desk.shown.find(whole_number(fields, "shown", below=1 << 53))
    wanted = text_of(fields, "format")
    if shown is None:
        raise RefusedError("What was shown is no longer kept. Show it again, then export it.")
    try:
        content = export(shown, wanted)
    except ExportError as error:
        raise RefusedError(str(error)) from None
    return content, FORMATS[wanted], f"{shown.name}.{wanted}"
