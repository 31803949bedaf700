"""Results as lines while they come, and as Markdown at the end, with the targets beside them."""

from __future__ import annotations

from typing import Any

TARGET_SPEED_UP, TARGET_PYTHAE, TARGET_WAIT = 4.0, 3.0, 0.02

Found = dict[str, Any]


def row(kind: str, name: str, result: Found) -> str:
    """A line of a result."""
    return f"{name:28} {_LINES[kind](result)}"


def _line_of_tests(result: Found) -> str:
    return str(result["said"])


def _line_of_resume(result: Found) -> str:
    repeated, resumed = (result[key] for key in ("repeated_exactly", "resumed_exactly"))
    return f"the same weights after a resume: {_yes(resumed)}; in a second run: {_yes(repeated)}"


def _line_of_speed(result: Found) -> str:
    told = [f"{result['examples_per_second']:10,.0f} examples/s, batches of {result['batch_size']}", _syncs(result)]
    if result["share_of_peak"] is not None:
        told.append(f"{result['share_of_peak']:.1%} of the {result['arithmetic']} peak")
    if result["peak_memory_gib"] is not None:
        told.append(f"{result['peak_memory_gib']:.1f} GiB")
    if result["is_compiled"] is not None:
        told.append(f"compiled: {_yes(result['is_compiled'])}, first steps {result['warm_up_seconds']:.0f} s")
    return ", ".join(filter(None, told))


def _line_of_waiting(result: Found) -> str:
    told = f"{result['examples_per_second']:10,.0f} examples/s, {result['wait_share']:.1%} waiting for data"
    return ", ".join(filter(None, [told, f"{result['threads']} threads", _syncs(result)]))


def _line_of_draws(result: Found) -> str:
    told = []
    for what in ("draw", "kl"):
        pairs = [f"{name} {_cost(result[name][what])}" for name in ("dirichlet", "gaussian")]
        told.append(f"{what}: {', '.join(pairs)}")
    return "; ".join(told)


def _line_of_sound(result: Found) -> str:
    told = f"{result['examples_per_second']:10,.1f} clips/s of {result['clip_seconds']:g} s"
    return ", ".join(filter(None, [told, f"decoding {result['times_real_time']:,.0f} × real time", _syncs(result)]))


def _line_of_pythae(result: Found) -> str:
    if "absent" in result:
        return str(result["absent"])
    ours = [f"{name}: pythae takes {ratio:.2f} ×" for name, ratio in result["pythae_takes"].items()]
    return "; ".join([f"pythae {result['milliseconds']['pythae']:.2f} ms", *ours])


_LINES = {
    "tests": _line_of_tests,
    "compiler": _line_of_tests,
    "resume": _line_of_resume,
    "speed": _line_of_speed,
    "waiting": _line_of_waiting,
    "draws": _line_of_draws,
    "sound": _line_of_sound,
    "pythae": _line_of_pythae,
}


def markdown(found: Found) -> str:
    """Everything that was found, ready for a page."""
    parts = [
        f"## On a GPU: {found['device']}",
        f"torch {found['torch']}, CUDA {found['cuda']}. Training steps of `benchmarks/gpu.py`, whole: forward, "
        "backward, clipping, fused Adam; pictures of random numbers on the device.",
        _table(("target", "wanted", "found", "reached"), _targets(found)),
        _tests(found),
        _pictures(found),
        _waiting(found),
        _draws(found),
        _sound(found),
        _pythae(found),
        _left_out(found),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def ratios(found: Found, *, beside: str = "fp32") -> dict[tuple[str, int], dict[str, float]]:
    """Speed by preset and size: how many times that of the way `beside` each other way is."""
    speeds: dict[tuple[str, int], dict[str, float]] = {}
    for one in found["speed"]:
        if one["is_compiled"] is not False:  # a run that fell back to uncompiled code does not count as compiled
            speeds.setdefault((one["preset"], one["size"]), {})[one["way"]] = one["examples_per_second"]
    return {
        key: {way: value / ways[beside] for way, value in ways.items() if way != beside}
        for key, ways in speeds.items()
        if beside in ways
    }


def _targets(found: Found) -> list[tuple[str, ...]]:
    rows = []
    arithmetic = f"fp32, convolutions in {found['convolutions_of_fp32']}"
    for beside, name in (("fp32", arithmetic), ("fp32 without TF32", "fp32 without TF32")):
        if best := _best_in_bf16(ratios(found, beside=beside)):
            ends = dict.fromkeys((min(best, key=best.__getitem__), max(best, key=best.__getitem__)))
            told = " to ".join(f"{best[key]:.1f} × ({key[0]}, {key[1]} px)" for key in ends)
            num = sum(value >= TARGET_SPEED_UP for value in best.values())
            wanted = f"≥ {TARGET_SPEED_UP:g} ×"
            rows.append((f"the fastest way beside {name}", wanted, told, f"{num} of {len(best)}"))
    beside = (found["pythae"] or [{}])[0].get("pythae_takes")
    if beside:
        name = max(beside, key=beside.__getitem__)
        told = f"{beside[name]:.1f} × ({name})"
        rows.append(("beside pythae", f"≥ {TARGET_PYTHAE:g} ×", told, _yes(beside[name] >= TARGET_PYTHAE)))
    fed = [*found["speed"], *found["waiting"], *found["sound"]]
    counted = [one["syncs_per_step"] for one in fed if one["syncs_per_step"] is not None]
    if counted:
        rows.append(("synchronisations per step", "0", f"{max(counted):g} at most", _yes(max(counted) == 0)))
    shares = [one["wait_share"] for one in found["waiting"]]
    if shares:
        told = f"{max(shares):.1%} at most"
        rows.append(("waiting for data", f"≤ {TARGET_WAIT:.0%}", told, _yes(max(shares) <= TARGET_WAIT)))
    return rows


def _best_in_bf16(beside: dict[tuple[str, int], dict[str, float]]) -> dict[tuple[str, int], float]:
    fast = {key: [ratio for way, ratio in ways.items() if way.startswith("bf16")] for key, ways in beside.items()}
    return {key: max(values) for key, values in fast.items() if values}


def _tests(found: Found) -> str:
    lines = [f"- {name}: {one['said']}" for name, one in found["tests"].items()]
    for one in found["resume"]:
        lines.append(f"- {one['precision']}: {_line_of_resume(one)}")
    return "\n".join(lines)


def _pictures(found: Found) -> str:
    beside = ratios(found)
    rows = []
    for one in sorted(found["speed"], key=lambda one: (_PRESETS.index(one["preset"]), one["size"])):
        ratio = beside.get((one["preset"], one["size"]), {}).get(one["way"])
        way = one["way"] + (" (did not compile)" if one["is_compiled"] is False else "")
        rows.append(
            (
                f"{one['preset']}, {one['size']} px",
                f"{way}, by {one['arithmetic']}" if one["way"].startswith("fp32") else way,
                str(one["batch_size"]),
                f"{one['examples_per_second']:,.0f}",
                "1" if one["way"] == "fp32" else _or_dash(ratio, "{:.2f}"),
                _or_dash(one["share_of_peak"], "{:.1%}"),
                _or_dash(one["peak_memory_gib"], "{:.1f}"),
                _or_dash(one["syncs_per_step"], "{:g}"),
            )
        )
    return _table(("model", "way", "batch", "examples/s", "× fp32", "of peak", "GiB", "syncs per step"), rows)


def _waiting(found: Found) -> str:
    ready = {(one["preset"], one["size"], one["way"]): one["examples_per_second"] for one in found["speed"]}
    rows = []
    for one in found["waiting"]:
        whole = ready.get((one["preset"], one["size"], "bf16"))
        rows.append(
            (
                f"{one['source']}, {one['preset']}, {one['size']} px, {one['threads']} threads",
                f"{one['examples_per_second']:,.0f}",
                _or_dash(None if whole is None else one["examples_per_second"] / whole, "{:.0%}"),
                f"{one['wait_share']:.1%}",
                _or_dash(one["syncs_per_step"], "{:g}"),
            )
        )
    return _table(("bf16, fed by", "examples/s", "of ready batches", "waiting", "syncs per step"), rows)


def _draws(found: Found) -> str:
    step = next((one for one in found["speed"] if one["way"] == "bf16"), None)
    seconds = None if step is None else step["batch_size"] / step["examples_per_second"]
    rows = []
    for one in found["draws"]:
        for what, precision in (("draw", "float32"), ("kl", "float64")):
            costs = [one[name][what] for name in ("dirichlet", "gaussian")]
            share = None if seconds is None else costs[0]["milliseconds"] / 1000 / seconds
            told = [f"{cost['milliseconds']:.3f}" for cost in costs]
            kernels = [_or_dash(cost["kernels"], "{}") for cost in costs]
            shape = "×".join(map(str, one["shape"]))
            rows.append((f"{what} of {shape}, {precision}", *told, *kernels, _or_dash(share, "{:.1%}")))
    of = "a step" if step is None else f"a step ({step['preset']}, {step['size']} px, bf16)"
    heads = ("forward and backward", "Dirichlet ms", "Gaussian ms", "Dirichlet kernels", "Gaussian kernels")
    return _table((*heads, f"Dirichlet, of {of}"), rows)


def _sound(found: Found) -> str:
    rows = [
        (
            f"{one['preset']}, {one['precision']}",
            str(one["batch_size"]),
            f"{one['examples_per_second']:,.1f}",
            f"{one['examples_per_second'] * one['clip_seconds']:,.0f}",
            f"{one['times_real_time']:,.0f}",
            _or_dash(one["peak_memory_gib"], "{:.1f}"),
            _or_dash(one["syncs_per_step"], "{:g}"),
        )
        for one in found["sound"]
    ]
    heads = ("sound, 16 kHz", "batch", "clips/s", "× real time training", "× real time decoding", "GiB")
    return _table((*heads, "syncs per step"), rows)


def _pythae(found: Found) -> str:
    for one in found["pythae"]:
        if "absent" in one:
            return f"Not compared: {one['absent']}."
        rows = [
            (name, f"{value:.3f}", _or_dash(one["pythae_takes"].get(name), "{:.2f}"))
            for name, value in one["milliseconds"].items()
        ]
        return _table((f"784-500-500-50, batches of {one['batch_size']}", "ms per step", "pythae takes ×"), rows)
    return ""


def _left_out(found: Found) -> str:
    lines = [f"- {name} failed: {error}" for name, error in found["errors"].items()]
    lines += [f"- {name}, a warning: {said}" for name, told in found["warnings"].items() for said in told]
    for one in found["speed"]:
        lines += [f"- {one['preset']} {one['size']} {one['way']}, a break: {said}" for said in one["graph_breaks"]]
    if found["dropped"]:
        lines.append(f"- no time was left for: {', '.join(found['dropped'])}")
    places = sorted(
        {place for kind in ("speed", "waiting", "sound") for one in found[kind] for place in one["sync_places"]}
    )
    if places:
        lines.append(f"- synchronisations were seen at: {', '.join(places)}")
    return "\n".join(lines)


_PRESETS = ("tiny", "small", "base", "large")


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Markdown; nothing without rows."""
    if not rows:
        return ""
    ruled = ["|" + "|".join([" --- ", *(" ---: " for _ in heads[1:])]) + "|"]
    return "\n".join([_cells(heads), *ruled, *map(_cells, rows)])


def _cells(values: tuple[str, ...]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"


def _syncs(result: Found) -> str:
    syncs = result["syncs_per_step"]
    return "" if syncs is None else f"{syncs:.1f} synchronisations per step"


def _cost(cost: Found) -> str:
    return f"{cost['milliseconds']:.3f} ms" + ("" if cost["kernels"] is None else f" ({cost['kernels']} kernels)")


def _or_dash(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
