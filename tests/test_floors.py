"""The house has floors: imports go down only, the core touches no world, and nothing is imported in passing.

    5 ops    4 tools    3 net    2 config    1 core    0 reasons, errors, http1, values

Read from the syntax trees, so that an import that only a type checker sees counts as well. A few modules import others
by their names, when somebody asks for what those do: they are listed here, and held to the same floors.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from proxy.ops.commands import COMMANDS

PACKAGE = Path(__file__).resolve().parents[1] / "proxy"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FLOORS = {"core": 1, "config": 2, "net": 3, "tools": 4, "ops": 5}
#: Who imports by name, and what: what not every start, or not every installation, has use for.
BY_NAME = {
    "proxy.core.signing.extras": {"proxy.core.pubkey"},
    "proxy.ops.commands": {command.module for command in COMMANDS.values()},
    "proxy.ops.duplicates": {"proxy.net.duplicates_redis", "proxy.net.duplicates_sqlite"},
    "proxy.ops.run_command": {"proxy.ops.supervisor"},
}
WORLD = {"asyncio", "socket", "ssl", "time", "os", "logging", "random", "secrets", "threading", "subprocess", "signal"}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def floor(module: str) -> int:
    """0 for the words at the top of the package; ``proxy.__main__`` stands above everything."""
    parts = module.split(".")
    if parts[1:] == ["__main__"]:
        return 9
    return FLOORS.get(parts[1], 0) if len(parts) > 1 else 0


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module name an import statement may mean, anywhere in the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(module: str) -> set[str]:
    found = {name for name in imported(tree_of(module)) if name in MODULES and name != module}
    # "from proxy.core import policy" names the package too, but needs only the module
    return {name for name in found if not any(other.startswith(name + ".") for other in found)} - {"proxy"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    upward = [name for name in ours(module) if floor(name) > floor(module)]
    assert not upward


def test_there_is_no_cycle() -> None:
    graph = {module: ours(module) for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", [name for name in MODULES if floor(name) <= 1])
def test_the_core_touches_no_world(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(tree_of(module))}
    assert not roots & WORLD


@pytest.mark.parametrize("module", MODULES)
def test_no_import_in_passing(module: str) -> None:
    functions = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [
        (function.name, node.lineno)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not inside


def named(module: str) -> set[str]:
    """The modules of ours whose names stand in a call of ``importlib.import_module``, and "" for any other call."""
    calls = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)]
    return {
        str(call.args[0].value) if isinstance(call.args[0], ast.Constant) else ""
        for call in calls
        if ast.unparse(call.func) in {"importlib.import_module", "import_module", "__import__"}
    }


def test_who_imports_by_name() -> None:
    found = {module: names for module in MODULES if (names := named(module))}
    assert found.keys() == BY_NAME.keys()
    assert {module for module, names in found.items() if not names <= BY_NAME[module]} == {"proxy.ops.commands"}
    for module, names in BY_NAME.items():
        assert names <= MODULES.keys()
        assert [name for name in names if floor(name) > floor(module)] == []
