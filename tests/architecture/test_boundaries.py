"""Who may touch what, read off the source: the environment, other functions, handlers that stay edges."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.expanded import ROOT


def _sources(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def _imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_only_handlers_read_the_environment() -> None:
    # The sandbox reads no setting: it hands its child the library path that Lambda's interpreter needs to start.
    readers = {
        str(path)
        for path, tree in _sources("shared")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers == {"shared/pixtune/images/sandbox.py"}


def test_functions_take_providers_from_where_aws_is_wired_in() -> None:
    for path, tree in _sources("functions"):
        assert "pixtune.providers.factory" not in _imports(tree), f"{path} would have no Bedrock: use pixtune.wiring"


def test_functions_never_import_each_other() -> None:
    for path, tree in _sources("functions"):
        own = f"functions.{path.parts[1]}"
        others = [name for name in _imports(tree) if name.startswith("functions.") and not name.startswith(own)]
        assert not others, f"{path} imports {others}"


def test_a_handler_is_an_edge_of_at_most_forty_lines() -> None:
    for path in sorted((ROOT / "functions").glob("*/handler.py")):
        lines = len(path.read_text().splitlines())
        assert lines <= 40, f"{path.parent.name}/handler.py has {lines} lines"


def test_package_markers_are_empty_so_that_importing_one_module_loads_no_other() -> None:
    for package in ("shared", "cli", "infra/local"):
        for marker in (ROOT / package).rglob("__init__.py"):
            assert marker.read_text().strip() == "", f"{marker} is not empty"


def test_nothing_that_ships_asks_whether_it_runs_locally() -> None:
    for folder in ("functions", "shared/pixtune"):
        for path, tree in _sources(folder):
            for node in ast.walk(tree):
                if isinstance(node, ast.If):
                    condition = ast.unparse(node.test).lower()
                    assert "is_local" not in condition, f"{path}:{node.lineno}"
                    assert "'local'" not in condition, f"{path}:{node.lineno}"
