"""The kept corpus: for each row of the table one text file, an input a line, written as Python writes bytes."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
#: Larger inputs teach the fuzzer little and cost every run.
MAX_INPUT = 2048


def load(name: str) -> list[bytes]:
    """The inputs that are kept for a row; none where nothing is kept yet."""
    path = FOLDER / f"{name}.txt"
    return [ast.literal_eval(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


def save(name: str, inputs: Iterable[bytes]) -> int:
    """Keep these inputs instead, short ones first; how many they are."""
    kept = sorted({data for data in inputs if len(data) <= MAX_INPUT}, key=lambda data: (len(data), data))
    (FOLDER / f"{name}.txt").write_text("".join(f"{data!r}\n" for data in kept), "ascii")
    return len(kept)


def unpack(name: str, folder: Path) -> None:
    """The inputs as files, as the fuzzer wants them."""
    for number, data in enumerate(load(name)):
        (folder / f"{number:05}").write_bytes(data)


def pack(folder: Path) -> list[bytes]:
    """What the fuzzer has left in its folder."""
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]
