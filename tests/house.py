"""The sources of the package, read once, and how big, how tangled and how well described each of their parts is."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
IGNORE = re.compile(r"#\s*(?:noqa|type:\s*ignore)(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|\[[a-z, -]+\])?(.*)")
#: What makes a second way through a function; a chain of "and" makes as many as it has links.
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)


@dataclass(frozen=True)
class Part:
    """A class or a function: where it stands, and its code lines."""

    place: str
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    size: int

    @cached_property
    def complexity(self) -> int:
        """How many ways lead through it, as McCabe counts; what is defined within counts for itself."""
        return 1 + sum(
            len(node.values) - 1 if isinstance(node, ast.BoolOp) else isinstance(node, BRANCHES)
            for node in own_nodes(self.node)
        )


@dataclass(frozen=True)
class Source:
    """A module of the package."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def module(self) -> str:
        return ".".join(self.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.text).readline))

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> frozenset[str]:
        """What it imports, anywhere."""
        return frozenset(imported(self.nodes))

    @cached_property
    def code(self) -> set[int]:
        """The numbers of the lines of code: no blanks, no comments, no docstrings."""
        lines: set[int] = set()
        for token in self.tokens:
            if token.type not in SILENT:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in self.nodes:
            if isinstance(node, ast.Module | ast.ClassDef | FUNCTIONS) and ast.get_docstring(node):
                lines.difference_update(lines_of(node.body[0]))
        return lines

    @cached_property
    def classes(self) -> list[Part]:
        return [self._part(node) for node in self.nodes if isinstance(node, ast.ClassDef)]

    @cached_property
    def functions(self) -> list[Part]:
        return [self._part(node) for node in self.nodes if isinstance(node, FUNCTIONS)]

    def _part(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Part:
        return Part(f"{self.name}:{node.name}", node, len(self.code & set(lines_of(node))))

    @cached_property
    def ignores(self) -> list[tuple[str, str]]:
        """Where a check is turned off, and what is said about it."""
        comments = [token for token in self.tokens if token.type == tokenize.COMMENT]
        found = [(f"{self.name}:{token.start[0]}", IGNORE.match(token.string)) for token in comments]
        return [(place, match[1].strip(" #-")) for place, match in found if match]

    def undocumented(self) -> Iterator[str]:
        """What is public, may be called from elsewhere, and does not say what it is for."""
        if not ast.get_docstring(self.tree):
            yield self.name
        yield from self._undocumented(self.tree)

    def _undocumented(self, around: ast.Module | ast.ClassDef) -> Iterator[str]:
        inherits = isinstance(around, ast.ClassDef) and bool(around.bases)
        for node in around.body:
            if not isinstance(node, ast.ClassDef | FUNCTIONS) or node.name.startswith("_"):
                continue
            # A method without words of its own has those of the class that its class extends, as asyncio's callbacks.
            told = inherits and isinstance(node, FUNCTIONS)
            if not (ast.get_docstring(node) or told or is_overload(node)):
                yield f"{self.name}:{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from self._undocumented(node)


def is_overload(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(each) == "overload" for each in node.decorator_list)


def lines_of(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def own_nodes(around: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(around):
        if not isinstance(node, FUNCTIONS | ast.ClassDef):
            yield node
            yield from own_nodes(node)


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Every module name that an import statement among ``nodes`` may mean."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


SOURCES = [Source(path) for path in sorted((ROOT / "proxy").rglob("*.py"))]
MODULES = {source.module: source for source in SOURCES}
