"""``Disk``: what a disk may hold after the power has failed, as a model that is stricter than most.

A write is kept for sure once its file has been synced, and a name once its folder has been; a folder's own name, too.
Until then each is kept or not for itself, a write in sectors of 512 bytes. (Real file systems order more than this.)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bench.queue.trace import Call

SECTOR = 512


@dataclass(slots=True, eq=False)
class Inode:
    """A file, or a folder where ``folder`` is true."""

    folder: bool = False
    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset and data, or a length and None
    size: int = 0  # as the process sees it

    def content(self, kept: Mapping[int, list[bool]] | None) -> bytes:
        """What is there with these of the pending writes, by sector; None: with none of them."""
        data = bytearray(self.safe)
        for place, (offset, written) in enumerate(self.pending if kept is not None else []):
            sectors = kept.get(place) if kept else None
            if written is None:
                if sectors is None or sectors[0]:
                    resize(data, offset)
            elif sectors is None:
                put(data, offset, written)
            else:
                for index, keep in enumerate(sectors):
                    if keep:
                        piece = written[index * SECTOR : (index + 1) * SECTOR]
                        put(data, offset + index * SECTOR, piece)
        return bytes(data)


def put(data: bytearray, offset: int, written: bytes) -> None:
    if len(data) < offset:
        resize(data, offset)
    data[offset : offset + len(written)] = written


def resize(data: bytearray, size: int) -> None:
    if len(data) > size:
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


@dataclass(slots=True, frozen=True)
class Naming:
    """A change of one folder that is not synced: ``path`` is now this inode, or none."""

    path: str
    inode: Inode | None
    instead: str = ""  # it was called this before, in the same step


Keep = Callable[[Inode], dict[int, list[bool]] | None]


class Disk:
    """The disk below ``root``, from its first write on."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.live: dict[str, Inode] = {}
        self.safe: dict[str, Inode] = {}
        self.namings: list[Naming] = []
        self._nameless = {self.root: Inode(folder=True)}

    def load(self, folder: Path) -> None:
        """Begin with what is in ``folder``, all of it safe."""
        for path in sorted(folder.rglob("*")):
            name = f"{self.root}/{path.relative_to(folder)}"
            if path.is_dir():
                inode = Inode(folder=True)
            elif path.is_file():
                data = path.read_bytes()
                inode = Inode(safe=bytearray(data), size=len(data))
            else:
                continue
            self.live[name] = self.safe[name] = inode

    def does(self, call: Call) -> bool:
        """Take the call in; whether it changed what may be there."""
        if call.path != self.root and not call.path.startswith(self.root + "/"):
            return False
        match call.name:
            case "openat":
                return self._open(call)
            case "write" | "truncate":
                self._write(call)
            case "sync":
                self._sync(call.path)
            case "mkdir":
                self._name(call.path, Inode(folder=True))
            case "unlink":
                self._name(call.path, None)
            case "link":
                self._name(call.other, self._find(call.path))
            case "rename":
                inode = self.live.pop(call.path)
                self.live[call.other] = inode
                self.namings.append(Naming(call.other, inode, call.path))
            case _:
                return False
        return True

    def _open(self, call: Call) -> bool:
        if call.number & 4 or (call.path not in self.live and not call.number & 1):
            return False
        if call.path not in self.live:
            self._name(call.path, Inode())
            return True
        inode = self.live[call.path]
        if call.number & 2 and inode.size:
            inode.pending.append((0, None))
            inode.size = 0
            return True
        return False

    def _find(self, path: str) -> Inode:
        if path in self.live:
            return self.live[path]
        return self._nameless.setdefault(path, Inode())

    def _write(self, call: Call) -> None:
        inode = self._find(call.path)
        if call.name == "truncate":
            inode.pending.append((call.number, None))
            inode.size = call.number
            return
        offset = inode.size if call.number < 0 else call.number
        inode.pending.append((offset, call.data))
        inode.size = max(inode.size, offset + len(call.data))

    def _sync(self, path: str) -> None:
        inode = self._find(path)
        if inode.folder:
            mine = [each for each in self.namings if str(PurePosixPath(each.path).parent) == path]
            self.namings = [each for each in self.namings if each not in mine]
            for naming in mine:
                apply(self.safe, naming)
        inode.safe = bytearray(inode.content({}))
        inode.pending = []

    def _name(self, path: str, inode: Inode | None) -> None:
        if inode is None:
            self.live.pop(path, None)
        else:
            self.live[path] = inode
        self.namings.append(Naming(path, inode))

    # -- after the power has failed

    def images(self, generator: random.Random, chances: int) -> Iterator[dict[str, bytes | None]]:
        """What may be there now: the four extremes, and ``chances`` more. Folders are None."""
        for names in (False, True):
            for writes in (False, True):
                yield self._image(self.namings if names else [], (lambda _: {}) if writes else lambda _: None)
        for _ in range(chances):
            share = generator.random()
            namings = [each for each in self.namings if generator.random() < share]
            yield self._image(namings, lambda inode: torn(inode, generator))

    def _image(self, namings: list[Naming], kept: Keep) -> dict[str, bytes | None]:
        names = dict(self.safe)
        for naming in namings:
            apply(names, naming)
        found: dict[str, bytes | None] = {}
        contents: dict[int, bytes] = {}
        for path, inode in sorted(names.items()):
            parent = str(PurePosixPath(path).parent)
            if parent != self.root and parent not in found:
                continue
            if inode.folder:
                found[path] = None
            else:
                found[path] = contents.setdefault(id(inode), inode.content(kept(inode)))
        return {path.removeprefix(self.root + "/"): content for path, content in found.items()}


def apply(names: dict[str, Inode], naming: Naming) -> None:
    if naming.inode is None:
        names.pop(naming.path, None)
        return
    if naming.instead:
        names.pop(naming.instead, None)
    names[naming.path] = naming.inode


def torn(inode: Inode, generator: random.Random) -> dict[int, list[bool]] | None:
    """Some sectors of some writes."""
    kept = {}
    for place, (_, written) in enumerate(inode.pending):
        sectors = 1 if written is None else -(-len(written) // SECTOR)
        how = generator.choice((0.0, 1.0, generator.random()))
        kept[place] = [generator.random() < how for _ in range(sectors)]
    return kept or None


def write_image(image: Mapping[str, bytes | None], folder: Path) -> None:
    """Make ``folder`` of ``image``."""
    folder.mkdir(mode=0o700)
    for path, content in image.items():
        place = folder / path
        if content is None:
            place.mkdir(mode=0o700)
        else:
            place.write_bytes(content)
            place.chmod(0o600)
