"""The shape of the house, kept by a test and not by memory: docstrings, mirror tests, short functions, small files."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

from proxy.reasons import Reason

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "proxy").rglob("*.py"))
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400

NO_MIRROR = {"__init__.py", "__main__.py"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_lines(source: str, tree: ast.AST) -> set[int]:
    """The numbers of the lines of code: no blanks, no comments, no docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_module_has_a_test_file() -> None:
    modules = [path.relative_to(ROOT / "proxy") for path in SOURCES if path.name not in NO_MIRROR]
    mirrors = [ROOT / "tests" / module.parent / f"test_{module.name}" for module in modules]
    assert [name(mirror) for mirror in mirrors if not mirror.exists()] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_functions_and_files_are_short(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    lines = code_lines(source, tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1))) for node in functions}
    assert {function: count for function, count in lengths.items() if count > MAX_FUNCTION_LINES} == {}
    assert len(lines) <= MAX_FILE_LINES


def test_every_reason_has_a_word_of_its_own() -> None:
    words = [reason.word for reason in Reason]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.word)
def test_every_reason_is_in_the_log_reference(reason: Reason) -> None:
    reference = (ROOT / "docs" / "log-reference.md").read_text()
    [row] = [line for line in reference.splitlines() if line.startswith(f"| `{reason.word}` |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == (str(reason.status) if reason.status else "-")
    assert cells[2] == reason.ended_by.value
    assert all(len(cell) > 10 for cell in cells[3:6]), "meaning, likely cause, what to do"
