"""The threat model names a test for every threat, and every test of a threat is named there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
ROW = re.compile(r"^\| ([A-Z][0-9]+[a-z]?) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
ROWS = {row[1]: row for row in ROW.finditer(PAGE)}
#: At least these; further rows of a letter are numbered without a gap.
COUNTS = {"F": 16, "S": 13, "H": 9, "E": 6, "R": 11, "D": 17, "T": 5}


def named_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


FILES = sorted((ROOT / "tests").rglob("test_*.py"))


@cache
def known() -> set[str]:
    """The names of all tests and their files."""
    return set().union(*map(named_in, FILES)) | {path.name for path in FILES}


def test_every_threat_has_a_row() -> None:
    for letter in {row[0] for row in ROWS} | COUNTS.keys():
        numbers = {int(row[1:].rstrip("abc")) for row in ROWS if row[0] == letter}
        assert sorted(numbers) == [*range(1, max(len(numbers), COUNTS.get(letter, 1)) + 1)], letter


@pytest.mark.parametrize("threat", ROWS)
def test_every_row_names_tests(threat: str) -> None:
    named = re.findall(r"`([a-z0-9_.]+)`", ROWS[threat][4])
    assert named
    assert sorted(set(named) - known()) == []


def test_every_test_that_is_named_exists() -> None:
    assert sorted(set(re.findall(r"`(test_[a-z0-9_.]+)`", PAGE)) - known()) == []


def test_every_test_of_a_threat_is_in_its_row() -> None:
    for name in set().union(*(named_in(path) for path in FILES if path.name.startswith("test_threats_"))):
        begins = re.match(r"test_((?:[fshredgo][0-9]+[a-c]?_)+)", name)
        for threat in begins[1].strip("_").split("_") if begins else []:
            assert name in ROWS[threat[0].upper() + threat[1:]][4], name
