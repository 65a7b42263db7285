"""The rooms of the configuration, as its docstring names them: imports go from the last to the first, never back."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import proxy.config

FOLDER = Path(proxy.config.__file__).parent
LINE = re.compile(r"^\* (\w+): [^:]+: ([a-z_,\s]+)\.$", re.MULTILINE)
ROOMS = {room: re.findall(r"\w+", names) for room, names in LINE.findall(proxy.config.__doc__ or "")}
ORDER = list(ROOMS)
ROOM_OF = {name: room for room, names in ROOMS.items() for name in names}
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def test_every_module_has_one_room() -> None:
    assert sorted(name for names in ROOMS.values() for name in names) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_to_rooms_before(name: str) -> None:
    imported = {
        str(node.module).removeprefix("proxy.config.")
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("proxy.config.")
    }
    later = {other for other in imported if ORDER.index(ROOM_OF[other]) > ORDER.index(ROOM_OF[name])}
    assert not later
