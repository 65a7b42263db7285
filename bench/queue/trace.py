"""What a process has written, from ``strace``: changes of files below a folder, syncs, and answers on sockets.

A change counts from when its call began, a sync from when it returned. What is mapped into memory is not seen: of the
store that is the index of the write-ahead log alone, which SQLite makes again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CALLS = (
    "openat,write,writev,pwrite64,pwritev,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,link,"
    "linkat,mkdir,mkdirat,sendto,sendmsg"
)
#: No file name has it: the end of a path of what has no name.
NAMELESS = "#"

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")
_RESULT = re.compile(r"\) += (-?\d+)")
_SENDING = {"write", "writev", "sendto", "sendmsg"}
_SYNCING = {"fsync", "fdatasync"}


@dataclass(slots=True)
class Call:
    """One system call that succeeded. ``path`` is what it is about; ``data`` what was written, or the other path."""

    at: float  # seconds since the epoch
    name: str
    path: str
    data: bytes = b""
    number: int = 0  # offset, length or flags

    @property
    def other(self) -> str:
        return self.data.decode()


def command(trace: Path, program: Sequence[str]) -> list[str]:
    """``program`` under strace, recorded in ``trace``."""
    return ["strace", "-f", "-y", "-xx", "-ttt", "-s", "40000000", "-o", str(trace), "-e", f"trace={CALLS}", *program]


def read_calls(trace: Path) -> Iterator[Call]:
    """The calls in ``trace``, in their order."""
    lines = trace.read_text().splitlines()
    starts: dict[str, int] = {}
    whole: list[tuple[int, float, str, str]] = []  # place, time, name, arguments and result
    for place, line in enumerate(lines):
        if (found := _LINE.match(line)) is None:
            continue
        process, at, resumed, name, rest = found.groups()
        if resumed:
            begun = starts.pop(process, None)
            if begun is None:
                continue
            whole.append((place if resumed in _SYNCING else begun, float(at), resumed, _arguments(lines[begun]) + rest))
        elif rest.endswith("<unfinished ...>"):
            starts[process] = place
        else:
            whole.append((place, float(at), name, rest))
    # What never returned may have happened as well: it is left out, as if the end had come before it.
    for _, at, name, rest in sorted(whole, key=lambda each: each[0]):
        result = _RESULT.search(rest)
        if result is not None and int(result[1]) >= 0:
            yield from _call(at, name, rest, int(result[1]))


def _arguments(line: str) -> str:
    found = _LINE.match(line)
    assert found is not None
    return found[5].removesuffix("<unfinished ...>")


def _call(at: float, name: str, rest: str, result: int) -> Iterator[Call]:
    strings = [_bytes(text) for text in _STRING.findall(rest)]
    described = [_bytes(text).decode() for text in _DESCRIPTOR.findall(rest)]
    if name == "openat":
        yield Call(at, name, _join(described[0] if described else "", strings[0]), number=_flags(rest))
    elif name in _SENDING and described[0].startswith("socket:"):
        yield Call(at, "send", described[0], b"".join(strings))
    elif name in {"write", "writev"}:
        yield Call(at, "write", described[0], b"".join(strings)[:result], -1)
    elif name == "pwrite64":
        offset = int(rest.rpartition(") ")[0].rpartition(", ")[2])
        yield Call(at, "write", described[0], strings[0][:result], offset)
    elif name == "ftruncate":
        yield Call(at, "truncate", described[0], number=int(rest.rpartition(") ")[0].rpartition(", ")[2]))
    elif name in _SYNCING:
        yield Call(at, "sync", described[0])
    elif name in {"mkdir", "mkdirat", "unlink", "unlinkat"}:
        yield Call(at, name.removesuffix("at"), _join(described[0] if described else "", strings[0]))
    elif name == "linkat":  # of an open file, by its place in /proc
        yield Call(at, "link", described[0], strings[-1])
    elif name.startswith("rename"):
        yield Call(at, "rename", strings[0].decode(), strings[-1])
    elif name not in {"sendto", "sendmsg"}:
        raise ValueError(f"{name} is not understood: {rest[:200]}")


def _flags(rest: str) -> int:
    """1: it makes the file where there is none, 2: it empties it, 4: the file has no name."""
    return ("O_CREAT" in rest) + 2 * ("O_TRUNC" in rest) + 4 * ("O_TMPFILE" in rest)


def _join(folder: str, path: bytes) -> str:
    return str(PurePosixPath(folder) / path.decode())


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
