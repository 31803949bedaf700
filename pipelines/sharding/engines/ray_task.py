"""What Ray carries to a node: functions by value, of which the first finds this package there or says that it is not.

Nothing of this package is imported when Ray unpacks them, so everything that they use is imported inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["end_process", "run_on_node"]


def run_on_node(
    module: str, root: str, path: Sequence[str], driver: Mapping[str, str], sent: bytes
) -> Iterator[Any]:
    """Import a module of this package and hand its `packed` what the driver says of itself and the pickled task.

    Yields node, number and start of this process, for `end_process`; then what `packed` yields, or a sentence.

    The package below `root` is taken where this node sees that folder, which makes it the driver's own; otherwise the
    one that is installed here. The other folders of the driver's `sys.path` are searched after those of the node.
    """
    import contextlib
    import importlib
    import os
    import socket
    import sys
    from pathlib import Path

    ray: Any = importlib.import_module("ray")
    started = ""
    with contextlib.suppress(OSError):
        started = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
    yield ray.get_runtime_context().get_node_id(), os.getpid(), started
    if root not in sys.path and Path(root, *module.split(".")[:-1]).is_dir():
        sys.path.insert(0, root)
    sys.path.extend(entry for entry in path if entry not in sys.path and Path(entry).is_dir())
    try:
        on_node = importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        yield (
            f"Node {socket.gethostname()} cannot import {package} ({error}). Install the same version of it on every "
            "node, or put it on a disk that all nodes see under the same path."
        )
        return
    yield from on_node.packed(driver, sent)


def end_process(process: int, started: str) -> None:
    """Kill a process of Ray's on this node that no longer answers, unless its number is another one's by now."""
    import contextlib
    import os
    import signal
    from pathlib import Path

    with contextlib.suppress(OSError):
        if Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19] == started:
            os.kill(process, signal.SIGKILL)
