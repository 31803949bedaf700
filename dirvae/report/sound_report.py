"""`report.html` of sound: players, spectrograms and timbres on one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.drawing.pictures import data_uri, save_sheet
from dirvae.drawing.players import Player, make_players
from dirvae.drawing.simplex import draw_simplex
from dirvae.drawing.sound_charts import OTHERS, TIMBRES, draw_harmonics, draw_lines, draw_shares
from dirvae.drawing.spectrograms import RANGE_DB, draw_spectrogram, mel_levels, scale_colours, spectrogram_pixels
from dirvae.evaluate.labels import Label
from dirvae.latents.latent import SimplexLatent
from dirvae.networks.audio import AudioVAE, SoundClips
from dirvae.report.comparison import ComparedExample, Comparison, mean_use
from dirvae.report.edges import edge_section, num_ends
from dirvae.report.event_media import posterior_events, sound_event
from dirvae.report.example_map import map_of
from dirvae.report.page import PageFacts, write_page
from dirvae.report.sound_gallery import (
    HIGHEST_RATE,
    HIGHEST_RATE_OF_CLIPS,
    ShownClip,
    SoundGallery,
    choose_clips,
    latent_rows,
    make_sound_gallery,
    show_clips,
)
from dirvae.report.sound_panels import sound_panels
from dirvae.seeding import Purpose, derive_seed
from dirvae.training.logging import read_metrics

__all__ = ["SoundReport", "SoundReportContent", "write_sound_report"]

NUM_HEARD = 2
"""Clips for TensorBoard."""
EDGE_TILE = 256
"""Pixels per side of a spectrogram on an edge, at most."""


@dataclass(frozen=True, eq=False)
class SoundReportContent:
    """The content of a report, except the metrics of its run.

    `clips` are the held-out clips, or training clips if nothing was held out; `keys` has the key of each. The mappings
    hold JSON values: the data, the settings, the numbers at the end. `label` gives each clip a colour.
    """

    clips: SoundClips
    keys: Sequence[str]
    is_held_out: bool
    data: Mapping[str, Any]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    origin: Mapping[str, Any] = field(default_factory=dict)
    label: Label | None = None


@dataclass(frozen=True, eq=False)
class SoundReport:
    """A report of clips of sound with the key of each, which can be written again and again.

    `label` gives each clip a colour.
    """

    clips: SoundClips
    keys: Sequence[str]
    is_held_out: bool
    seed: int
    label: Label | None = None

    def make_pictures(self, run: Path, model: AudioVAE) -> dict[str, Any]:
        """The sounds and charts of the page; writes `pictures/` into the run folder. Raises `OSError`."""
        gallery = make_sound_gallery(model, self.clips, self.keys, seed=self.seed)
        shown = [_Drawn(clip, model, self.keys[clip.number]) for clip in gallery.clips]
        _save_pictures(run / "pictures", gallery, [clip.levels for clip in shown], model)
        are_shares = isinstance(model.latent, SimplexLatent)
        order = [timbre.number for timbre in gallery.timbres]
        alone = _phrase_players(gallery, model)
        return {
            "clips": [clip.for_page(order, are_shares=are_shares) for clip in shown],
            "phrase": self.keys[gallery.clips[gallery.phrase].number],
            "timbres": _timbre_cards(gallery, alone),
            "edges": _edges(gallery, alone["edges"], model),
            "line": alone["line"],
            "ends": [self.keys[gallery.clips[place].number] for place in gallery.pair],
            "samples": alone["samples"],
            "map": None
            if gallery.means is None
            else map_of(gallery.means, self.keys, self.label, are_shares=are_shares),
            "simplex": draw_simplex(gallery.rows) if are_shares and gallery.rows is not None else None,
        }

    def write(self, run: Path, model: AudioVAE, facts: PageFacts, pictures: Mapping[str, Any] | None) -> Path:
        """Write `report.html` into a run folder; returns its path. Raises `OSError`."""
        has_latent = model.latent is not None
        return write_page(
            run,
            "sound_report.html",
            facts,
            sound_panels(read_metrics(run / "metrics.jsonl"), has_latent=has_latent),
            noun="clip",
            is_held_out=self.is_held_out,
            pictures=pictures,
            has_latent=has_latent,
            has_reverb=model.synthesiser.reverb is not None,
            are_shares=isinstance(model.latent, SimplexLatent),
            others_colour=OTHERS,
            scale_colours=scale_colours(),
        )

    @property
    def encoded_keys(self) -> list[str]:
        """The keys of the clips that are encoded."""
        return list(self.keys)

    @torch.inference_mode()
    def compare(self, model: AudioVAE, numbers: Sequence[int]) -> Comparison:
        """The clips of these numbers beside their reconstructions, and how much each component is used."""
        model.eval()
        shown = show_clips(model, self.clips, numbers, seed=self.seed)
        rows = None if model.latent is None else latent_rows(model, self.clips)
        return Comparison(
            [_compared(clip, model) for clip in shown],
            None if rows is None else mean_use(torch.cat(rows)),
        )

    @torch.inference_mode()
    def events(self, model: AudioVAE) -> list[bytes]:
        """A few originals and reconstructions to listen to, and the posteriors' parameters, for TensorBoard."""
        model.eval()
        device = next(model.parameters()).device
        rate, found = float(model.sample_rate), []
        for place, number in enumerate(choose_clips(self.clips, self.keys, NUM_HEARD)):
            clip = self.clips[number : number + 1].to(device)
            out = model.reconstruct(clip, seed=derive_seed(self.seed, Purpose.PICTURES) % 2**62)
            found.append(sound_event(f"original/{place + 1}", clip.samples[0], rate))
            found.append(sound_event(f"reconstruction/{place + 1}", out.reconstruction[0], rate))
            if place == 0 and model.latent is not None:
                found += posterior_events(model.encode(clip.samples, f0=clip.f0).parameters)
        return found


def write_sound_report(run: Path, model: AudioVAE, content: SoundReportContent, *, seed: int) -> Path:
    """Write `report.html` and `pictures/` into a run folder; returns the page's path. Raises `OSError`."""
    report = SoundReport(content.clips, content.keys, content.is_held_out, seed, content.label)
    return report.write(run, model, content, report.make_pictures(run, model))


def _compared(clip: ShownClip, model: AudioVAE) -> ComparedExample:
    labels = ("Original", "Reconstruction")
    sounds = {label: clip.sounds[label] for label in labels}
    limits = dict.fromkeys(labels, float(HIGHEST_RATE))
    players = make_players(sounds, float(model.sample_rate), highest_rates=limits)
    levels = mel_levels(list(sounds.values()), model.sample_rate)
    original, made = (data_uri(spectrogram_pixels(level), largest=256) for level in levels)
    score = f"spectral loss {clip.spectral_loss:.3g}, loudness error {clip.loudness_error_db:.1f} dB"
    return ComparedExample(original, made, score, (players[0].uri, players[1].uri))


class _Drawn:
    """A shown clip as players and charts; charts are SVG, which the template takes as it is."""

    def __init__(self, clip: ShownClip, model: AudioVAE, key: str) -> None:
        self.clip, self.key, self.sample_rate = clip, key, model.sample_rate
        self.rate = float(model.control_rate)
        self.levels = mel_levels([clip.sounds[label] for label in ("Original", "Reconstruction")], self.sample_rate)

    def for_page(self, order: list[int], *, are_shares: bool) -> dict[str, Any]:
        """The values that the template shows; `order` are the components that have colours."""
        clip, name = self.clip, f"clip {self.clip.number}"
        pitch = {"original": clip.f0, "reconstruction": clip.played_f0}
        loudness = {"original": clip.loudness, "reconstruction": clip.played_loudness}
        whole = {"Original", "Reconstruction"}
        limits = {label: HIGHEST_RATE_OF_CLIPS if label in whole else HIGHEST_RATE for label in clip.sounds}
        latent = None
        if clip.latent is not None:
            latent = draw_shares(f"latent of {name}", clip.latent, order, self.rate, are_shares=are_shares)
        return {
            "key": self.key,
            "seconds": len(clip.sounds["Original"]) / float(self.sample_rate),
            "spectral_loss": clip.spectral_loss,
            "loudness_error_db": clip.loudness_error_db,
            "players": make_players(clip.sounds, float(self.sample_rate), highest_rates=limits),
            "spectrograms": [
                draw_spectrogram(f"spectrogram {place} of {name}", levels, self.sample_rate)
                for place, levels in enumerate(self.levels)
            ],
            "pitch": draw_lines(f"pitch of {name}", pitch, self.rate, has_log_axis=True),
            "loudness": draw_lines(f"loudness of {name}", loudness, self.rate),
            "latent": latent,
        }


def _phrase_players(gallery: SoundGallery, model: AudioVAE) -> dict[str, list[Player]]:
    """Players of all sounds that play the same phrase, at one level."""
    ends = max(len(gallery.line) - 1, 1)
    edges = [] if gallery.edges is None else list(gallery.edges.flatten(0, 1))
    labels = {
        "timbres": [f"Timbre {timbre.number}" for timbre in gallery.timbres],
        "line": [_place(step, ends) for step in range(len(gallery.line))],
        "samples": [f"Sample {number + 1}" for number in range(len(gallery.samples))],
        "edges": [f"Edge {number}" for number in range(len(edges))],
    }
    sounds = [*(timbre.sound for timbre in gallery.timbres), *gallery.line, *gallery.samples, *edges]
    names = [label for group in labels.values() for label in group]
    limits = dict.fromkeys(names, float(HIGHEST_RATE))
    found = make_players(dict(zip(names, sounds, strict=True)), float(model.sample_rate), highest_rates=limits)
    players = iter(found)
    return {group: [next(players) for _ in found] for group, found in labels.items()}


def _edges(gallery: SoundGallery, players: list[Player], model: AudioVAE) -> dict[str, Any] | None:
    """Spectrograms of the edges between timbres with the timbres at their ends, and players of the sounds between."""
    if gallery.edges is None:
        return None
    pairs, places = gallery.edges.shape[:2]
    num = num_ends(pairs)
    ends = [timbre.sound for timbre in gallery.timbres[:num]]
    levels = mel_levels([*ends, *gallery.edges.flatten(0, 1)], model.sample_rate)
    tiles = [spectrogram_pixels(level) for level in levels]
    between = iter(tiles[num:])
    rows = [
        [tiles[first], *(next(between) for _ in range(places)), tiles[second]]
        for first, second in combinations(range(num), 2)
    ]
    films = np.stack([np.stack(row) for row in rows])[:, :, None]
    found = edge_section([timbre.number for timbre in gallery.timbres[:num]], films, largest=EDGE_TILE)
    split = [players[start : start + places] for start in range(0, len(players), places)]
    return None if found is None else {**found, "players": split}


def _place(step: int, last: int) -> str:
    """The name of a step between two clips."""
    return {0: "First clip", last: "Second clip"}.get(step, f"{100 * step / last:.0f} %")


def _timbre_cards(gallery: SoundGallery, alone: dict[str, list[Player]]) -> list[dict[str, Any]]:
    largest = max((abs(timbre.mean) for timbre in gallery.timbres), default=0.0) or 1.0
    return [
        {
            "number": timbre.number,
            "mean": timbre.mean,
            "is_used": timbre.is_used,
            "colour": colour,
            "bar_percent": round(100 * abs(timbre.mean) / largest, 1),
            "player": player,
            "harmonics": draw_harmonics(f"harmonics of {timbre.number}", timbre.harmonics, colour),
        }
        for timbre, player, colour in zip(gallery.timbres, alone["timbres"], TIMBRES, strict=False)
    ]


def _save_pictures(folder: Path, gallery: SoundGallery, pairs: list[list[Tensor]], model: AudioVAE) -> None:
    """Spectrograms of the clips above those of their reconstructions, and of each timbre, as PNG files."""
    longest = max(level.shape[1] for pair in pairs for level in pair)
    columns = [[spectrogram_pixels(_widened(level, longest)) for level in pair] for pair in pairs]
    save_sheet(folder / "spectrograms.png", [np.stack(row) for row in zip(*columns, strict=True)])
    if gallery.timbres:
        levels = mel_levels([timbre.sound for timbre in gallery.timbres], model.sample_rate)
        tiles = [spectrogram_pixels(level) for level in levels]
        save_sheet(
            folder / "timbres.png", [np.stack(tiles[start : start + 4]) for start in range(0, len(tiles), 4)]
        )


def _widened(levels: Tensor, num_frames: int) -> Tensor:
    return F.pad(levels, (0, num_frames - levels.shape[1]), value=-RANGE_DB)
