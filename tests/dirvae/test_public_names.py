"""The public names of dirvae, written out: each can be imported from where it has always been."""

from __future__ import annotations

import importlib

import pytest

PUBLIC = {
    "dirvae": (
        *("AutoEncoder", "Dirichlet", "Gaussian", "Latent", "MLPVAE", "Output", "ResNetVAE", "Trainer"),
        *("VideoVAE", "autoencoder", "load_model"),
    ),
    "dirvae.ddsp": (
        *("Block", "Curve", "DecayReverb", "FilteredNoise", "Framing", "HarmonicBank", "MultiScaleSpectralLoss"),
        *("Reverb", "SpectralSums", "add_reverb", "exp_sigmoid", "filtered_noise", "harmonic_amplitudes"),
        *("harmonic_bank", "hz_to_midi", "midi_to_hz", "uniform_noise"),
        *("Pitch", "StreamingReverb", "Tracker", "loudness_curve", "track_f0"),
    ),
    "dirvae.training": (
        *("CheckpointError", "ConfigError", "FeedBatch", "FitConfig", "NonFiniteError", "SaveError", "TrainConfig"),
        *("Trainer", "TrainingError", "TrainingWarning", "load_model"),
    ),
    "dirvae.latents": (
        *("Dirichlet", "Gaussian", "LATENTS", "Latent", "LogisticNormal", "MomentPrior", "Posterior", "Prior"),
        *("ScaledDirichlet", "StickBreaking", "make_latent", "named_latent"),
    ),
    "dirvae.ddsp.pitch": ("CONFIDENT", "Pitch", "Tracker", "track_f0", "track_f0_swift", "track_planned"),
    "dirvae.networks.audio": (
        *("AudioOutput", "AudioVAE", "DDSPDecoder", "DDSPStream", "PRESETS", "Preset", "SoundClips"),
    ),
    "dirvae.networks": ("MLPVAE", "ResNetVAE", "VideoVAE"),
    "dirvae.evaluate": (
        *("ImportanceEstimate", "choose_width", "collapsed_values", "collapsed_weights", "estimate_likelihood"),
        *("input_weight_norms", "neighbour_errors", "usage"),
    ),
    "dirvae.explore": (
        *(
            "EXPLORATIONS",
            "Chart",
            "Exploration",
            "ExplorationError",
            "Parameter",
            "Sheet",
            "archetypes",
            "arithmetic",
        ),
        *("barycentric", "component_latents", "exemplars", "interpolate", "mask_components", "neighbours"),
        *("seen_strength", "traverse", "usage"),
    ),
    "dirvae.levels": ("LevelOutput", "LevelledAutoEncoder", "Levels", "MapLevel", "has_map"),
    "dirvae.losses": (
        *("BernoulliLikelihood", "DiscretizedLogisticLikelihood", "GaussianLikelihood", "LIKELIHOODS"),
        *("LaplaceLikelihood", "Likelihood", "SquaredError", "bernoulli_log_prob", "discretized_logistic_log_prob"),
        *("gaussian_log_prob", "laplace_log_prob", "make_likelihood", "masked_mean", "named_likelihood"),
    ),
    "dirvae.metrics": ("active_units", "components_in_use", "effective_components", "is_simplex", "psnr"),
    "dirvae.noise": (
        *("example_noise", "exponential", "normal", "repeatable", "seeds", "standard_gamma", "uniform"),
    ),
    "dirvae.report": (
        *("ClipReportContent", "Clips", "ReportContent", "SoundReportContent"),
        *("write_clip_report", "write_report", "write_sound_report"),
    ),
    "dirvae.schedules": ("constant", "cyclical", "linear_warm_up"),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names])
def test_a_public_name_is_where_it_was(module: str, name: str) -> None:
    found = importlib.import_module(module)
    assert getattr(found, name) is not None
    assert name in found.__all__


@pytest.mark.parametrize("module", PUBLIC)
def test_star_gives_every_public_name(module: str) -> None:
    names: dict[str, object] = {}
    exec(f"from {module} import *", names)
    assert set(PUBLIC[module]) <= set(names)


def test_a_name_that_training_does_not_have_is_an_attribute_error() -> None:
    training = importlib.import_module("dirvae.training")
    with pytest.raises(AttributeError, match="has no attribute 'Trainee'"):
        _ = training.Trainee
