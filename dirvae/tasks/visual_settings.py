"""Settings that images and videos have in common, and their flags: how frames look, and which residual network."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from dirvae.choices import LATENT_NAMES, LEVELS, LIKELIHOOD_NAMES, VISUAL_PRESETS, is_latent, is_likelihood
from dirvae.tasks.data import DataSettings
from dirvae.tasks.flag_values import prior_text, size_value
from dirvae.tasks.task import AddFlag
from dirvae.training.settings import FREE, Settings, is_count, is_number, is_positive

__all__ = ["VisualData", "VisualModel", "add_data_flags", "add_model_flags"]


@dataclass(frozen=True, kw_only=True)
class VisualData(DataSettings):
    """How pictures look: `size` is the side of squares in pixels, or (height, width); `flip` mirrors half of them.

    Larger pictures than `max_pixels` are refused; None: the iterator's own limit.
    """

    size: int | tuple[int, int] = 64
    flip: bool = False
    max_pixels: int | None = field(default=None, metadata=FREE)

    def __post_init__(self) -> None:
        super().__post_init__()
        given: object = self.size
        if isinstance(given, list):  # as JSON has it
            object.__setattr__(self, "size", tuple(given))
        sides = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        is_size = len(sides) == 2 and all(is_count(side, 1) for side in sides)
        self.check("size", is_size, "a whole number ≥ 1, or two of them: height and width")
        self.check_counts_or_none("max_pixels")
        self.check("flip", isinstance(self.flip, bool), "true or false")


@dataclass(frozen=True, kw_only=True)
class VisualModel(Settings):
    """Which residual network.

    `levels` says which latents: "vector", one per example; "map", one per cell of a map; "both", a vector and beside it
    a map of simplexes of `map_size` components, which training leaves out in the share `map_dropped` of the examples.
    None: a map if there is a `grid`, else a vector. `grid` is the side of the map, `prior` the concentration of the
    latent's prior or "learned" (None: the latent's own default), `fixed_scale` the scale that the likelihood keeps
    (None: learned).
    """

    preset: str = "tiny"
    model_size: int = 32
    levels: str | None = None
    grid: int | None = None
    map_size: int = 16
    map_dropped: float = 0.3
    latent: str = "dirichlet"
    prior: float | str | None = None
    likelihood: str = "gaussian"
    fixed_scale: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("preset", self.preset in VISUAL_PRESETS, f"one of {', '.join(VISUAL_PRESETS)}")
        self.check_counts("model_size", smallest=2)
        self.check("levels", self.levels is None or self.levels in LEVELS, f"one of {', '.join(LEVELS)}")
        self.check_counts_or_none("grid")
        self.check_counts("map_size", smallest=2)
        share = is_number(self.map_dropped) and 0 <= self.map_dropped < 1
        self.check("map_dropped", share, "a share of the examples in [0, 1)")
        self.check("latent", is_latent(self.latent), f"one of {', '.join(LATENT_NAMES)}")
        prior = self.prior is None or self.prior == "learned" or is_positive(self.prior)
        self.check("prior", prior, "'learned' or a finite number > 0")
        self.check("likelihood", is_likelihood(self.likelihood), f"one of {', '.join(LIKELIHOOD_NAMES)}")
        scale = self.fixed_scale is None or is_positive(self.fixed_scale)
        self.check("fixed_scale", scale, "a finite number > 0")


def add_data_flags(add: AddFlag, *, plural: str, max_pixels: str) -> None:
    """Add the flags of `VisualData`. `plural`: of the examples; `max_pixels`: what is refused, for the help."""
    add("--size", f"side of the {plural} in pixels, or HEIGHTxWIDTH", type=size_value, metavar="PIXELS")
    add("--flip", f"mirror half of the {plural}; not by default", action=argparse.BooleanOptionalAction)
    add("--max-pixels", max_pixels, type=int, metavar="NUM")


def add_model_flags(add: AddFlag, *, noun: str) -> None:
    """Add the flags of `VisualModel`. `noun`: of an example."""
    add("--preset", "size of the network", choices=VISUAL_PRESETS)
    add("--model-size", "components of the latent", type=int, metavar="NUM")
    add(
        "--levels",
        f"vector: one latent per {noun}; map: one per cell of a map; both: a vector and a map beside it; vector by "
        "default, or map with --grid",
        choices=LEVELS,
    )
    add("--grid", "side of the map; a cell for every 8 pixels by default", type=int, metavar="CELLS")
    add("--map-size", "both: components of each cell's simplex", type=int, metavar="NUM")
    add(
        "--map-dropped",
        f"both: share of the {noun}s that training decodes from the vector alone",
        type=float,
        metavar="SHARE",
    )
    add("--latent", "kind of latent", choices=LATENT_NAMES)
    add(
        "--prior", "concentration of its prior, or 'learned'; its own by default", type=prior_text, metavar="NUMBER"
    )
    add(
        "--likelihood",
        "distribution of the pixels around the decoded ones; mse is not a likelihood and gives no bound",
        choices=LIKELIHOOD_NAMES,
    )
    add(
        "--fixed-scale",
        "scale that the likelihood keeps, in units of the data; learned by default",
        type=float,
        metavar="SCALE",
    )
