"""The report of sound: one file that needs nothing else, players that play what they say, and models of every kind."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from fractions import Fraction
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dirvae.ddsp import Block
from dirvae.drawing.charts import draw_chart
from dirvae.drawing.players import make_players
from dirvae.drawing.sound_charts import draw_harmonics, draw_lines, draw_shares
from dirvae.drawing.spectrograms import draw_spectrogram, mel_levels, spectrogram_pixels
from dirvae.networks import AudioVAE
from dirvae.networks.audio import SoundClips
from dirvae.report import SoundReportContent, write_sound_report
from dirvae.report.sound_gallery import choose_clips, make_sound_gallery
from dirvae.report.sound_panels import sound_panels
from dirvae.training.logging import MetricsFile
from tests.dirvae.sealed_pages import check_sealed

soundfile = pytest.importorskip("soundfile", reason="reads the players' WAV files: pip install soundfile")

HOSTILE = "<script>alert('x')</script>\"&"
RATE = 8000
LENGTHS = (4000, 2900, 4000, 1200, 4000)
KEYS = (f"{HOSTILE}@0", "b@0", "b@4000", "c@0", "d@0")
CHARTS = ("sound_charts", "spectrograms")


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest."""
    for module in CHARTS:
        monkeypatch.setattr(f"dirvae.drawing.{module}.draw_chart", lambda name, draw, **look: f"<svg>{name}</svg>")


def make_clips(rate: int = RATE, *, seconds: float = 0.5) -> SoundClips:
    """Tones of 200 Hz, 300 Hz … of half the full scale, the third one louder than the second; two are padded."""
    time = torch.arange(round(seconds * rate)) / rate
    levels = torch.tensor([0.5, 0.2, 0.4, 0.5, 0.5])[:, None]
    pitch = 100.0 * torch.arange(2, 7)[:, None]
    samples = levels * torch.sin(2 * torch.pi * pitch * time)
    lengths = torch.tensor(LENGTHS) * rate // RATE
    samples = torch.where(torch.arange(len(time)) < lengths[:, None], samples, 0)
    rows = round(seconds * 250)
    loudness = (20 * levels.log10()).expand(-1, rows).clone()
    return SoundClips(samples, pitch.expand(-1, rows).clone(), loudness, lengths)


def make_model(latent: str | None = "dirichlet", *, rate: int = RATE, **settings: Any) -> AudioVAE:
    torch.manual_seed(0)
    return AudioVAE(rate, model_size=4, latent=latent, preset="tiny", num_bands=9, **settings)


def content_of(clips: SoundClips, **changes: Any) -> SoundReportContent:
    evaluation = {
        "objective": -7.5,
        "reconstruction": 7.25,
        "kl": 8.0,
        "kl_per_second": 16.0,
        "loudness_error_db": 1.23,
        "pitch_error_semitones": 0.456,
        "components_in_use": 3,
        "effective_components": 2.5,
        "model_size": 4,
    }
    config = {"latent": "dirichlet", "model_size": 4, "clip_seconds": 0.5, "sample_rate": RATE, "source": HOSTILE}
    values: dict[str, Any] = {
        "clips": clips,
        "keys": KEYS,
        "is_held_out": True,
        "data": {"training_examples": 12, "training_clips": 34, "source": HOSTILE},
        "config": config,
        "summary": {"step": 4, "total_steps": 4, "parameters": 1234567, "evaluation": evaluation},
    }
    return SoundReportContent(**{**values, **changes})


def write(run: Path, model: AudioVAE, clips: SoundClips | None = None, **changes: Any) -> str:
    content = content_of(make_clips() if clips is None else clips, **changes)
    return write_sound_report(run, model, content, seed=3).read_text("utf-8")


class Players(HTMLParser):
    """The tags of a page, and its sounds by their labels."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.audio = [attributes for tag, attributes in self.tags if tag == "audio"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def sounds(self) -> dict[str, tuple[np.ndarray, int]]:
        return {
            attributes["aria-label"] or "": read(attributes["src"] or "")
            for attributes in self.audio
            if "src" in attributes
        }


def read(uri: str) -> tuple[np.ndarray, int]:
    head, _, content = uri.partition(",")
    assert head == "data:audio/wav;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content, validate=True)), dtype="float64")
    return samples, rate


def test_the_page_needs_nothing_but_itself_and_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        metrics.append("train", step, {"loss": 9.0 / step, "kl": 2.0, "kl_per_second": 4.0, "kl_weight": 1.0})
    page = write(tmp_path, make_model())
    assert HOSTILE not in page
    check_sealed(page)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;@0" in page
    assert not re.search(r"url\((?!#)", page)
    svgs = re.findall(r"<svg[^>]*xmlns.*?</svg>", page, re.DOTALL)
    assert len(svgs) == 4 * (2 + 3) + 4 + 2 + 4, "of each clip, of each timbre, simplex and map, of the training"
    assert "#010203" not in page, "the colour that stands for that of the text"
    rules = dict(re.findall(r'data-style="(\d+)"\]\{([^}]*)\}', page))
    for svg in svgs:
        styles = [rules[number] for number in re.findall(r'data-style="(\d+)"', svg)]
        assert "currentColor" in svg or any("currentColor" in style for style in styles)
    ids = [one for svg in svgs for one in re.findall(r'<clipPath id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)), "the clip of one chart must not hide another"
    assert all('aria-label="' in tag for tag in re.findall(r'<[^>]*role="img"[^>]*>', page))


@pytest.mark.usefixtures("_no_charts")
def test_every_player_holds_the_sound_that_it_names_without_padding(tmp_path: Path) -> None:
    clips = make_clips()
    sounds = Players(write(tmp_path, make_model(reverb_seconds=0.05), clips)).sounds()
    shown = {KEYS[0]: 0, KEYS[2]: 2, KEYS[3]: 3, KEYS[4]: 4}
    labels = ("Original", "Reconstruction", "Harmonics", "Noise", "Before reverb")
    names = [f"{label} of clip {key}" for key in shown for label in labels]
    timbres = [name for name in sounds if re.fullmatch(r"Timbre \d alone", name)]
    assert sorted(timbres) == [f"Timbre {number} alone" for number in range(4)]
    edges = [
        f"Place {place} of 5 from timbre {first} to timbre {second}"
        for first, second in combinations([int(name.split()[1]) for name in timbres], 2)
        for place in (2, 3, 4)
    ]
    steps = [
        f"{name} on the way between two clips" for name in ("First clip", "25 %", "50 %", "75 %", "Second clip")
    ]
    assert list(sounds) == [
        *names,
        *timbres,
        *edges,
        *steps,
        *(f"Sample {number} from the prior" for number in range(1, 5)),
    ]
    for key, number in shown.items():
        parts = {label: sounds[f"{label} of clip {key}"] for label in labels}
        assert {(len(samples), rate) for samples, rate in parts.values()} == {(LENGTHS[number], RATE)}
        original = clips.samples[number, : LENGTHS[number]].numpy()
        gain = np.abs(parts["Original"][0]).max() / np.abs(original).max()
        np.testing.assert_allclose(parts["Original"][0], gain * original, atol=1e-4)
        dry = parts["Harmonics"][0] + parts["Noise"][0]
        np.testing.assert_allclose(parts["Before reverb"][0], dry, atol=1e-4)
    assert {len(sounds[name][0]) for name in (*timbres, *edges, *steps)} == {LENGTHS[0]}


@pytest.mark.usefixtures("_no_charts")
@pytest.mark.parametrize("latent", [None, "gaussian", "dirichlet", "logistic-normal"])
def test_each_kind_of_latent_has_the_sections_and_the_words_that_fit(tmp_path: Path, latent: str | None) -> None:
    config = {"latent": latent or "none", "model_size": 4, "clip_seconds": 0.5, "sample_rate": RATE}
    page = write(tmp_path, make_model(latent), config=config)
    text = " ".join(page.split())
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    common = ["Training", "Data", "Numbers", "Settings"]
    word = {None: None, "gaussian": "Components"}.get(latent, "Timbres")
    on_simplex = ["The simplex"] if word == "Timbres" else []
    of_latent = (
        []
        if word is None
        else [
            word,
            f"From one {word[:-1].lower()} to another",
            *on_simplex,
            "Map of the clips",
            "Between two clips",
            "Samples from the prior",
        ]
    )
    assert headings == ["Held-out clips and their reconstructions", *of_latent, *common]
    assert ("KL, nats per second</span>" in page) == (latent is not None)
    assert ("without a latent, trained for 4 steps" in text) == (latent is None)
    assert "Before reverb" not in page
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == (
        {"spectrograms.png"} if latent is None else {"spectrograms.png", "timbres.png"}
    )


@pytest.mark.usefixtures("_no_charts")
def test_the_page_tells_the_numbers_and_what_was_not_finite_is_a_dash(tmp_path: Path) -> None:
    text = " ".join(write(tmp_path, make_model()).split())
    figures = ("7.25", "1.2 dB", "46 cents", "16", "3 / 4", "2.5", "1,234,567")
    assert re.findall(r'<div class="figure"><b>(.*?)</b>', text) == list(figures)
    assert "trained for 4 steps on 34 clips of 0.5 s at 8,000 Hz, from 12 recordings." in text
    names = ("reconstruction", "loudness_error_db", "pitch_error_semitones", "kl_per_second")
    summary = {"step": 4, "total_steps": 9, "parameters": 7, "evaluation": dict.fromkeys(names)}
    text = write(tmp_path, make_model(), summary=summary)
    assert re.findall(r'<div class="figure"><b>(.*?)</b>', text) == [*"––––", "7"]


@pytest.mark.usefixtures("_no_charts")
def test_a_run_that_held_nothing_out_shows_clips_of_training(tmp_path: Path) -> None:
    summary = {"step": 3, "total_steps": 40, "parameters": 7, "evaluation": None}
    page = write(tmp_path, make_model(), is_held_out=False, summary=summary)
    assert "<h2>Training clips and their reconstructions</h2>" in page
    assert "stopped after 3 of 40" in " ".join(page.split())
    assert "eld-out" not in page


@pytest.mark.usefixtures("_no_charts")
def test_at_a_high_rate_and_with_long_clips_the_page_stays_small(tmp_path: Path) -> None:
    clips = make_clips(44_100, seconds=5.0)
    long = SoundClips(clips.samples, clips.f0, clips.loudness)
    page = write(tmp_path, make_model(rate=44_100, num_harmonics=8), long)
    sounds = Players(page).sounds()
    of_clips = [sounds[name] for name in sounds if name.startswith(("Original", "Reconstruction"))]
    assert {(len(samples), rate) for samples, rate in of_clips} == {(99_225, 44_100)}
    others = [sounds[name] for name in sounds if not name.startswith(("Original", "Reconstruction"))]
    assert {(len(samples), rate) for samples, rate in others} == {(22_050, 22_050), (49_613, 22_050)}
    assert len(sounds) == 2 * 4 + 4 + 6 * 3 + 5 + 4
    assert len(page) < 5e6


@pytest.mark.usefixtures("_no_charts")
def test_one_short_silent_clip_is_enough(tmp_path: Path) -> None:
    one = SoundClips(torch.zeros(1, 100), torch.full((1, 4), 100.0), torch.full((1, 4), -80.0), torch.tensor([1]))
    sounds = Players(write(tmp_path, make_model(), one, keys=["a"])).sounds()
    assert {len(samples) for samples, _ in sounds.values()} == {1}


@pytest.mark.usefixtures("_no_charts")
def test_the_same_run_gives_the_same_page_and_another_seed_other_samples(tmp_path: Path) -> None:
    pages = [write(tmp_path / name / "run", make_model()) for name in ("a", "b")]
    assert pages[0] == pages[1]
    model, clips = make_model(), make_clips()
    first, second = (make_sound_gallery(model, clips, KEYS, seed=seed).samples for seed in (3, 4))
    assert not torch.equal(first[0], second[0])


def test_a_timbre_is_what_a_latent_of_that_component_alone_plays() -> None:
    model, clips = make_model(), make_clips()
    gallery = make_sound_gallery(model, clips, KEYS, seed=0)
    assert sorted(timbre.number for timbre in gallery.timbres) == [0, 1, 2, 3]
    for timbre in gallery.timbres:
        alone = torch.zeros(1, 4, clips.num_rows)
        alone[:, timbre.number] = 1
        controls = model.decode(alone, clips.f0[:1], clips.loudness[:1])
        with torch.no_grad():
            harmonics, _ = model.synthesiser.play_harmonics(controls, Block(LENGTHS[0], model.sample_rate))
        shares = controls.distribution.values / controls.distribution.values.sum(2, keepdim=True)
        expected = (controls.amplitude.values[..., None] * shares).mean(1)[0].detach()
        reached = expected[: int(RATE / 2 / 200) - 1]
        torch.testing.assert_close(timbre.harmonics[: len(reached)] / timbre.harmonics[0], reached / reached[0])
        noise = (timbre.sound - harmonics[0]).std()
        assert noise < 0.5 * harmonics.std()
    means = [timbre.mean for timbre in sorted(gallery.timbres, key=lambda timbre: timbre.number)]
    with torch.no_grad():
        posterior = model.encode(clips.samples, num_rows=clips.num_rows).mean
    rows = torch.cat([one[:, real] for one, real in zip(posterior, model.real_rows(clips), strict=True)], 1)
    np.testing.assert_allclose(means, rows.mean(1), rtol=1e-4)


def test_the_phrase_is_the_clip_whose_pitch_moves_most() -> None:
    clips = make_clips()
    clips.f0[3] *= torch.linspace(1, 1.5, clips.num_rows)
    gallery = make_sound_gallery(make_model(), clips, KEYS, seed=0)
    assert gallery.clips[gallery.phrase].number == 3
    assert {len(sound) for sound in (*gallery.line, *gallery.samples)} == {LENGTHS[3]}


def test_the_loudest_clip_of_each_recording_is_shown_first() -> None:
    clips = make_clips()
    assert choose_clips(clips, KEYS, 4) == [0, 2, 3, 4]
    assert choose_clips(clips, KEYS, 2) == [0, 2]
    assert choose_clips(clips, KEYS, 9) == [0, 2, 3, 4, 1]
    assert choose_clips(clips, ["a@1", "a@b@1", "a@b@2", "c", "c"], 3) == [0, 2, 3]


def test_sounds_that_are_compared_keep_their_levels_and_none_is_clipped() -> None:
    tone = torch.sin(torch.arange(100) / 5)
    quiet, loud = make_players({"quiet": 0.5 * tone, "loud": 2 * tone}, 8000)
    samples = [read(player.uri)[0] for player in (quiet, loud)]
    np.testing.assert_allclose(samples[1], 4 * samples[0], atol=1e-3)
    assert np.abs(samples[1]).max() == pytest.approx(1, abs=1e-3)
    assert loud.note == "played 6.0 dB quieter than it is"
    [alone] = make_players({"quiet": 0.5 * tone}, 8000)
    assert alone.note == ""
    np.testing.assert_allclose(read(alone.uri)[0], 0.5 * tone, atol=1e-4)
    [broken] = make_players({"broken": torch.tensor([float("nan"), float("inf"), 0.5])}, 8000)
    np.testing.assert_allclose(read(broken.uri)[0], [0, 0, 0.5], atol=1e-4)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_tone_stands_at_its_tick_and_levels_are_of_the_loudest_of_both(rate: int) -> None:
    time = torch.arange(rate) / rate
    tones = [level * torch.sin(2 * torch.pi * 2000 * time) for level in (1.0, 0.1)]
    first, second = mel_levels(tones, Fraction(rate))
    assert first.shape == (112, 100)
    assert float(first.max()) == 0
    assert float(second.max()) == pytest.approx(-20, abs=0.1)
    assert float(first.min()) == -80
    svg = draw_spectrogram("one", first, Fraction(rate))
    row = int(first[:, 50].argmax())
    assert set(first.argmax(0).tolist()) == {row}
    pixels = spectrogram_pixels(first)
    assert pixels[111 - row, 50].sum() == pixels.sum(2).max()
    assert ">2k<" in re.sub(r"\s", "", svg)
    assert "data:image/png;base64," in svg


def test_charts_of_curves_with_gaps_and_of_shares_are_drawn() -> None:
    gaps = torch.tensor([float("nan"), 220.0, 230.0, float("nan")])
    nothing = torch.full((4,), float("nan"))
    for curve in (gaps, nothing):
        assert draw_lines("pitch", {"a": curve, "b": nothing}, 250.0, has_log_axis=True).startswith("<svg")
        assert draw_lines("level", {"a": curve}, 250.0).startswith("<svg")
    latent = torch.rand(5, 700).softmax(0)
    shares = draw_shares("shares", latent, [3, 1], 250.0, are_shares=True)
    assert shares.count("<path") > 3
    assert "#9aa1ab" in shares
    assert "#9aa1ab" not in draw_shares("values", latent, [3, 1], 250.0, are_shares=False)
    assert draw_harmonics("one", torch.zeros(60), "#4c8cc9").startswith("<svg")


def test_charts_side_by_side_have_their_axes_at_one_level() -> None:
    def box(svg: str) -> str:
        return re.findall(r'<g id="patch_2">\s*<path d="([^"]*)"', svg)[0]

    curves: list[Tensor] = [torch.linspace(1, 2, 9), torch.linspace(-60, 0, 9)]
    boxes = {box(draw_lines(str(number), {"a": curve}, 9.0)) for number, curve in enumerate(curves)}
    boxes.add(box(draw_shares("shares", torch.rand(2, 9).softmax(0), [0, 1], 9.0, are_shares=True)))
    assert len(boxes) == 1
    assert box(draw_chart("free", lambda axes: axes.plot([1, 2], [1, 2]))) not in boxes


def test_panels_hold_what_the_metrics_say_and_none_of_a_latent_that_is_not_there() -> None:
    lines: list[dict[str, Any]] = [
        {"kind": "train", "step": 1, "loss": 3.0, "kl": 5.0, "kl_per_second": 2.5, "kl_weight": 1.0},
        {
            "kind": "held_out",
            "step": 1,
            "objective": -4.0,
            "kl": 6.0,
            "kl_per_second": 3.0,
            "loudness_error_db": 1.5,
        },
    ]
    panels = {panel.title: panel.curves for panel in sound_panels(lines, has_latent=True)}
    assert list(panels) == [
        *("Loss", "KL, nats per second", "KL, nats per clip", "Weight of the KL term"),
        "Held-out loudness error, dB",
    ]
    assert [curve.values for curve in panels["Loss"]] == [[3.0], [4.0]]
    assert [curve.values for curve in panels["KL, nats per second"]] == [[2.5], [3.0]]
    assert [panel.title for panel in sound_panels(lines, has_latent=False)] == [
        "Loss",
        "Held-out loudness error, dB",
    ]


@pytest.mark.usefixtures("_no_charts")
def test_pictures_are_written_beside_the_page(tmp_path: Path) -> None:
    write(tmp_path, make_model())
    with Image.open(tmp_path / "pictures" / "spectrograms.png") as sheet:
        assert sheet.size == (4 * 54 - 4, 2 * 116 - 4)
    with Image.open(tmp_path / "pictures" / "timbres.png") as sheet:
        assert sheet.size == (4 * 54 - 4, 112)


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_a_page_of_the_largest_settings_with_all_charts_stays_below_5_mb(tmp_path: Path, rate: int) -> None:
    clips = make_clips(rate, seconds=5.0)
    torch.manual_seed(0)
    model = AudioVAE(rate, model_size=16, preset="tiny", num_bands=9, num_harmonics=8, reverb_seconds=0.05)
    page = write(tmp_path, model, SoundClips(clips.samples, clips.f0, clips.loudness))
    assert len(page) < 5e6
