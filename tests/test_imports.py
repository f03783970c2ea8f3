"""Files import one another in one direction: wherever an import stands, in a function or for types only."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("reasoner_rm", "data_recipes")


def import_graph(root: Path, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """For each module the modules of the same packages that its file imports."""
    files = {_name(file, root): file for package in packages for file in (root / package).rglob("*.py")}
    return {name: set(_imports(file, files.keys())) - {name} for name, file in files.items()}


def _name(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(file: Path, known: set[str]) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append(whole if whole in known else node.module)
    return [name for name in found if name in known]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle; empty without one."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_there_is_no_circle_between_files() -> None:
    graph = import_graph(ROOT, PACKAGES)
    assert len(graph) > 300
    assert circle(graph) == []


@pytest.mark.parametrize("late", ["def f():\n    import a.one\n", "if TYPE_CHECKING:\n    from a import one\n"])
def test_a_circle_is_found_wherever_its_imports_stand(tmp_path: Path, late: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "__init__.py").write_text("")
    (tmp_path / "a" / "one.py").write_text("from a.two import f\n")
    (tmp_path / "a" / "two.py").write_text(late)
    assert set(circle(import_graph(tmp_path, ("a",)))) == {"a.one", "a.two"}


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "reasoner_rm" / "py.typed").is_file()
