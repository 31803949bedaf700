"""`python -m dirvae.evaluate RUN`: the measures of a run's model, as a table and as `evaluation.json` in the run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dirvae.command_line import (
    FlagParser,
    checkpoint_name,
    exit_code_of,
    fail,
    parse_flags,
    require_packages,
    spelled,
)
from dirvae.run.evaluate_config import EvaluateConfig, evaluation_name
from dirvae.run.folder import is_run
from dirvae.tasks import Task, find_task
from dirvae.training.errors import TrainingError
from pipelines.errors import PipelineError
from pipelines.shown_names import escaped, shown_name
from pipelines.terminal import escape_unencodable, print_or_end

__all__ = ["main"]

SUMMARY = {
    "mean gap (MIG)": "gap",
    "disentanglement": "disentanglement",
    "completeness": "completeness",
    "mean linear R²": "linear_r2",
}
"""Line of the table → number of the latent's associations with all factors."""


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate a run and print the table: 0, 1 for an error, 130 after Ctrl-C, 141 if the reader closed the pipe."""
    escape_unencodable()
    given = vars(parse_flags(_parser(), spelled(sys.argv[1:] if argv is None else argv)))
    run = given.pop("run")
    return exit_code_of(lambda: _evaluate(run, given), (TrainingError, PipelineError))


def _evaluate(run: Path, given: dict[str, Any]) -> int:
    if not is_run(run):
        return fail(f"{run}: is not a run. Name a folder that dirvae.train wrote, such as runs/image.")
    require_packages()
    from dirvae.run.evaluation import evaluate_run

    given["circular"] = tuple(given["circular"])
    content = evaluate_run(run, EvaluateConfig(**given))
    return print_or_end("\n".join([*_table(content), f"written: {run / evaluation_name(content)}"]))


def _width(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'auto'") from None


def _table(content: dict[str, Any]) -> list[str]:
    part = "held out" if content["is_held_out"] else "of the training, because none were held out"
    task = find_task(content["type"])
    kinds = {"ema": ", averaged weights", "raw": ", the weights that were trained"}
    weights = kinds[content["weights"]] if content["has_ema"] else ""
    lines = [f"step {content['step']}{weights}, {task.count_examples(content['examples'])} {part}"]
    lines += [f"note: {escaped(note)}" for note in content["notes"]]
    if "sound" in content:
        lines += _sound_lines(content["sound"])
    else:
        lines += _likelihood_lines(content["likelihood"], task)
    if content["levels"] is not None:
        lines += _level_lines(content["levels"])
    if content["usage"] is not None:
        lines += _usage_lines(content["usage"])
    if content["neighbours"] is not None:
        lines += _neighbour_lines(content["neighbours"])
    if content["factors"] or content["categories"]:
        lines += _factor_lines(content)
    return lines


def _neighbour_lines(found: dict[str, Any]) -> list[str]:
    def shown(numbers: dict[str, float], form: str) -> str:
        return ", ".join(f"k = {count}: {number:{form}}" for count, number in numbers.items())

    lines = [
        _line(f"error of neighbours, {shown_name(found['label'], quoted=False)}", shown(found["errors"], ".1%")),
        _line("  always the most frequent", f"{found['majority_error']:.1%}"),
    ]
    if found["average_precision"] is not None:
        by_chance = f"; by chance about {found['share']:.3f}"
        lines.append(_line("  average precision", shown(found["average_precision"], ".3f") + by_chance))
    elif found["share"] is not None:
        lines.append(_line("  average precision", "none: it is in no example here"))
    return lines


def _level_lines(levels: dict[str, Any]) -> list[str]:
    """What the vector and the map carry; components, factors and neighbours after them are the vector's."""
    map_used = levels["map"]
    return [
        _line("KL of the global latent", _nats(levels["kl_global"])),
        _line("KL of the map", _nats(levels["kl_map"])),
        _line("-ELBO, the global latent alone", _nats(_negative(levels["global_bound"]))),
        _line("lost by another's global latent", _nats(levels["lost_by_exchange"])),
        _line("map: components in use", f"{map_used['components_in_use']} of {map_used['model_size']}"),
    ]


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _usage_lines(used: dict[str, Any]) -> list[str]:
    size = used["model_size"]
    lines = [
        _line("components in use", f"{used['components_in_use']} of {size}"),
        _line("active units", f"{used['active_units']} of {size}"),
    ]
    if used["effective_components"] is not None:
        lines.append(_line("effective components", f"{used['effective_components']:.1f}"))
    lines.append(_line("collapsed, by decoder weight", f"{used['collapsed_weights']} of {size}"))
    lines.append(_line("collapsed, by latent value", f"{used['collapsed_values']} of {size}"))
    return lines


def _sound_lines(sound: dict[str, Any]) -> list[str]:
    """Of the first clips, because tracking their pitch takes time."""

    def shown(key: str, form: str, unit: str) -> str:
        return "none" if sound[key] is None else f"{sound[key]:{form}}{unit}"

    return [
        _line(f"spectral loss, {sound['examples']} clips", shown("reconstruction", ".3f", "")),
        _line("  loudness error", shown("loudness_error_db", ".2f", " dB")),
        _line("  pitch error", shown("pitch_error_semitones", ".3f", " semitones")),
        _line("  pitch lost", shown("pitch_lost", ".1%", " of the pitched rows")),
        _line("  KL", shown("kl_per_second", ",.2f", " nats per second")),
    ]


def _factor_lines(content: dict[str, Any]) -> list[str]:
    lines = ["", f"{'factor':<18}{'best component':>14}{'share':>8}{'gap':>8}{'linear R²':>11}"]
    rows = [*(content["factors"] or ()), *content["categories"]]
    for row in rows:
        numbers = f"{row['share']:>8.2f}{row['gap']:>8.2f}{row['linear_r2']:>11.2f}"
        lines.append(f"{shown_name(row['factor'], quoted=False):<18} {row['component']:>13}{numbers}")
    most = {name: max(row["chance"][name] for row in rows) for name in ("share", "gap", "linear_r2")}
    lines.append(f"{'at most, shuffled':<32}{most['share']:>8.2f}{most['gap']:>8.2f}{most['linear_r2']:>11.2f}")
    if (summed := content["disentanglement"]) is not None:
        lines += ["", f"{'of all factors':<40}{'shuffled':>11}"]
        lines += [f"{name:<32}{summed[key]:>8.2f}{summed['chance'][key]:>11.2f}" for name, key in SUMMARY.items()]
    return lines


def _likelihood_lines(measured: dict[str, Any] | None, task: Task) -> list[str]:
    if measured is None:
        return [_line("likelihood", "none: this run was trained with squared errors, which are not a likelihood")]
    if "cross_entropy_of_greys" in measured:
        return [
            _line("cross entropy of greys", _nats(measured["cross_entropy_of_greys"])),
            _line("KL", _nats(measured["kl"])),
        ]
    return [
        _line(f"NLL, {measured['samples']} samples", _nats(measured["nll"], measured["nll_standard_error"])),
        _line("-ELBO", _nats(measured["negative_bound"])),
        _line("  reconstruction", _nats(measured["reconstruction"])),
        _line("  KL", _nats(measured["kl"])),
        _line("effective samples", _median(measured["effective_samples"], task)),
        _line("  width of the proposal", f"{measured['proposal_width']:g}, 1 is the posterior"),
    ]


def _nats(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return "not finite"
    return f"{value:,.2f} nats" if spread is None else f"{value:,.2f} ± {spread:.2f} nats"


def _median(value: float | None, task: Task) -> str:
    return "not finite" if value is None else f"{value:.1f}, the median of the {task.examples}"


def _line(name: str, value: str) -> str:
    return f"{name:<31} {value}"


def _parser() -> argparse.ArgumentParser:
    default = EvaluateConfig()
    parser = FlagParser(prog="python -m dirvae.evaluate", description="Measure the model of a run.")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, such as runs/image")
    parser.add_argument(
        "--samples",
        type=int,
        default=default.samples,
        metavar="NUM",
        help="importance samples per example (default 100)",
    )
    parser.add_argument(
        "--width",
        type=_width,
        metavar="FACTOR",
        help="width of their proposal, 1 for the posterior; auto (default) tries eight widths",
    )
    parser.add_argument(
        "--limit", type=int, metavar="NUM", help="examples used, of each part (default 2000, or fewer large ones)"
    )
    parser.add_argument(
        "--label",
        metavar="NAME",
        help="factor that nearest neighbours predict, such as shape, or category of annotated pictures, such as dog; "
        "none by default",
    )
    parser.add_argument(
        "--circular",
        nargs="+",
        default=[],
        metavar="FACTOR",
        help="factors that make one turn from 0 to 1, such as hue; none by default",
    )
    parser.add_argument(
        "--source",
        metavar="PATH",
        help="where the data is, a path or a URL, if it has moved; where it was by default",
    )
    parser.add_argument(
        "--which",
        "--checkpoint",
        dest="which",
        type=checkpoint_name,
        default=default.which,
        metavar="STEP",
        help="checkpoint: best (default), last, or a step",
    )
    parser.add_argument(
        "--weights",
        choices=("ema", "raw"),
        help="averaged weights (ema) or those that were trained (raw); averaged by default, if there are any, and then "
        "raw is written to evaluation-raw.json",
    )
    parser.add_argument("--device", default=default.device, metavar="DEVICE", help="cpu (default), cuda or auto")
    parser.add_argument(
        "--seed",
        type=int,
        default=default.seed,
        metavar="NUM",
        help="number that all noise follows from (default 0)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
