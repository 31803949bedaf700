"""Networks for each modality."""

from dirvae.networks.audio import AudioVAE
from dirvae.networks.mlp import MLPVAE
from dirvae.networks.resnet import ResNetVAE
from dirvae.networks.video_resnet import VideoVAE

__all__ = ["AudioVAE", "MLPVAE", "ResNetVAE", "VideoVAE"]
