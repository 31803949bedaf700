"""Every public name of the version before the layers can still be imported from where it was."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PUBLIC = {
    "pipelines": """
        ArrayIterator ArraySource AudioIterator Batch DataIterator EpochLoader Example ExampleError FolderSource
        ImageIterator MixedIterator PipelineError RepeatedEpoch ShardError ShardSource ShardWriter ShardingError
        Source SourceError StateError Stats hold_out make_shards mix open_source
    """,
    "pipelines.torch_bridge": """
        DevicePrefetcher TorchDataset TorchLoader batch_to_device torch_resize torchdata_node
    """,
    "pipelines.testing": "Entry Ledger Resumable assert_resumes_exactly entries play_epoch",
    "pipelines.verify_resume": "Verdict main verify_resume",
    "pipelines.sharding": "PackReport SetReport ShardWriter make_shards",
    "pipelines.sources": """
        Example FolderSource HeldOutPart Selection ShardSource Source SourceLike hold_out open_source
    """,
    "pipelines.decode": "Decoder Details FunctionDecoder ImageDecoder",
    "dirvae": """
        AutoEncoder Dirichlet Gaussian Latent MLPVAE Output ResNetVAE Trainer autoencoder load_model
    """,
    "dirvae.latents": """
        Dirichlet Gaussian LATENTS Latent LogisticNormal MomentPrior Posterior Prior ScaledDirichlet StickBreaking
        make_latent named_latent
    """,
    "dirvae.evaluate": """
        ImportanceEstimate choose_width collapsed_values collapsed_weights estimate_likelihood input_weight_norms
        neighbour_errors usage
    """,
    "dirvae.networks": "MLPVAE ResNetVAE",
    "dirvae.training": """
        CheckpointError ConfigError FeedBatch FitConfig NonFiniteError SaveError TrainConfig Trainer TrainingError
        TrainingWarning load_model
    """,
    "dirvae.explore": """
        EXPLORATIONS Chart Exploration ExplorationError Parameter Sheet archetypes arithmetic barycentric
        component_latents exemplars interpolate mask_components neighbours seen_strength traverse usage
    """,
    "dirvae.report": "ReportContent write_report",
}
"""`__all__` of each public module, as it was at 6ac3390; reports have a package of their own since."""

NAMED_IN_GUIDES = {
    "pipelines.sharding.sample_sounds": "make_sample_sounds",
    "dirvae.latents.checking": "assert_latent_keeps_its_promises",
    "dirvae.latents.dense": "Dense",
}
"""Other imports that the README and the guides showed."""

PROGRAMS = ("dirvae.train", "dirvae.evaluate", "pipelines.verify_resume")
"""What the README and the guides run by `python -m`."""


def named(modules: dict[str, str]) -> list[tuple[str, str]]:
    return [(module, name) for module, names in modules.items() for name in names.split()]


@pytest.mark.parametrize(("module", "name"), named(PUBLIC))
def test_a_public_name_is_still_public(module: str, name: str) -> None:
    found = importlib.import_module(module)
    assert getattr(found, name) is not None
    assert name in found.__all__


@pytest.mark.parametrize(("module", "name"), named(NAMED_IN_GUIDES))
def test_what_the_guides_import_can_still_be_imported(module: str, name: str) -> None:
    found = importlib.import_module(module)
    assert getattr(found, name) is not None
    assert name in found.__all__


@pytest.mark.parametrize("module", PROGRAMS)
def test_what_the_guides_run_still_runs(module: str) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
