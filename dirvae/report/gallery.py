"""Examples that show a trained model: reconstructions, samples, components, a path from one example to another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.explore.traversals import component_latents, farthest_pair, interpolate, seen_strength
from dirvae.latents.latent import Posterior
from dirvae.levels import has_map
from dirvae.metrics import active_units, components_in_use, is_simplex, psnr
from dirvae.report.edges import EdgeCounts, edge_latents, num_ends
from dirvae.seeding import Purpose, derive_seed, seeded

__all__ = ["IMAGES", "Component", "Counts", "Gallery", "make_gallery", "reconstruct"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many of each are shown at most, and how many examples the model is given at a time."""

    shown: int
    samples: int
    components: int
    steps: int
    rows: int
    edges: EdgeCounts


IMAGES = Counts(shown=12, samples=24, components=64, steps=9, rows=64, edges=EdgeCounts(6, 9))


@dataclass(frozen=True)
class Component:
    """A component of the latent: its number, its mean over the examples (a share, on the simplex), whether it is in
    use, and the example (channel, *dims) that it decodes to.
    """

    number: int
    mean: float
    is_used: bool
    decoded: Tensor


@dataclass(frozen=True)
class Gallery:
    """Examples (num, channel, *dims) in [0, 1] on the CPU. `psnr_db` is that of the reconstructions, `pair` holds the
    numbers of the two originals that the traversal connects. `latents` are those of all examples, averaged over the
    cells of a grid, (num, component); `center` is what the mean of all latents decodes to. `fitted_samples` are
    draws of the prior that was fitted to the posteriors, None without one. `edges` (pair, step, channel, *dims) are
    straight lines between all pairs of the first few components, as `edge_latents` orders them.
    """

    originals: Tensor
    reconstructions: Tensor
    psnr_db: list[float]
    samples: Tensor
    components: list[Component]
    traversal: Tensor
    pair: tuple[int, int]
    latents: Tensor
    on_simplex: bool
    center: Tensor
    edges: Tensor
    fitted_samples: Tensor | None = None

    @property
    def edge_numbers(self) -> list[int]:
        """The numbers of the components that the edges connect, the strongest first."""
        return [component.number for component in self.components[: num_ends(len(self.edges))]]

    def differences(self) -> Tensor:
        """How each component's example differs from `center`: (component, channel, *dims), 0.5 for not at all.

        All have one scale, on which half the largest difference of any value is 0 or 1; more is outside.
        """
        apart = torch.stack([component.decoded for component in self.components]) - self.center
        return 0.5 + apart / apart.abs().max().clamp(min=1e-9)


@torch.inference_mode()
def make_gallery(model: AutoEncoder, x: Tensor, *, seed: int, counts: Counts = IMAGES) -> Gallery:
    """Make the gallery of a model from examples (num, channel, *dims) in [0, 1]; they are moved to its device.

    The first few are shown; all of them determine how strong each component gets. The components in use come first.
    """
    model.eval()
    x = x.to(next(model.parameters()).device)
    latents = torch.cat([model.encode(part).mean for part in torch.split(x, counts.rows)])
    shown = x[: counts.shown]
    reconstructions = model.reconstruct(shown) if has_map(model) else model.decode(latents[: len(shown)])
    first, second = farthest_pair(latents[: len(shown)])
    components, ends = _components(model, latents, counts)
    with seeded(derive_seed(seed, Purpose.PICTURES), x.device):
        samples = model.sample(counts.samples)
        fitted = None if model.fitted_prior is None else model.sample(counts.samples, prior=model.fitted_prior)
    return Gallery(
        originals=shown.cpu(),
        reconstructions=reconstructions.cpu(),
        psnr_db=psnr(reconstructions.clamp(0, 1), shown).tolist(),
        samples=samples.cpu(),
        components=components,
        traversal=model.decode(interpolate(latents[first], latents[second], counts.steps)).cpu(),
        pair=(first, second),
        latents=latents.flatten(2).mean(2).float().cpu() if latents.ndim > 2 else latents.float().cpu(),
        on_simplex=is_simplex(latents),
        center=model.decode(latents.mean(0, keepdim=True))[0].cpu(),
        edges=_edges(model, ends, components, counts),
        fitted_samples=None if fitted is None else fitted.cpu(),
    )


@torch.inference_mode()
def reconstruct(model: AutoEncoder, x: Tensor, *, num: int = 8) -> tuple[Tensor, Posterior, Tensor]:
    """The first `num` of examples (num, channel, *dims), their posteriors, and what the means of these decode to."""
    model.eval()
    x = x[:num].to(next(model.parameters()).device)
    posterior = model.encode(x)
    decoded = model.reconstruct(x) if has_map(model) else model.decode(posterior.mean)
    return x.cpu(), posterior, decoded.cpu()


def _components(model: AutoEncoder, latents: Tensor, counts: Counts) -> tuple[list[Component], Tensor]:
    """The components that are shown, the strongest first, and the latent of each."""
    on_simplex = is_simplex(latents)
    used = components_in_use(latents) if on_simplex else active_units(latents)
    means = latents.movedim(1, -1).flatten(0, -2).mean(0)
    towards = component_latents(latents.mean(0), seen_strength(latents), on_simplex=on_simplex)
    rank = (used.float() * 2 + means / means.abs().max().clamp(min=1e-9)).argsort(descending=True)
    chosen = rank[: counts.components]
    decoded = torch.cat([model.decode(part) for part in torch.split(towards[chosen], counts.rows)]).cpu()
    components = [
        Component(int(number), float(means[number]), bool(used[number]), example)
        for number, example in zip(chosen.tolist(), decoded, strict=True)
    ]
    return components, towards[chosen]


def _edges(model: AutoEncoder, ends: Tensor, components: list[Component], counts: Counts) -> Tensor:
    """Edges between the strongest components in use, of two at least if there are two: (pair, step, channel, *dims)."""
    used = sum(component.is_used for component in components)
    num = min(len(ends), counts.edges.components, max(used, 2))
    decoded = [component.decoded for component in components[:num]]
    if num < 2:
        return torch.zeros(0, counts.edges.steps, *decoded[0].shape)
    between = edge_latents(ends[:num], counts.edges.steps)[:, 1:-1]
    films = torch.cat([model.decode(part) for part in torch.split(between.flatten(0, 1), counts.rows)]).cpu()
    rows = zip(combinations(decoded, 2), films.view(*between.shape[:2], *films.shape[1:]), strict=True)
    return torch.stack([torch.cat([first[None], film, last[None]]) for (first, last), film in rows])
