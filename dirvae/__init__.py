"""Autoencoders whose latent is a plug-in: Dirichlet, Gaussian or your own."""

from typing import TYPE_CHECKING

from pipelines.lazy_names import lazy_names

if TYPE_CHECKING:
    from dirvae.autoencoder import AutoEncoder, Output, autoencoder
    from dirvae.latents import Dirichlet, Gaussian, Latent
    from dirvae.networks import MLPVAE, AudioVAE, ResNetVAE, VideoVAE
    from dirvae.run.loading import load_model
    from dirvae.training import Trainer
    from pipelines.version import __version__ as __version__

__all__ = [
    "AudioVAE",
    "AutoEncoder",
    "Dirichlet",
    "Gaussian",
    "Latent",
    "MLPVAE",
    "Output",
    "ResNetVAE",
    "Trainer",
    "VideoVAE",
    "autoencoder",
    "load_model",
]

lazy_names(
    __name__,
    {
        "__version__": "pipelines.version",
        "AudioVAE": ".networks",
        "AutoEncoder": ".autoencoder",
        "Dirichlet": ".latents",
        "Gaussian": ".latents",
        "Latent": ".latents",
        "MLPVAE": ".networks",
        "Output": ".autoencoder",
        "ResNetVAE": ".networks",
        "Trainer": ".training",
        "VideoVAE": ".networks",
        "autoencoder": ".autoencoder",
        "load_model": ".run.loading",
    },
)
