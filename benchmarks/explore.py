"""The speed of the application of `python -m dirvae.explore`, in headless Chromium.

    python benchmarks/explore.py [RUN] [--moves 200] [--rounds 3] [--json FILE] [--chromium PATH]

first byte   from the start of the process until the first byte of its page has arrived
page         ... until the page is loaded, before the model is
usable       ... until the sliders are shown and the first picture of the model is painted
a move       from the input event of a slider until the frame with the new picture was painted: random sliders and
             places, one move after the other
burst        100 moves within 1 second: from the last one until its picture is painted

Each round starts a new process. Without a RUN, 300 sample scenes are made and a run of 64 pixels, preset tiny,
is trained for 60 steps in a temporary folder: speed does not depend on the weights. CPU seconds are those of the
process until it is usable; on a busy machine they are more reliable than the clock. Exits with 1 above a limit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
LIMITS = {
    "first_byte_s": 1.0,
    "usable_s": 5.0,
    "move_p50_ms": 80.0,
    "move_p95_ms": 150.0,
    "burst_ms": 200.0,
}
"""Upper limit of each figure."""

PREPARE = """() => {
  const sliders = [...document.querySelectorAll("#panel-steer .slider input[type=range]")];
  const painted = () => new Promise((resolve) => document.addEventListener("painted", resolve, { once: true }));
  // After the frame: its animation callbacks run before it is painted, and a message comes after that.
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  }));
  const move = (slider, value) => {
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  };
  window.bench = { sliders, painted, frame, move, flying: 0, asked: 0 };
  const real = window.fetch;
  window.fetch = async (...given) => {
    const isDecode = String(given[0]).endsWith("/api/decode");
    if (isDecode) [bench.flying, bench.asked] = [bench.flying + 1, bench.asked + 1];
    try { return await real(...given); } finally { if (isDecode) bench.flying -= 1; }
  };
}"""
MOVES = """async (places) => {
  const times = [];
  for (const [which, place] of places) {
    const slider = bench.sliders[which % bench.sliders.length];
    const shown = bench.painted();
    const began = performance.now();
    bench.move(slider, Number(slider.min) + place * (Number(slider.max) - Number(slider.min)));
    await shown;
    await bench.frame();
    times.push(performance.now() - began);
  }
  return times;
}"""
BURST = """async () => {
  let last = 0;
  const note = () => bench.frame().then(() => { last = performance.now(); });
  document.addEventListener("painted", note);
  const [slider, began, before] = [bench.sliders[0], performance.now(), bench.asked];
  let ended = 0;
  for (let move = 1; move <= 100; move += 1) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + 10 * move - performance.now())));
    ended = performance.now();
    bench.move(slider, Number(slider.min) + (move / 100) * (Number(slider.max) - Number(slider.min)));
  }
  let calm = performance.now();
  while (performance.now() - calm < 300) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (bench.flying) calm = performance.now();
  }
  document.removeEventListener("painted", note);
  return { milliseconds: last - ended, seconds: (ended - began) / 1000, asked: bench.asked - before };
}"""


@dataclass(frozen=True)
class Round:
    """The figures of one process."""

    first_byte_s: float
    page_s: float
    usable_s: float
    usable_cpu_s: float
    move_p50_ms: float
    move_p95_ms: float
    burst_ms: float
    burst_seconds: float
    burst_requests: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print: 0, or 1 where a limit is exceeded."""
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as home:
        run = options.run or _train(Path(home))
        with browser_of(options.chromium) as browser:
            rounds = [_measure(run, browser, options.moves) for _ in range(options.rounds)]
    found = {name: statistics.median(asdict(one)[name] for one in rounds) for name in asdict(rounds[0])}
    load = os.getloadavg()[0]
    print(f"{options.rounds} processes, medians; {os.cpu_count()} cores, load {load:.1f}")
    for name, value in found.items():
        limit = f"  (at most {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:16} {value:9.2f}{limit}")
    if options.json is not None:
        content = {"median": found, "rounds": [asdict(one) for one in rounds], "load": load, "moves": options.moves}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    exceeded = [name for name, limit in LIMITS.items() if found[name] > limit]
    if exceeded:
        print(f"exceeded: {', '.join(exceeded)}")
    return int(bool(exceeded))


def _measure(run: Path, browser: Any, num_moves: int) -> Round:
    """Start a process, open its page and move its sliders."""
    import numpy as np

    random = np.random.default_rng(0)
    places = [
        [int(which), float(place)]
        for which, place in zip(random.integers(1000, size=num_moves), random.random(num_moves), strict=True)
    ]
    began = time.perf_counter()
    with application(run) as (process, url):
        with urllib.request.urlopen(url) as answer:
            answer.read(1)
            first_byte = time.perf_counter() - began
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(120_000)
        page.goto(url)
        loaded = time.perf_counter() - began
        page.wait_for_selector("html[data-ready]")
        page.wait_for_selector("#panel-steer .exports button")  # they come with the first painted picture
        usable, cpu = time.perf_counter() - began, _cpu_seconds(process.pid)
        page.evaluate(PREPARE)
        page.evaluate(MOVES, places[:10])
        times = page.evaluate(MOVES, places)
        burst = page.evaluate(BURST)
        page.context.close()
    return Round(
        first_byte_s=first_byte,
        page_s=loaded,
        usable_s=usable,
        usable_cpu_s=cpu,
        move_p50_ms=float(np.percentile(times, 50)),
        move_p95_ms=float(np.percentile(times, 95)),
        burst_ms=burst["milliseconds"],
        burst_seconds=burst["seconds"],
        burst_requests=burst["asked"],
    )


@contextmanager
def application(run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of the application and its address."""
    command = [sys.executable, "-m", "dirvae.explore", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            if not words:
                raise SystemExit(f"{run}: the application did not start.")
            yield process, words[1]
        finally:
            process.terminate()


@contextmanager
def browser_of(chromium: str, flags: Sequence[str] = CHROMIUM_FLAGS) -> Iterator[Any]:
    """Headless Chromium, until the block ends."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(flags))
        yield browser
        browser.close()


def _cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far; Linux only."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _train(home: Path) -> Path:
    """A short run of 64 pixels on sample scenes."""
    settings = ["--size", "64", "--preset", "tiny", "--steps", "60"]
    steps = [
        [sys.executable, "tools/make_sample_data.py", "image", "--out", str(home / "image"), "--num", "300"],
        [
            sys.executable,
            "-m",
            "dirvae.train",
            "--shards",
            str(home / "image"),
            "--out",
            str(home / "run"),
            *settings,
        ],
    ]
    for command in steps:
        subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return home / "run"


def environment() -> dict[str, str]:
    """The environment variables of a process that imports this checkout."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="the folder of a run; left out, one is trained")
    parser.add_argument("--moves", type=int, default=200, help="random moves of each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes that are measured")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "/usr/bin/chromium", help="the browser")
    return parser


if __name__ == "__main__":
    sys.exit(main())
