"""Sound: an encoder of spectra, a decoder into a synthesiser's controls, and the autoencoder of both."""

from dirvae.networks.audio.audio_vae import AudioOutput, AudioVAE
from dirvae.networks.audio.clips import SoundClips
from dirvae.networks.audio.ddsp_decoder import DDSPDecoder
from dirvae.networks.audio.presets import PRESETS, Preset
from dirvae.networks.audio.stream import DDSPStream

__all__ = ["PRESETS", "AudioOutput", "AudioVAE", "DDSPDecoder", "DDSPStream", "Preset", "SoundClips"]
