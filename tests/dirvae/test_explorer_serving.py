"""How the application starts: which models it opens, and what it loads before the page is there."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dirvae.explore.sheet import ExplorationError
from dirvae.explorer.serving import serve_run

ROOT = Path(__file__).resolve().parents[2]


def labels(monkeypatch: pytest.MonkeyPatch, runs: list[str], checkpoints: list[str | int]) -> list[str]:
    """What the application calls its models; it is not served."""
    found: list[str] = []

    def note(opens: list[object], **options: object) -> None:
        found.extend(one.label for one in opens)  # type: ignore[attr-defined]
        raise InterruptedError

    monkeypatch.setattr("dirvae.explorer.serving.start_application", note)
    with pytest.raises(InterruptedError):
        serve_run(runs, checkpoints=checkpoints)
    return found


def test_runs_and_checkpoints_make_up_to_two_models_with_names_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert labels(monkeypatch, ["runs/a"], ["best"]) == ["a"]
    assert labels(monkeypatch, ["runs/a", "runs/b"], ["best"]) == ["a", "b"]
    assert labels(monkeypatch, ["runs/a"], [400, "last"]) == ["a (400)", "a (last)"]
    assert labels(monkeypatch, ["x/a", "y/a"], ["best", 7]) == ["a (best)", "a (7)"]
    with pytest.raises(ExplorationError, match="Name one run or two"):
        serve_run(["a", "b", "c"])


def test_a_taken_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from dirvae.web import start

    with start([]) as first, pytest.raises(OSError, match="in use") as refused:
        serve_run(["runs/a"], port=urlsplit(first.url).port or 0)
    assert refused.value.filename == f"127.0.0.1:{urlsplit(first.url).port}"


def test_the_page_is_sent_before_torch_numpy_and_pillow_are_imported() -> None:
    code = (
        "import sys, dirvae.explorer.serving as s; s.BEGIN_SECONDS = 60\n"
        "server, desk = s.start_application([s.OpenRun('x', lambda: None)])\n"
        "import http.client, urllib.parse as u; a = u.urlsplit(server.url)\n"
        "c = http.client.HTTPConnection(a.netloc); c.request('GET', '/?' + a.query); r = c.getresponse()\n"
        "names = ('torch', 'numpy', 'PIL', 'matplotlib')\n"
        "print(r.status, len(r.read()) > 500, [name for name in names if name in sys.modules])\n"
        "server.stop(); import os; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "200 True []", done.stderr[-1500:]


def test_an_interrupt_ends_the_command_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "checkpoints").mkdir()
    code = f"from dirvae.explorer import serve_run; serve_run([{str(tmp_path)!r}])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    address = urlsplit(process.stdout.readline().split()[1])
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    connection.request("GET", f"/?{address.query}")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.read()
    connection.close()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
