"""Autoencoders whose latent is a plug-in: Dirichlet, Gaussian or your own."""

from dirvae.autoencoder import AutoEncoder, Output, autoencoder
from dirvae.latents import Dirichlet, Gaussian, Latent
from dirvae.networks import MLPVAE, AudioVAE, ResNetVAE, VideoVAE
from dirvae.run.loading import load_model
from dirvae.training import Trainer

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
