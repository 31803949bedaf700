"""Networks for each modality."""

from dirvae.networks.mlp import MLPVAE
from dirvae.networks.resnet import ResNetVAE

__all__ = ["MLPVAE", "ResNetVAE"]
