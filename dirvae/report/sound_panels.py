"""The curves of a training on sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dirvae.drawing.curves import Curve, Panel, filled_panels, metric_curve, speed_panels

__all__ = ["sound_panels"]


def sound_panels(metrics: Sequence[dict[str, Any]], *, has_latent: bool) -> list[Panel]:
    """The numbers of a metrics file over time; numbers of the latent only if there is one."""

    def both(key: str) -> list[Curve]:
        return [metric_curve(metrics, "train", key, "training"), held_out(key)]

    def held_out(key: str, name: str = "held out", times: int = 1) -> Curve:
        return metric_curve(metrics, "held_out", key, name, times=times)

    of_latent = [
        Panel("KL, nats per second", both("kl_per_second")),
        Panel("KL, nats per clip", both("kl")),
        Panel("Weight of the KL term", [metric_curve(metrics, "train", "kl_weight", "weight")]),
        Panel(
            "Components of held-out clips",
            [held_out("components_in_use", "in use"), held_out("effective_components", "effective")],
        ),
    ]
    loss = [metric_curve(metrics, "train", "loss", "training"), held_out("objective", times=-1)]
    return filled_panels(
        Panel("Loss", loss),
        *(of_latent if has_latent else []),
        Panel("Held-out loudness error, dB", [held_out("loudness_error_db")]),
        Panel("Held-out pitch error, semitones", [held_out("pitch_error_semitones")]),
        *speed_panels(metrics),
    )
