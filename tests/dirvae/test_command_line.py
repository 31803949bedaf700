"""What the commands share: the value of --which, and one sentence and an exit code for each kind of error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dirvae.command_line import MissingPackageError, checkpoint_name, exit_code_of


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (KeyError("a known one"), "error: 'a known one'\n"),
        (MissingPackageError("torch is missing."), "error: torch is missing.\n"),
        (torch.OutOfMemoryError("2 GiB"), "error: the device's memory is full. Use --device cpu.\n"),
        (FileNotFoundError(2, "No such file or directory", "a.tar"), "error: a.tar: No such file or directory.\n"),
    ],
)
def test_errors_of_the_user_are_one_sentence_and_the_code_1(
    error: Exception, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(raising(error), (KeyError,)) == 1
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("a fault of the program")])
def test_other_errors_pass_through(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        exit_code_of(raising(error), (KeyError,))


def test_an_interrupt_is_130_and_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(raising(KeyboardInterrupt()), ()) == 130
    assert capsys.readouterr().err == ""
    assert exit_code_of(raising(KeyboardInterrupt()), (), interrupted="all is kept.") == 130
    assert capsys.readouterr().err == "error: all is kept.\n"
    assert exit_code_of(lambda: 7, ()) == 7


@pytest.mark.parametrize(("text", "found"), [("400", 400), ("best", "best"), ("²", "²"), ("9" * 40, "9" * 40)])
def test_digits_name_a_step(text: str, found: str | int) -> None:
    assert checkpoint_name(text) == found
