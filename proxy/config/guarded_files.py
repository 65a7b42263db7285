"""Files in folders that another user may change: opened so that nobody can lead us to a file of somebody else's.

Root becomes a user, and works in that user's folders before and after; whoever owns a folder can put a link, a pipe or
a second name of any file there. So a path is walked folder by folder, and a symbolic link on it, at its end or on its
way, counts only where root or we ourselves made it. What is to be written must, in a folder that others may change, be
a regular file with that one name, of root's, ours, or of the folder's owner. Each look is at an open descriptor, so
nothing can be exchanged between the look and the use. This module knows no log, no secret and no socket.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from proxy.values import frozen

#: As the kernel counts (path_resolution(7)).
_MAX_LINKS = 40
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
Kind = Callable[[int], bool]  # of a mode, as stat.S_ISREG
#: A folder or a link itself, as what it is: without any right to read it. The last only of Linux, as all of us.
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class ForeignLinkError(OSError):
    """A symbolic link that neither root nor we have made."""

    def __init__(self) -> None:
        super().__init__(errno.EXDEV, "a symbolic link that another user made")


@frozen
class Spot:
    """The end of a path: ``name`` in the open folder ``folder``. ``shared``: others than root and us may change what
    is in that folder, ``owner`` above all. ``certain``: they can nowhere on the way put another folder in the place of
    one. ``follows``: the name is one of the kernel's own links to what a process has open (/proc).
    """

    folder: int
    name: str
    shared: bool
    certain: bool
    owner: int
    follows: bool

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open it, not following a link. A pipe that has no other end is an error, and nothing that is waited for."""
        follow = 0 if self.follows else os.O_NOFOLLOW
        descriptor = os.open(self.name or ".", flags | follow | os.O_CLOEXEC | os.O_NONBLOCK, mode, dir_fd=self.folder)
        os.set_blocking(descriptor, True)
        return descriptor

    @property
    def path(self) -> str:
        """A path to it that nobody can lead elsewhere, for calls that know no folders, while the folder is open."""
        return f"/proc/self/fd/{self.folder}/{self.name}"

    def look(self) -> os.stat_result:
        """What it is now; of a link, the link. Raises OSError."""
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    def unlink(self) -> None:
        """Remove it. Raises OSError."""
        os.unlink(self.name, dir_fd=self.folder)  # pathlib knows no folders


@contextmanager
def reach(path: str, *, to_link: bool = False) -> Iterator[Spot]:
    """The end of ``path``, which need not be there yet; ``to_link``: where that is a link, the link itself. Raises
    OSError where its folder cannot be had.
    """
    walk = _PathWalk(path, to_link=to_link)
    try:
        while walk.steps():
            pass
        yield walk.spot
    finally:
        os.close(walk.folder)


class _PathWalk:
    """The way along a path, folder by folder. ``folder`` is open, for the caller to close."""

    def __init__(self, path: str, *, to_link: bool) -> None:
        self._to_link = to_link
        self._parts = deque(path.split("/"))
        self._name = ""
        self._links = 0
        self._certain = True
        self.folder = os.open("/" if path.startswith("/") else ".", _LOOK | os.O_DIRECTORY)

    @property
    def spot(self) -> Spot:
        status = os.fstat(self.folder)
        known = status.st_uid in _known()
        shared = not known or bool(status.st_mode & _WRITABLE)
        return Spot(self.folder, self._name, shared, self._certain, status.st_uid, _is_proc(self.folder))

    def steps(self) -> bool:
        """Go on by one part of the path; False at its end."""
        name = self._name = self._parts.popleft()
        self._certain &= _is_certain(os.fstat(self.folder))
        if name in {"", "."} and self._parts:
            return True
        found = self._open(name or ".")
        if found is None:
            return False
        mode = os.fstat(found).st_mode
        if stat.S_ISLNK(mode) and (self._parts or not self._to_link):
            return self._follow(found)
        if not self._parts:
            os.close(found)
            return False
        self._enter(found)
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return True

    def _open(self, name: str) -> int | None:
        """One part of the path; None where the last one is not there."""
        try:
            return os.open(name, _LOOK, dir_fd=self.folder)
        except FileNotFoundError:
            if self._parts:
                raise
            return None

    def _follow(self, link: int) -> bool:
        self._links += 1
        target = _led_to(self.folder, link, self._links)
        if target is None:
            return False
        if target.startswith("/"):
            self._enter(os.open("/", _LOOK | os.O_DIRECTORY))
        self._parts.extendleft(reversed(target.split("/")))
        return True

    def _enter(self, folder: int) -> None:
        os.close(self.folder)
        self.folder = folder


def _is_certain(folder: os.stat_result) -> bool:
    """Whether only root and we can exchange what lies in it."""
    # In a folder such as /tmp nobody can exchange what is root's or ours; what is another's folder is seen next.
    writable = folder.st_mode & _WRITABLE and not folder.st_mode & stat.S_ISVTX
    return folder.st_uid in _known() and not writable


def _known() -> set[int]:
    """Who may be trusted with our files: root, and who we are."""
    return {0, os.geteuid()}


def _led_to(folder: int, link: int, links: int) -> str | None:
    """Where a link leads; None for one of the kernel's own. ``link`` is closed."""
    try:
        if _is_proc(folder):
            # /proc/self is a link like any other; what is behind a descriptor has no path to walk.
            text = os.readlink("", dir_fd=link)
            return text if text.isdecimal() or "/task/" in text else None
        if os.fstat(link).st_uid not in _known():
            raise ForeignLinkError
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def _is_proc(folder: int) -> bool:
    with suppress(OSError):
        return os.fstat(folder).st_dev == os.stat("/proc").st_dev  # noqa: PTH116  # numbers, no path
    return False


def open_for_reading(path: str) -> int:
    """Open a file that is there. Raises OSError, ForeignLinkError among them."""
    with reach(path) as spot:
        return spot.open(os.O_RDONLY)


def open_below(folder: str, name: str) -> int:
    """Open a file that is there, by its path from ``folder``. No link is followed, whoever made it, and there is no way
    out of the folder. Raises OSError.
    """
    parts = name.split("/")
    if not all(parts) or ".." in parts:
        raise OSError(errno.EXDEV, "it lies outside the folder")
    at = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _LOOK | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


def open_for_writing(path: str, flags: int, mode: int, *, owners: Iterable[int] = ()) -> int:
    """Open a file, made with ``mode`` where ``flags`` say so. In a folder that others may change it must be a regular
    file, under this one name, of root, of us, of the folder's owner or of ``owners``. Raises OSError.
    """
    with reach(path) as spot:
        descriptor = spot.open(flags, mode)
        try:
            if spot.shared and not spot.follows:
                _judge(spot, descriptor, {*_known(), spot.owner, *owners})
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _judge(spot: Spot, descriptor: int, owners: set[int], *, kind: Kind = stat.S_ISREG) -> None:
    """OSError where what is open is not what it must be to be written, in a folder that others may change."""
    ours, named = os.fstat(descriptor), spot.look()
    if not kind(ours.st_mode):
        raise OSError(errno.EINVAL, "not a regular file, in a folder that other users may change")
    # In one look: the name still is this file's, and its only one. A second one may be that of anybody's file.
    if (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino) or named.st_nlink != 1:
        raise OSError(errno.EMLINK, "a file with several names, in a folder that other users may change")
    if ours.st_uid not in owners:
        raise PermissionError(errno.EPERM, "another user's file, in a folder that other users may change")


def give_away(path: str, uid: int, gid: int, *, kind: Kind = stat.S_ISREG) -> None:
    """Make a file that is ours another user's, where it is of that kind, has this one name and is no link. What is that
    user's already stays it: several workers give the same away. Raises OSError.
    """
    with reach(path, to_link=True) as spot:
        descriptor = os.open(spot.name, _LOOK, dir_fd=spot.folder)
        try:
            _judge(spot, descriptor, {os.geteuid(), uid}, kind=kind)
            # By the descriptor: the name may be another file's by now.
            os.chown(f"/proc/self/fd/{descriptor}", uid, gid)
        finally:
            os.close(descriptor)


def write_private(path: str, data: bytes) -> None:
    """Write ``data`` into the file ``path``, for us alone (0600), whatever was in it. Where it is there already it must
    be a regular file of ours with that one name, and no link. Raises OSError.
    """
    with reach(path, to_link=True) as spot:
        descriptor = spot.open(os.O_WRONLY | os.O_CREAT)
        with os.fdopen(descriptor, "wb") as file:
            _judge(spot, descriptor, {os.geteuid()})
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            file.write(data)


def make_folder(path: str, mode: int = 0o700) -> None:
    """Make a folder, and those around it that are missing. Raises OSError where that cannot be."""
    try:
        with reach(path) as spot:
            os.mkdir(spot.name, mode, dir_fd=spot.folder)
            if os.geteuid() == 0 and spot.owner:
                os.chown(spot.name, spot.owner, -1, dir_fd=spot.folder, follow_symlinks=False)
    except FileExistsError:
        pass
    except FileNotFoundError:
        around = folder_of(path.rstrip("/"))
        if around in {"", path}:
            raise
        make_folder(around, mode)
        make_folder(path, mode)


def replace_file(path: str, data: bytes, modified: float) -> None:
    """Put a new file (0600) with ``data`` in the place of ``path``: a reader sees the old one or the new one, whole.
    ``modified`` is its time, in seconds since the epoch. Raises OSError, and then the old one is still there.
    """
    with reach(path) as spot:
        name = f".{spot.name}.{os.urandom(4).hex()}"
        descriptor = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=spot.folder
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
                os.utime(descriptor, (modified, modified))
                if os.geteuid() == 0 and spot.owner:
                    os.fchown(descriptor, spot.owner, -1)  # what root does in a user's folder is that user's
            os.replace(name, spot.name, src_dir_fd=spot.folder, dst_dir_fd=spot.folder)  # one rename
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=spot.folder)  # as above
            raise


def judge_place(path: str) -> None:
    """OSError where root would open a database, by its name, in a folder where another user may exchange it."""
    with reach(path) as spot:
        if os.geteuid() == 0 and not spot.certain:
            why = "root keeps no database where another user may exchange it: name the user to become, --user NAME"
            raise PermissionError(errno.EPERM, why)


def beside(folder: str, path: str) -> str:
    """``path``, where it is relative as seen from ``folder``; "" is the folder that we stand in."""
    return os.path.join(folder, path)  # noqa: PTH118 - pathlib would write "./a" and "a//b" in another way


def folder_of(path: str) -> str:
    """What ``path`` lies in; "" where it is a bare name."""
    return os.path.dirname(path)  # noqa: PTH120 - pathlib makes "." of ""
