"""What the command lines of dirvae share; nothing heavy is imported, so that `--help` is there at once."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NoReturn

from dirvae.nearest import nearest_name

__all__ = [
    "FlagParser",
    "MissingPackageError",
    "checkpoint_name",
    "exit_code_of",
    "fail",
    "is_out_of_memory",
    "parse_flags",
    "require_packages",
    "spelled",
]

EXTRAS = {
    "explore": ("torch", "safetensors", "jinja2", "matplotlib", "starlette", "uvicorn"),
    "train": ("torch", "safetensors", "jinja2", "matplotlib"),
}
"""Extra of the package → what it installs that a command cannot do without."""


class MissingPackageError(ImportError):
    """A package that a command needs is not installed; its text is the whole message."""


class FlagParser(argparse.ArgumentParser):
    """A parser whose errors are one line, not the usage of all flags before it."""

    def error(self, message: str) -> NoReturn:
        """End the program with the sentence, and exit code 2."""
        stop = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"error: {message}{stop} --help lists the flags.\n")


def require_packages(*, extra: str = "train", also: str = "") -> None:
    """Raise `MissingPackageError` unless the packages of an extra are there. `also`: an extra to install with it."""
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        verb, them = ("is", "it") if len(missing) == 1 else ("are", "them")
        extras = f"{extra},{also}" if also else extra
        raise MissingPackageError(
            f"{' and '.join(missing)} {verb} not installed, and this command needs {them}: pip install "
            f"'dirvae[{extras}]'."
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is torch's `OutOfMemoryError`; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def spelled(argv: Sequence[str]) -> list[str]:
    """The arguments with dashes in the names of flags: `--batch_size=8` is `--batch-size=8`."""
    names = [argument.partition("=") for argument in argv]
    return [
        name.replace("_", "-") + equals + value if name.startswith("--") else name + equals + value
        for name, equals, value in names
    ]


def checkpoint_name(text: str) -> str | int:
    """The value of --which: digits are the step of a checkpoint, anything else is a name such as "best"."""
    is_step = text.isascii() and text.isdecimal() and len(text) < 20
    return int(text) if is_step else text


def exit_code_of(
    command: Callable[[], int],
    errors: tuple[type[Exception], ...],
    *,
    memory_remedy: str = "Use --device cpu.",
    interrupted: str = "",
) -> int:
    """Run a command and return its exit code; 1 after an error that the user can put right, 130 after Ctrl-C.

    Of `errors`, missing packages, full device memory and errors of the operating system one sentence is printed. Other
    errors pass through. `interrupted` is the sentence after Ctrl-C, "" for none.
    """
    known: tuple[type[Exception], ...] = (MissingPackageError, *errors)
    try:
        return command()
    except known as error:
        return fail(str(error))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return fail(f"the device's memory is full. {memory_remedy}")
    except OSError as error:
        return fail(f"{error.filename or 'a file'}: {error.strerror or error}.")
    except KeyboardInterrupt:
        if interrupted:
            fail(interrupted)
        return 128 + signal.SIGINT


def fail(sentence: str) -> int:
    """Print an error of one sentence to stderr; the exit code 1."""
    print(f"error: {sentence}", file=sys.stderr)
    return 1


def parse_flags(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The values of all arguments. Ends the program like argparse, for an unknown flag with the nearest known one."""
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        flag = unknown[0].partition("=")[0]
        found = nearest_name(flag, parser._option_string_actions) if flag[:1] == "-" else None
        hint = "" if found is None else f"; did you mean {found}?"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options
