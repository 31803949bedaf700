"""Sounds that show a trained `AudioVAE`: reconstructions and their parts, timbres, a path between clips, samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dirvae.ddsp.harmonics import harmonic_amplitudes
from dirvae.ddsp.pitch import CONFIDENT, track_f0
from dirvae.ddsp.pitch.tracking import highest_pitch
from dirvae.evaluate.sounds import loudness_rows
from dirvae.explore.traversals import component_latents, farthest_pair, interpolate, seen_strength
from dirvae.latents.latent import SimplexLatent
from dirvae.networks.audio import AudioOutput, AudioVAE, SoundClips
from dirvae.report.edges import EdgeCounts, edge_latents
from dirvae.seeding import Purpose, derive_seed, seeded

__all__ = [
    "HIGHEST_RATE",
    "HIGHEST_RATE_OF_CLIPS",
    "ShownClip",
    "SoundGallery",
    "Timbre",
    "choose_clips",
    "latent_rows",
    "make_sound_gallery",
    "show_clips",
]


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much is shown at most, so that the page stays below 5 MB."""

    clips: int
    seconds: float
    phrase_seconds: float
    timbres: int

    @classmethod
    def at(cls, sample_rate: float) -> Amounts:
        """The amounts at a rate in Hz: higher rates show shorter sounds, above 24,000 also fewer clips and timbres."""
        if sample_rate > HIGHEST_RATE:
            return cls(clips=2, seconds=2.25, phrase_seconds=1.0, timbres=8)
        part = min(1.0, 16_000 / sample_rate)
        return cls(clips=4, seconds=2.0 * part, phrase_seconds=1.25 * part, timbres=12)


EDGES = EdgeCounts(components=4, steps=5)
HIGHEST_RATE, HIGHEST_RATE_OF_CLIPS = 24_000, 48_000
"""The highest rates of players in Hz: usually, and for originals and their reconstructions."""
STEPS, SAMPLES = 5, 4
ROWS = 8
"""Clips that are encoded at a time."""


@dataclass(frozen=True, eq=False)
class ShownClip:
    """A clip and its reconstruction, without padding, on the CPU.

    number            of the clip among the given clips
    sounds            (time,) by label, the original first
    f0, loudness      (row,) Hz and dB of the original; `played_f0` is NaN where the reconstruction has no pitch
    latent            the mean of its posterior, (component, row); None without one
    spectral_loss, loudness_error_db  of the reconstruction
    """

    number: int
    sounds: dict[str, Tensor]
    f0: Tensor
    played_f0: Tensor
    loudness: Tensor
    played_loudness: Tensor
    latent: Tensor | None
    spectral_loss: float
    loudness_error_db: float


@dataclass(frozen=True, eq=False)
class Timbre:
    """A component alone: its number, its mean over the clips (a share, on the simplex), whether it is in use, the
    phrase that it plays, (time,), and the mean amplitude of each harmonic in it, (harmonic,).
    """

    number: int
    mean: float
    is_used: bool
    sound: Tensor
    harmonics: Tensor


@dataclass(frozen=True, eq=False)
class SoundGallery:
    """Shown clips and, if the model has a latent, sounds with the pitch and loudness of one clip: the phrase.

    phrase   the number of that clip among `clips`: its pitch moves most
    timbres  the phrase played by each component; components in use come first
    line     the phrase between the clips with the two numbers `pair` among `clips`
    samples  the phrase played with draws of the prior
    edges    (pair, place, time): the phrase between all pairs of the first few timbres, without the timbres themselves
    rows     latents of the control rows of all clips, (row, component)
    means    their means over the rows of each clip, (clip, component)
    """

    clips: list[ShownClip]
    phrase: int
    timbres: list[Timbre]
    line: list[Tensor]
    pair: tuple[int, int]
    samples: list[Tensor]
    edges: Tensor | None = None
    rows: Tensor | None = None
    means: Tensor | None = None


def choose_clips(clips: SoundClips, keys: Sequence[str], num: int) -> list[int]:
    """The numbers of up to `num` clips: first the loudest clip of each recording, then any other clips.

    Keys of clips of one recording are the same up to "@".
    """
    levels = clips.loudness.mean(1).tolist()
    loudest: dict[str, int] = {}
    for number, key in enumerate(keys):
        name = key.rpartition("@")[0] or key
        if name not in loudest or levels[number] > levels[loudest[name]]:
            loudest[name] = number
    chosen = list(loudest.values())[:num]
    others = [number for number in range(len(keys)) if number not in chosen]
    return chosen + others[: num - len(chosen)]


@torch.inference_mode()
def make_sound_gallery(model: AudioVAE, clips: SoundClips, keys: Sequence[str], *, seed: int) -> SoundGallery:
    """Make the gallery of a model from clips; they are moved to its device.

    A few are shown, of a few seconds; all of them determine how strong each component gets.
    """
    model.eval()
    device = next(model.parameters()).device
    amounts = Amounts.at(float(model.sample_rate))
    chosen = choose_clips(clips, keys, amounts.clips)
    noise = derive_seed(seed, Purpose.PICTURES) % 2**62
    shown = show_clips(model, clips, chosen, seed=seed)
    place = max(range(len(shown)), key=lambda number: float(shown[number].f0.max() / shown[number].f0.min()))
    if model.latent is None:
        return SoundGallery(shown, place, [], [], (0, 0), [])
    phrase = _one(clips, chosen[place], model, min(amounts.phrase_seconds, amounts.seconds)).to(device)
    means = torch.stack([clip.latent.mean(1) for clip in shown if clip.latent is not None]).to(device)
    pair = farthest_pair(means)
    line = _play(model, phrase, interpolate(means[pair[0]], means[pair[1]], STEPS), noise)
    with seeded(derive_seed(seed, Purpose.PICTURES, 1), device):
        drawn = model.latent.prior.sample(SAMPLES).to(device)
    by_clip = latent_rows(model, clips)
    rows = torch.cat(by_clip)
    timbres, ends = _timbres(model, rows, phrase, amounts.timbres, noise)
    return SoundGallery(
        clips=shown,
        phrase=place,
        timbres=timbres,
        line=list(line.reconstruction.cpu()),
        pair=pair,
        samples=list(_play(model, phrase, drawn, noise).reconstruction.cpu()),
        edges=_edges(model, phrase, ends[: EDGES.components], EDGES.steps, noise),
        rows=rows.cpu(),
        means=torch.stack([latents.mean(0) for latents in by_clip]).cpu(),
    )


@torch.inference_mode()
def show_clips(model: AudioVAE, clips: SoundClips, numbers: Sequence[int], *, seed: int) -> list[ShownClip]:
    """The first seconds of the clips with these numbers, and their reconstructions."""
    device = next(model.parameters()).device
    seconds = Amounts.at(float(model.sample_rate)).seconds
    noise = derive_seed(seed, Purpose.PICTURES) % 2**62
    return [_show(model, _one(clips, number, model, seconds).to(device), number, noise) for number in numbers]


def _one(clips: SoundClips, number: int, model: AudioVAE, seconds: float) -> SoundClips:
    """One clip without its padding, cut to `seconds`; it keeps at least one control row."""
    length = clips.num_samples if clips.lengths is None else int(clips.lengths[number])
    length = max(1, min(length, math.ceil(seconds * model.sample_rate)))
    rows = min(clips.num_rows, model.num_rows(length))
    one = clips[number : number + 1]
    return replace(
        one, samples=one.samples[:, :length], f0=one.f0[:, :rows], loudness=one.loudness[:, :rows], lengths=None
    )


def _show(model: AudioVAE, clip: SoundClips, number: int, seed: int) -> ShownClip:
    out = model.reconstruct(clip, seed=seed)
    played = track_f0(
        out.reconstruction.cpu().nan_to_num(0.0, 0.0, 0.0),
        model.sample_rate,
        rate=model.control_rate,
        highest=highest_pitch(model.sample_rate),
    )
    f0, confidence = (curve.values[0, : clip.num_rows] for curve in (played.f0, played.confidence))
    mine, theirs = (loudness_rows(model, sound, clip.num_rows)[0] for sound in (out.reconstruction, clip.samples))
    sounds = {"Original": clip.samples, "Reconstruction": out.reconstruction}
    sounds |= {"Harmonics": out.parts.harmonics, "Noise": out.parts.noise}
    if model.synthesiser.reverb is not None:
        sounds["Before reverb"] = out.parts.dry
    return ShownClip(
        number=number,
        sounds={label: sound[0].cpu() for label, sound in sounds.items()},
        f0=clip.f0[0].cpu(),
        played_f0=torch.where(confidence >= CONFIDENT, f0, torch.nan),
        loudness=theirs.cpu(),
        played_loudness=mine.cpu(),
        latent=None if out.latent is None else out.latent[0].cpu(),
        spectral_loss=float(model.spectral_loss(out.reconstruction, clip.samples)[0]),
        loudness_error_db=float((mine - theirs).abs().mean()),
    )


@torch.inference_mode()
def latent_rows(model: AudioVAE, clips: SoundClips) -> list[Tensor]:
    """For each clip the means of the posteriors of all rows without padding: (row, component)."""
    device = next(model.parameters()).device
    found: list[Tensor] = []
    for start in range(0, len(clips), ROWS):
        part = clips[start : start + ROWS].to(device)
        means = model.encode(part.samples, f0=part.f0).mean.movedim(1, 2)
        found += [mean[is_real] for mean, is_real in zip(means, model.real_rows(part), strict=True)]
    return found


def _timbres(
    model: AudioVAE, rows: Tensor, phrase: SoundClips, most: int, seed: int
) -> tuple[list[Timbre], Tensor]:
    """The timbres that are shown, the most used first, and the latent of each."""
    assert model.latent is not None
    used, means = model.latent.components_in_use(rows), rows.mean(0)
    rank = (used.float() * 2 + means / means.abs().max().clamp(min=1e-9)).argsort(descending=True)[:most]
    if isinstance(model.latent, SimplexLatent):
        alone = torch.eye(model.model_size, device=rows.device)
    else:
        alone = component_latents(means, seen_strength(rows), on_simplex=False)
    out = _play(model, phrase, alone[rank], seed)
    strengths = _mean_harmonics(model, out)
    timbres = [
        Timbre(number, float(means[number]), bool(used[number]), out.reconstruction[place].cpu(), strengths[place])
        for place, number in enumerate(rank.tolist())
    ]
    return timbres, alone[rank]


def _edges(model: AudioVAE, phrase: SoundClips, ends: Tensor, steps: int, seed: int) -> Tensor | None:
    """The phrase played between the timbres: (pair, steps - 2, time) on the CPU; None for a single timbre."""
    if len(ends) < 2:
        return None
    between = edge_latents(ends, steps)[:, 1:-1]
    played = [_play(model, phrase, latents, seed).reconstruction.cpu() for latents in between]
    return torch.stack(played)


def _mean_harmonics(model: AudioVAE, out: AudioOutput) -> Tensor:
    """Mean amplitude of each harmonic over the rows: (example, harmonic) on the CPU."""
    controls = out.controls
    played = harmonic_amplitudes(
        controls.f0, controls.amplitude, controls.distribution, sample_rate=model.sample_rate
    )
    return played.values.mean(1).cpu()


def _play(model: AudioVAE, phrase: SoundClips, latents: Tensor, seed: int) -> AudioOutput:
    """One phrase played with latents (num, component), each the same in all rows."""
    num = len(latents)
    repeated = SoundClips(*(values.expand(num, -1) for values in (phrase.samples, phrase.f0, phrase.loudness)))
    return model.reconstruct(repeated, latent=latents[:, :, None].expand(-1, -1, phrase.num_rows), seed=seed)
