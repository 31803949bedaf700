"""Networks for each modality."""

from dirvae.networks.resnet import ResNetVAE

__all__ = ["ResNetVAE"]
