"""What Ray carries to a node: one function, by value, which finds this package there or says that it is missing.

Nothing of this package is imported when Ray unpacks the function, so everything that it uses is imported inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["run_on_node"]


def run_on_node(module: str, root: str, path: Sequence[str], digest: int, sent: bytes) -> Iterator[Any]:
    """Import a module of this package and hand its `packed` the pickled task; yields what that yields, or a sentence.

    The package below `root` is taken where this node sees that folder, which makes it the driver's own; otherwise the
    one that is installed here. The other folders of the driver's `sys.path` are searched after those of the node.
    """
    import importlib
    import socket
    import sys
    from pathlib import Path

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
    yield from on_node.packed(digest, sent)
