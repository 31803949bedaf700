"""Which file of a package imports which, and what goes against an order of layers: read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

Edge = tuple[str, str]
"""(importing file, imported file), as paths below the package's folder."""


def import_edges(root: Path) -> set[Edge]:
    """Every import of one file of a package by another, inside functions too; for type checkers alone left out."""
    return {
        (str(path.relative_to(root)), target)
        for path in sorted(root.rglob("*.py"))
        for target in _targets(path, root)
        if target != str(path.relative_to(root))
    }


def upward(edges: Iterable[Edge], layers: Sequence[Sequence[str]]) -> list[str]:
    """Imports of a higher layer. A layer lists files and folders; the package's own `__init__.py` is above all."""
    level = {name: number for number, names in enumerate(layers) for name in names}

    def level_of(file: str) -> int:
        if file == "__init__.py":
            return len(layers)
        top = file.split("/")[0].removesuffix(".py")
        assert top in level, f"{file}: {top!r} is in no layer. Add it to the layer it belongs to."
        return level[top]

    return [
        f"{importer} imports {imported}"
        for importer, imported in sorted(edges)
        if imported == "__init__.py" or level_of(importer) < level_of(imported)
    ]


def circles(edges: Iterable[Edge]) -> list[list[str]]:
    """Circles of files, and of the files and folders that lie side by side in one folder.

    A folder's `__init__.py` is its door: what it brings out of its own folder is no import of a neighbour.
    """
    found = []
    inner = {edge for edge in edges if not _is_door(*edge)}
    depth = max(file.count("/") for edge in inner for file in edge)
    for level in range(depth + 1):
        for parent in {_parent(file, level) for edge in inner for file in edge if file.count("/") >= level}:
            pairs = {
                (_child(a, level), _child(b, level))
                for a, b in inner
                if min(a.count("/"), b.count("/")) >= level and _parent(a, level) == _parent(b, level) == parent
            }
            found += _circles_among({(a, b) for a, b in pairs if a != b})
    return found + _circles_among(inner)


def _is_door(importer: str, imported: str) -> bool:
    return importer.endswith("__init__.py") and imported.startswith(importer.removesuffix("__init__.py"))


def _parent(file: str, level: int) -> str:
    return "/".join(file.split("/")[:level])


def _child(file: str, level: int) -> str:
    return "/".join(file.split("/")[: level + 1])


def _circles_among(pairs: set[Edge]) -> list[list[str]]:
    """One circle for each group of names that reach one another."""
    following: dict[str, set[str]] = {}
    for importer, imported in pairs:
        following.setdefault(importer, set()).add(imported)
    reach = {name: _reached(name, following) for name in following}
    groups = {frozenset(other for other in reach[name] if name in reach.get(other, ())) for name in reach}
    return [sorted(group) for group in groups if group]


def _reached(name: str, following: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(following.get(name, ()))
    while waiting:
        here = waiting.pop()
        if here not in seen:
            seen.add(here)
            waiting += following.get(here, ())
    return seen


def _targets(path: Path, root: Path) -> Iterator[str]:
    package = root.name
    for node in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == package:
                    yield _file_of(root, alias.name.split(".")[1:])
            continue
        parts = (node.module or "").split(".") if node.module else []
        if node.level:
            here = path.parent
            for _ in range(node.level - 1):
                here = here.parent
            parts = [*here.relative_to(root).parts, *parts]
        elif parts[:1] == [package]:
            parts = parts[1:]
        else:
            continue
        for alias in node.names:
            inside = root.joinpath(*parts, alias.name)
            is_module = inside.with_suffix(".py").exists() or (inside / "__init__.py").exists()
            yield _file_of(root, [*parts, alias.name] if is_module else parts)


def _file_of(root: Path, parts: Sequence[str]) -> str:
    place = root.joinpath(*parts)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    assert file.exists(), f"{file} is imported and is not there"
    return str(file.relative_to(root))


def _imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _imports(child)
