"""No function takes more than eight parameters, but for public ones whose settings callers name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST = 8

PUBLIC = {
    "pipelines.AudioIterator.__init__": 9,
    "pipelines.VideoIterator.__init__": 14,
    "pipelines.ImageIterator.__init__": 9,
    "pipelines.ShardWriter.write": 9,
    "pipelines.make_shards": 13,
    "pipelines.forecast_shards": 12,
    "pipelines.mix": 12,
    "dirvae.AutoEncoder.__init__": 10,
    "dirvae.LevelledAutoEncoder.__init__": 9,
    "dirvae.ResNetVAE.__init__": 12,
    "dirvae.VideoVAE.__init__": 13,
    "dirvae.AudioVAE.__init__": 15,
    "dirvae.Trainer.__init__": 12,
}
"""Public functions and how many parameters they may have: all but the first are settings, given by name."""


def functions(tree: ast.AST, prefix: str, *, in_class: bool = False) -> Iterator[tuple[str, int]]:
    """(qualified name, parameters) of every function below a node; `self` and `cls` are not counted."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_static = any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
            yield f"{prefix}.{node.name}", num_parameters(node.args) - (in_class and not is_static)
            yield from functions(node, f"{prefix}.{node.name}")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}.{node.name}", in_class=True)
        else:
            yield from functions(node, prefix, in_class=in_class)


def num_parameters(arguments: ast.arguments) -> int:
    """`*args` and `**settings` count as one each."""
    named = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
    return named + (arguments.vararg is not None) + (arguments.kwarg is not None)


def offenders() -> dict[str, int]:
    return {
        name: number
        for package in ("pipelines", "dirvae")
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, number in functions(ast.parse(path.read_text(encoding="utf-8")), package)
        if number > MOST
    }


def test_no_other_function_takes_more_than_eight_parameters() -> None:
    assert {name: number for name, number in offenders().items() if name not in PUBLIC} == {}


def test_those_that_are_listed_do_and_take_no_more_than_before() -> None:
    found = offenders()
    for name, number in PUBLIC.items():
        assert name in found, f"{name} takes {MOST} parameters or fewer: take it off the list"
        assert found[name] <= number


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(a, b, /, c, *d, e, **f): ...", {"x.f": 6}),
        ("class C:\n    def g(self, a): ...", {"x.C.g": 1}),
        ("class C:\n    @staticmethod\n    def g(a): ...", {"x.C.g": 1}),
        ("class C:\n    if True:\n        async def g(self, a): ...", {"x.C.g": 1}),
        ("def f(a):\n    def g(b, c): ...", {"x.f": 1, "x.f.g": 2}),
    ],
)
def test_parameters_are_counted_wherever_a_function_stands(code: str, expected: dict[str, int]) -> None:
    assert dict(functions(ast.parse(code), "x")) == expected
