"""The house has floors: imports go down only, the core touches no world, and nothing is imported in passing.

    5 ops    4 tools, queue, console, agent    3 net    2 config    1 core    0 reasons, errors, http1, values

Read from the syntax trees, so that an import that only a type checker sees counts as well. A few modules import others
when what those do is asked for: they are listed here, and held to the same floors.
"""

from __future__ import annotations

import ast
import graphlib

from tests.house import FUNCTIONS, MODULES, imported

FLOORS = {"core": 1, "config": 2, "net": 3, "tools": 4, "queue": 4, "console": 4, "agent": 4, "ops": 5}
#: What serves without a wing never imports it: these import it inside functions alone, where it is configured.
WINGS = {"queue", "console", "agent"}
#: Where imports stand inside functions: of what not every start, or not every installation, has use for.
ASKED_FOR = {
    "proxy.agent.keys": {"proxy.config.parsers"},
    "proxy.config.load": {"proxy.config.parsers"},
    "proxy.core.signing.proof": {"proxy.core.pubkey"},
    "proxy.net.acceptor": {"proxy.net.kernel_filter"},
    "proxy.ops.agent_command": {"proxy.agent.keys"},
    "proxy.ops.cli": {
        *{name for name in MODULES if name.startswith(("proxy.agent.", "proxy.ops.", "proxy.tools."))},
        *("platform", "proxy.config.parsers", "proxy.queue.command"),
    },
    "proxy.ops.listeners": {"proxy.net.tcp_forward"},
    "proxy.ops.admin": {"proxy.console.console", "proxy.console.desk", "proxy.console.copies"},
    "proxy.ops.run_command": {
        "argparse",
        "proxy.config.parsers",
        "proxy.agent.serve",
        "proxy.ops.supervisor",
        "proxy.tools.check",
        "proxy.tools.start",
    },
    "proxy.queue.opening": {"proxy.queue.redis_store"},
    "proxy.tools.top": {"proxy.tools.tui"},
    "proxy.ops.optional": {
        *("proxy.agent.relay", "proxy.agent.serve", "proxy.net.feeds"),
        *("proxy.net.duplicates_redis", "proxy.net.duplicates_sqlite"),
        *("proxy.queue.keeper", "proxy.queue.opening", "proxy.queue.records"),
    },
}
WORLD = {"asyncio", "socket", "ssl", "time", "os", "logging", "random", "secrets", "threading", "subprocess", "signal"}


def floor(module: str) -> int:
    """0 for the words at the top of the package; ``proxy.__main__`` stands above everything."""
    parts = module.split(".")
    if parts[1:] == ["__main__"]:
        return 9
    return FLOORS.get(parts[1], 0) if len(parts) > 1 else 0


def ours(module: str) -> set[str]:
    found = {name for name in MODULES[module].imports if name in MODULES and name != module}
    # "from proxy.core import policy" names the package too, but needs only the module
    return {name for name in found if not any(other.startswith(name + ".") for other in found)} - {"proxy"}


def test_imports_go_down() -> None:
    assert [(module, name) for module in MODULES for name in ours(module) if floor(name) > floor(module)] == []


def test_there_is_no_cycle() -> None:
    graph = {module: ours(module) for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


def test_the_core_touches_no_world() -> None:
    core = {module: source for module, source in MODULES.items() if floor(module) <= 1}
    roots = {module: {name.split(".")[0] for name in source.imports} for module, source in core.items()}
    assert {module: names & WORLD for module, names in roots.items() if names & WORLD} == {}


def test_what_serves_without_a_wing_never_imports_it() -> None:
    def wing(module: str) -> str | None:
        part = module.split(".")[1:2]
        return part[0] if part and part[0] in WINGS else None

    stray = {
        (module, name)
        for module in MODULES
        for name in ours(module) - in_passing(module)
        if wing(name) is not None and wing(name) != wing(module) and not module.startswith("proxy.tools.")
    }
    assert stray == set()


def in_passing(module: str) -> set[str]:
    """The modules that are imported inside functions, by the statements there."""
    functions = [node for node in MODULES[module].nodes if isinstance(node, FUNCTIONS)]
    found = {name for function in functions for name in imported(ast.walk(function))}
    return {name for name in found if not any(other.startswith(name + ".") for other in found)}


def test_imports_in_passing_are_of_what_is_asked_for() -> None:
    """Then a module is imported by name from its package, or one thing from a module; all of them are listed."""
    found = {module: names for module in MODULES if (names := in_passing(module))}
    assert found.keys() == ASKED_FOR.keys()
    stray = {
        module: {name for name in names if name not in listed and name.rpartition(".")[0] not in listed}
        for module, names in found.items()
        for listed in [ASKED_FOR[module]]
    }
    assert {module: names for module, names in stray.items() if names} == {}


def test_nothing_is_imported_by_a_computed_name() -> None:
    """No tool could follow it, and no type checker."""
    calls = {
        module
        for module in MODULES
        for node in MODULES[module].nodes
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"importlib.import_module", "import_module", "__import__"}
    }
    assert calls == set()


def test_what_serves_imports_no_tool() -> None:
    above = {module for module in MODULES if not module.startswith("proxy.tools")}
    importing = {module for module in above if any(name.startswith("proxy.tools") for name in ours(module))}
    assert importing <= {"proxy.ops.cli", "proxy.ops.run_command"}
    for module in importing:
        at_once = {name for node in MODULES[module].tree.body for name in imported([node])}
        assert not [name for name in at_once if name.startswith("proxy.tools")]
