"""`python -m dirvae.resynthesize RUN IN OUT`: a recording played again by the model of a run, with another timbre."""

from __future__ import annotations

import argparse
import math
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dirvae.command_line import (
    MissingPackageError,
    checkpoint_name,
    is_out_of_memory,
    parse_flags,
    require_packages,
    spelled,
)
from dirvae.run.folder import is_run
from dirvae.training.errors import TrainingError
from pipelines.errors import PipelineError
from pipelines.storage.durable_files import write_durably
from pipelines.terminal import escape_unencodable, print_to_nowhere

if TYPE_CHECKING:
    from torch import Tensor

    from dirvae.networks.audio import AudioVAE
    from pipelines.decode.audio.wav import Encoding

__all__ = ["main"]

MOST_BYTES = 2**32 - 1024
MIXTURE = re.compile(r"\s*\d+(\s*:[^:,]*)?(\s*,\s*\d+\s*:[^:,]*)*\s*")
PIECE_SAMPLES = 1 << 20
ENCODINGS: dict[str, tuple[Encoding, int]] = {"16": ("s16", 2), "float": ("f32", 4)}
"""What --encoding offers: the encoding of a sample and its bytes."""

DESCRIPTION = """\
Play a recording again by the model of a run of --type audio: with its pitch and its loudness, both
moved as wanted, and with its own timbre, with one that the model has learned, or with that of another
recording. The result is a WAV file of one channel at the model's sample rate."""

EXAMPLES = """examples:
  python -m dirvae.resynthesize runs/audio violin.wav again.wav
  python -m dirvae.resynthesize runs/audio violin.wav low.wav --transpose -12 --timbre 3
  python -m dirvae.resynthesize runs/audio voice.flac mixed.wav --timbre 3:0.7,5:0.3 --loudness 6
  python -m dirvae.resynthesize runs/audio voice.flac as-flute.wav --timbre flute.wav
"""


class UsageError(Exception):
    """What the user can put right; its text is the whole message."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sound. Returns 0, 1 for a run or a file that cannot be used, 2 for a mistake, 130 after Ctrl-C."""
    escape_unencodable()
    options = parse_flags(_parser(), spelled(sys.argv[1:] if argv is None else argv))
    try:
        require_packages(also="audio")
    except MissingPackageError as error:
        return _complain(str(error), 1)
    from dirvae.recordings import RecordingError

    try:
        lines = _resynthesise(options)
        print("\n".join(lines), flush=True)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        print_to_nowhere()
        return 128 + signal.SIGPIPE
    except UsageError as error:
        return _complain(str(error), 2)
    except (RecordingError, TrainingError, PipelineError, ImportError) as error:
        return _complain(str(error), 1)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return _complain("the device's memory is full. Use --device cpu.", 1)
    except OSError as error:
        return _complain(f"{error.filename or 'a file'}: {error.strerror or error}.", 1)
    return 0


def _resynthesise(options: argparse.Namespace) -> list[str]:
    """Read, play, write; what to say about it."""
    from dirvae.networks.audio.resynthesis import resynthesise
    from dirvae.recordings import RecordingError

    _check_files(options)
    model = _load(options)
    samples = _read(options.input, model)
    if not samples.any():
        raise RecordingError(f"{options.input}: is silent, so there is nothing to play. Name another recording.")
    timbre = _timbre(options.timbre, model)
    try:
        sound = resynthesise(
            model,
            samples,
            semitones=options.transpose,
            loudness_db=options.loudness,
            timbre=timbre,
            seed=options.seed,
        )
    except ValueError as error:  # samples far beyond full scale, whose power is not finite
        raise RecordingError(f"{options.input}: cannot be played: {error} Name another recording.") from error
    return _write(options.output, sound, round(model.sample_rate), ENCODINGS[options.encoding])


def _check_files(options: argparse.Namespace) -> None:
    """Raise `UsageError` for files that are missing, or would be overwritten while they are read."""
    if not is_run(options.run):
        raise UsageError(f"{options.run}: holds no run. Name the folder of a run, such as runs/audio.")
    if options.output.suffix.lower() != ".wav":
        raise UsageError(f"{options.output}: only WAV is written. Give it a name that ends with .wav.")
    if not options.output.absolute().parent.is_dir():
        raise UsageError(f"{options.output}: there is no such folder. Make it first.")
    named = [options.input]
    if options.timbre is not None and not MIXTURE.fullmatch(options.timbre):
        named.append(Path(options.timbre))
    for path in named:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file. Name a recording.")
        if path.resolve() == options.output.resolve():
            raise UsageError(f"{path}: is read, and would be overwritten. Name another file to write.")


def _load(options: argparse.Namespace) -> AudioVAE:
    from dirvae.networks.audio import AudioVAE
    from dirvae.run.loading import load_model

    model = load_model(options.run, device=options.device, which=options.which)
    if not isinstance(model, AudioVAE):
        raise UsageError(
            f"{options.run}: is not a run of --type audio, but of a {type(model).__name__}. Name another."
        )
    if options.timbre is not None and model.latent is None:
        raise UsageError("--timbre: the model of this run has no latent, so it has one timbre only. Leave it out.")
    return model


def _read(file: Path, model: AudioVAE) -> Tensor:
    """The mean of a recording's channels at the model's sample rate: (time,)."""
    import torch

    from dirvae.recordings import RecordingError, read_recording, resample

    samples, sample_rate = read_recording(file)
    try:
        samples = resample(samples, sample_rate, float(model.sample_rate))
    except ValueError as error:
        raise RecordingError(f"{file}: {error} Name another recording.") from error
    if not len(samples):
        raise RecordingError(f"{file}: holds no samples. Name another recording.")
    return torch.from_numpy(samples)


def _timbre(text: str | None, model: AudioVAE) -> Tensor | None:
    """What --timbre means: (component,), or None for that of each row."""
    if text is None:
        return None
    from dirvae.networks.audio.resynthesis import mean_timbre, mixed_timbre

    try:
        if MIXTURE.fullmatch(text):
            return mixed_timbre(model, _weights(text))
        return mean_timbre(model, _read(Path(text), model))
    except ValueError as error:
        raise UsageError(f"--timbre {text}: {error}") from error


def _weights(text: str) -> dict[int, float]:
    """Weights by component of "3" or "3:0.7,5:0.3". Raises `ValueError`."""
    weights: dict[int, float] = {}
    for part in text.split(","):
        number, _, weight = part.partition(":")
        if int(number) in weights:
            raise ValueError(f"component {int(number)} is named twice.")
        try:
            weights[int(number)] = float(weight or 1)
        except ValueError:
            raise ValueError(f"{weight!r} is not a number. Write 3, or 3:0.7,5:0.3.") from None
    return weights


def _write(path: Path, sound: Tensor, sample_rate: int, encoding: tuple[Encoding, int]) -> list[str]:
    """Write a WAV file, whole or not at all, scaled down where it would be clipped; what to say about it."""
    from dirvae.recordings import RecordingError
    from pipelines.decode.audio.wav_writing import wav_bytes

    name, width = encoding
    if len(sound) * width > MOST_BYTES:
        raise UsageError(
            f"{path}: {len(sound) / sample_rate:,.0f} s do not fit into a WAV file. Cut the recording."
        )
    peak, said = float(sound.abs().max()), []
    if not math.isfinite(peak):
        raise RecordingError(f"{path}: the model made samples that are not finite; nothing is written.")
    highest = 1 - 2.0**-15 if name == "s16" else 1.0
    if peak > highest:
        sound = sound * (highest / peak)
        said = [
            f"its peak was {peak:.3g}; scaled by {20 * math.log10(highest / peak):.1f} dB so that it is not clipped"
        ]
    write_durably(path, wav_bytes(_raw(sound, name), sample_rate, 1, name))
    seconds = len(sound) / sample_rate
    return [f"{path}: {seconds:.2f} s at {sample_rate:,} Hz, peak {min(peak, highest):.3f}", *said]


def _raw(sound: Tensor, encoding: Encoding) -> bytes:
    """The samples of a WAV file, made in pieces so that few copies of a long sound are in memory."""
    import torch

    from pipelines.decode.audio.wav_writing import to_integers

    pieces = (piece.numpy() for piece in torch.split(sound, PIECE_SAMPLES))
    if encoding == "f32":
        return b"".join(piece.astype("<f4").tobytes() for piece in pieces)
    return b"".join(to_integers(piece, 16).astype("<i2").tobytes() for piece in pieces)


def _complain(sentence: str, code: int) -> int:
    print(f"resynthesize: {sentence}", file=sys.stderr)
    return code


def _offset(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= 120:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from -120 to 120")
    return value


def _seed(text: str) -> int:
    is_seed = text.isascii() and text.isdecimal() and len(text) < 20
    if not is_seed or int(text) >= 2**62:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2^62 - 1")
    return int(text)


class _OneSentence(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"resynthesize: {message}. See --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _OneSentence(
        prog="python -m dirvae.resynthesize",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="run folder, such as runs/audio")
    add("input", type=Path, metavar="IN", help="recording to play again; the mean of its channels is heard")
    add("output", type=Path, metavar="OUT", help="WAV file to write; it is replaced if it exists")
    add(
        "--transpose",
        type=_offset,
        default=0.0,
        metavar="SEMITONES",
        help="added to the pitch; 12 is an octave (default 0)",
    )
    add("--loudness", type=_offset, default=0.0, metavar="DB", help="added to the loudness (default 0)")
    add(
        "--timbre",
        metavar="WHICH",
        help="a component by its number from 0 on, such as 3; a mixture such as 3:0.7,5:0.3; or a recording, of which "
        "the mean timbre is taken; by default IN keeps its own, moment by moment",
    )
    add("--encoding", choices=ENCODINGS, default="16", help="of the samples: 16 bits (default), or 32-bit float")
    add("--seed", type=_seed, default=0, metavar="NUM", help="number that the noise follows from (default 0)")
    add(
        "--which",
        "--checkpoint",
        dest="which",
        type=checkpoint_name,
        default="best",
        metavar="STEP",
        help="checkpoint: best (default), last, or a step",
    )
    add("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda or auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
