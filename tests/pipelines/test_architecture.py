"""What `pipelines` may know: nothing of dirvae, torch in one file, heavy packages where they are used."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pipelines

ROOT = Path(pipelines.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
ALWAYS = {"numpy", "PIL"}
"""What a file may import at once; anything else is imported inside the function that needs it."""


def imports(tree: ast.AST, *, inside_functions: bool = True) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements, those for type checkers alone left out."""
    for node in ast.iter_child_nodes(tree):
        is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not is_typing and (inside_functions or not is_function):
            yield from imports(node, inside_functions=inside_functions)


def absolute_packages(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [] if node.level else [(node.module or "").split(".")[0]]
    return [alias.name.split(".")[0] for alias in node.names]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_imports_only_what_it_may(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    everywhere = {package for node in imports(tree) for package in absolute_packages(node)}
    at_once = {package for node in imports(tree, inside_functions=False) for package in absolute_packages(node)}
    assert "dirvae" not in everywhere
    assert "pipelines" not in everywhere, "inside the package imports are relative, so that it can be vendored"
    if name == "tensors.py" or name.startswith("torch_bridge/"):
        at_once.discard("torch")
    else:
        assert not everywhere & {"torch", "torchdata", "torchvision"}
    heavy = at_once - ALWAYS - set(sys.stdlib_module_names) - {"__future__"}
    assert not heavy, f"{heavy} must be imported where they are used"


@pytest.mark.parametrize("name", NAMES)
def test_only_the_functions_that_ask_for_torch_import_what_needs_it(name: str) -> None:
    if name == "tensors.py" or name.startswith("torch_bridge/"):
        return
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    for node in imports(tree, inside_functions=False):
        if isinstance(node, ast.ImportFrom):
            named = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
            assert not named & {"torch_bridge", "tensors"}


@pytest.mark.parametrize("name", NAMES)
def test_no_file_draws_from_a_global_generator_or_reads_a_pickle(name: str) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    tree = ast.parse(source)
    packages = {package for node in imports(tree) for package in absolute_packages(node)}
    assert not packages & {"secrets", "pickle", "dill", "cloudpickle", "uuid"}
    allowed = {"Generator", "Philox"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random"):
            assert node.attr in allowed, f"line {node.lineno}: np.random.{node.attr}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "random":
            assert node.attr == "Random", f"line {node.lineno}: random.{node.attr}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "np.lib.format.read_array"):
            assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords)
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("torch.set_num_threads", "cv2.setNumThreads", "eval", "exec")


@pytest.mark.parametrize("name", NAMES)
def test_the_public_names_are_written_down_sorted_and_exist(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    found = [
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    is_program = any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body)
    if not found and (is_program or len(tree.body) <= 1):
        return
    assert len(found) == 1, "a module says what is public"
    public = ast.literal_eval(found[0].value)
    assert public == sorted(set(public), key=constants_classes_functions)
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
    assert set(public) <= defined
    for documented in (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)):
        if documented.name in public:
            assert ast.get_docstring(documented), f"{documented.name} is public and says nothing of itself"


def constants_classes_functions(name: str) -> tuple[int, str]:
    """The order of public names: constants, then classes, then functions, each alphabetically."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_every_public_name_of_the_package_can_be_had() -> None:
    assert pipelines.__all__ == sorted(pipelines.__all__)
    for name in pipelines.__all__:
        assert getattr(pipelines, name).__doc__, name


def test_every_module_can_be_imported_alone() -> None:
    modules = [m.name for m in pkgutil.walk_packages([str(ROOT)], "pipelines.") if "__main__" not in m.name]
    assert len(modules) > 20
    for module in modules:
        importlib.import_module(module)


BLOCKED = """
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)

sys.meta_path.insert(0, Block())
"""

RUN = """
import {package} as library
images = library.ImageIterator({folder!r}, size=8, batch_size=4, shuffle=True, threads=2)
state = None
for batch in images:
    state = batch.state
images.load_state_dict(state)
print(len(list(images)), images.recipe.decoder.resizer, "torch" in __import__("sys").modules)
"""


def run(code: str, **settings: Any) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **settings
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.strip()


def test_without_torch_it_is_imported_and_plays_pictures(picture_folder: Callable[..., Path]) -> None:
    blocked = ("torch", "torchdata", "torchvision", "dirvae")
    code = BLOCKED.format(blocked=blocked) + RUN.format(package="pipelines", folder=str(picture_folder(9)))
    assert run(code) == "3 simd False"


def test_without_torch_its_resizer_is_refused_with_the_command_that_installs_it() -> None:
    code = BLOCKED.format(blocked=("torch",)) + (
        "from pipelines.decode import ImageDecoder\n"
        "try:\n    ImageDecoder(resizer='torch')\n"
        "except ImportError as error:\n    print(error)\n"
    )
    assert "pip install torch" in run(code)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, pipelines; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(ast.literal_eval(run(code)))
    assert not loaded & {"torch", "scipy", "matplotlib", "ray", "fsspec", "gradio", "webdataset", "dirvae"}


def test_vendored_under_another_name_it_works_without_the_original(
    tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    shutil.copytree(ROOT, tmp_path / "elsewhere" / "my_streams", ignore=shutil.ignore_patterns("__pycache__"))
    code = BLOCKED.format(blocked=("pipelines", "dirvae", "torch"))
    code += "import sys; sys.path.insert(0, '.')\n" + RUN.format(
        package="my_streams", folder=str(picture_folder(9))
    )
    assert run(code, cwd=tmp_path / "elsewhere", env={**os.environ, "PYTHONPATH": ""}) == "3 simd False"
