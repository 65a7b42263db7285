"""The shape of the house, kept by a test and not by memory: small parts, words for each of them, and tests."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable

import pytest

from proxy.reasons import Reason
from tests.house import FUNCTIONS, MODULES, ROOT, SOURCES, Part

#: The first of them reads the whole package: seconds of work, and more than a minute where everything is busy.
pytestmark = pytest.mark.timeout(600)

MAX_FUNCTION_LINES = 60
MAX_CLASS_LINES = 220
MAX_FILE_LINES = 300
MAX_COMPLEXITY = 10
#: Comments that turn a check off, of 1,000 code lines.
MAX_IGNORES = 2

#: Of 100 functions, those that are more tangled; and words of the docs for each code line.
TANGLED_PER_100 = 1
DOCS_PER_LINE = 2


def code_lines() -> int:
    return sum(len(source.code) for source in SOURCES)


def functions() -> list[Part]:
    return [part for source in SOURCES for part in source.functions]


def within(parts: Iterable[Part], most: int) -> None:
    assert {part.place: part.size for part in parts if part.size > most} == {}


def test_functions_are_short() -> None:
    within(functions(), MAX_FUNCTION_LINES)


def test_classes_are_small() -> None:
    within((part for source in SOURCES for part in source.classes), MAX_CLASS_LINES)


def test_files_are_small() -> None:
    sizes = {source.name: len(source.code) for source in SOURCES}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_few_functions_are_tangled() -> None:
    tangled = {part.place: part.complexity for part in functions() if part.complexity > MAX_COMPLEXITY}
    assert 100 * len(tangled) <= TANGLED_PER_100 * len(functions()), tangled


def test_few_checks_are_turned_off_and_each_for_a_reason() -> None:
    ignores = [each for source in SOURCES for each in source.ignores]
    assert 1000 * len(ignores) <= MAX_IGNORES * code_lines()
    reasonless = ("as above", "as below", "see below")
    assert [place for place, why in ignores if not why or why.startswith(reasonless)] == []


def test_everything_public_says_what_it_is_for() -> None:
    assert [place for source in SOURCES for place in source.undocumented()] == []


def test_classes_have_names_of_their_own() -> None:
    names = Counter(part.node.name for source in SOURCES for part in source.classes)
    assert [name for name, times in names.items() if times > 1] == []


def test_there_are_words_enough() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    words = sum(len(page.read_text().split()) for page in pages)
    assert words >= DOCS_PER_LINE * code_lines()


def test_every_module_has_a_test() -> None:
    """A file of its name, or one of its floor that imports it: what is only used in passing is tried at no edge."""
    files = {path.relative_to(ROOT / "tests"): path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    untested = []
    for module, source in MODULES.items():
        package, _, name = module.rpartition(".")
        floor = source.path.relative_to(ROOT / "proxy").parts[:-1][:1]
        tests = {path: text for path, text in files.items() if path.parts[:-1][:1] == floor}
        uses = re.compile(rf"^(from|import) {module}\b|^from {package} import (\([^)]*|.*)\b{name}\b", re.MULTILINE)
        named = any(path.name == f"test_{name}.py" for path in tests)
        if not (named or source.path.stem in {"__init__", "__main__"} or any(map(uses.search, tests.values()))):
            untested.append(module)
    assert untested == []


def test_every_reason_has_a_word_of_its_own() -> None:
    words = [reason.word for reason in Reason]
    assert len(set(words)) == len(words)


def test_every_reason_is_in_the_log_reference() -> None:
    reference = (ROOT / "docs" / "log-reference.md").read_text()
    for reason in Reason:
        [row] = [line for line in reference.splitlines() if line.startswith(f"| `{reason.word}` |")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == (str(reason.status) if reason.status else "-")
        assert cells[2] == reason.ended_by.value
        assert all(len(cell) > 10 for cell in cells[3:6]), "meaning, likely cause, what to do"


@pytest.mark.parametrize(
    ("code", "complexity"),
    [
        ("pass", 1),
        ("if a and b or c: pass\nelif d: pass", 5),
        ("for a in b:\n  while c: x = [d for d in e if f]", 4),
        ("try: a\nexcept B: c if d else e", 3),
        ("def inner():\n  if a: pass", 1),
    ],
)
def test_how_tangled_a_function_is(code: str, complexity: int) -> None:
    tree = ast.parse("def f():\n" + "".join(f"  {line}\n" for line in code.splitlines()))
    [function] = tree.body
    assert isinstance(function, FUNCTIONS)
    assert Part("f", function, 1).complexity == complexity
