"""Settings: validated, closed to unknown keys, through JSON and back, and compared when a run is resumed."""

import json

import pytest

from dirvae.training import ConfigError, FitConfig, TrainConfig


def test_a_config_survives_json():
    config = TrainConfig(source="elsewhere", steps=None, epochs=3, grid=4, clip=None, flip=True)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("epochs", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("clip", -1.0),
        ("cooldown", 1.5),
        ("precision", "fp8"),
        ("seed", -1),
        ("seed", 2**63),
        ("save_every", 0),
        ("keep", True),
        ("device", ""),
        ("batch_size", 0),
        ("model_size", 1),
        ("held_out", 1.0),
        ("latent", "cauchy"),
        ("preset", "huge"),
        ("threads", 0),
        ("grid", 0),
        ("flip", 1),
        ("on_error", "ignore"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name_and_value(name, value):
    with pytest.raises(ConfigError, match=name) as caught:
        TrainConfig(**{name: value})
    assert repr(value) in str(caught.value)


def test_a_default_does_not_cut_short_the_epochs_that_were_asked_for():
    assert (FitConfig().steps, FitConfig(epochs=100).steps, FitConfig(epochs=100, steps=7).steps) == (1500, None, 7)
    assert TrainConfig(epochs=100).to_run().fit == FitConfig(epochs=100)


def test_the_kl_term_may_weigh_nothing():
    assert FitConfig(kl_weight=0).kl_weight == 0
    with pytest.raises(ConfigError, match="kl_weight is -1"):
        FitConfig(kl_weight=-1)


def test_unknown_settings_are_refused_by_name():
    with pytest.raises(ConfigError, match="'bacth_size'"):
        TrainConfig.from_json({"bacth_size": 3})


def test_what_differs_is_told_readably_and_what_may_change_is_not_told():
    before = TrainConfig(batch_size=16, threads=1, steps=100, device="cpu")
    after = TrainConfig(batch_size=32, threads=4, steps=200, device="auto", grid=2, save_every=7, source="moved")
    assert after.changes_since(before) == ["batch-size: 16 → 32", "grid: none → 2"]
    assert before.changes_since(before) == []


def test_a_config_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        TrainConfig().seed = 3
