"""Secrets by reference: ``file:/path``, ``env:NAME``, ``cred:NAME`` (systemd's credentials directory).

Nothing here ever puts into an error or a warning what it read, nor what it was told to read where that may be the
secret itself by mistake: the place in the configuration says enough. A symbolic link is followed where root or we
ourselves made it, as Kubernetes does for every secret that it mounts; anybody else's could have us read, as root, what
is theirs to choose (``config.guarded_files``). What others may read is said.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from proxy.config.guarded_files import open_for_reading
from proxy.config.notes import Note
from proxy.errors import Mistake
from proxy.values import frozen

#: No key that a provider gives is near this; a log file named by mistake is beyond it.
MAX_SECRET_BYTES = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_WHY = {
    errno.ENOENT: ("the file of this secret does not exist", "create it, or mend the path"),
    errno.ENOTDIR: ("the path of this secret goes through a file", "mend the path"),
    errno.EACCES: ("the file of this secret may not be read", "let the user that runs hookward read it"),
    errno.EPERM: ("the file of this secret may not be read", "let the user that runs hookward read it"),
    errno.EXDEV: (
        "the path of this secret has a symbolic link in it that another user made",
        "name the file that it leads to",
    ),
    errno.ELOOP: ("the path of this secret is a loop of symbolic links", "mend the links"),
}
_DEFAULT_WHY = ("the file of this secret cannot be read", "name a readable file")


@frozen
class Found:
    """The value of a reference, and what should be said about how it was found."""

    value: bytes = field(repr=False)
    notes: tuple[Note, ...] = ()


def read_reference(reference: str, base: str, environ: Mapping[str, str]) -> Found:
    """The secret behind a reference. Relative paths start from ``base``. Mistake where there is none."""
    prefix, _, name = reference.partition(":")
    if prefix == "file":
        return _from_file(os.path.join(base, name))  # noqa: PTH118  # "" keeps a relative path as it was typed
    if prefix == "env":
        return _from_variable(name, environ)
    return _from_credential(name, environ)


def read_bounded(path: str, limit: int, *, any_link: bool = False) -> tuple[bytes, os.stat_result]:
    """At most ``limit`` + 1 bytes of a regular file, and what the file is. OSError where it cannot be read, or another
    user's link is on the way to it and not ``any_link`` will do.
    """
    # O_NONBLOCK: opening a FIFO without a writer would wait for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags) if any_link else open_for_reading(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = b""
        while len(data) <= limit:
            piece = os.read(descriptor, min(limit, max(status.st_size - len(data), 0)) + 1)
            if not piece:
                break
            data += piece
        return data, status
    finally:
        os.close(descriptor)


def _from_file(path: str) -> Found:
    if "\0" in path:
        raise Mistake("the path of this secret has a NUL", "mend the path")
    try:
        value, status = read_bounded(path, MAX_SECRET_BYTES)
    except OSError as error:
        raise Mistake(*_WHY.get(error.errno or 0, _DEFAULT_WHY)) from None
    if len(value) > MAX_SECRET_BYTES:
        raise Mistake("the file of this secret is larger than 64KiB", "name the file that holds the secret alone")
    notes = _exposed(status)
    for ending in (b"\r\n", b"\n"):
        if value.endswith(ending):
            value = value.removesuffix(ending)
            notes.append(Note("H108", "one trailing newline was removed"))
            break
    return _checked(value, notes)


def key_notes(path: str) -> list[Note]:
    """What to say of who else may read the file of a private key; nothing where the file cannot be looked at."""
    try:
        return _exposed(Path(path).stat(), f"private key, {path}")
    except OSError:
        return []


def _exposed(status: os.stat_result, what: str = "secret") -> list[Note]:
    """What to say of who else may read a secret's file. A group that reads what root alone may write is how a service
    comes to a secret without owning it: so systemd, Kubernetes and packages hand theirs over.
    """
    mode = stat.S_IMODE(status.st_mode)
    kept, excess = ("640", 0o037) if status.st_uid == 0 else ("600", 0o077)
    if not mode & excess:
        return []
    text = f"other users may read the file of this {what} (mode {mode:04o}): chmod {kept} keeps them out"
    return [Note("H101", text)]


def _from_variable(name: str, environ: Mapping[str, str]) -> Found:
    if not _VARIABLE.fullmatch(name):
        raise Mistake("this is not the name of an environment variable", "write its name, never the secret itself")
    if name not in environ:
        raise Mistake("no environment variable of this name is set", "set it where hookward is started")
    return _checked(os.fsencode(environ[name]), [])


def _from_credential(name: str, environ: Mapping[str, str]) -> Found:
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        raise Mistake(
            "there is no credentials directory: systemd sets $CREDENTIALS_DIRECTORY",
            "add LoadCredential= or SetCredentialEncrypted= to the unit, or use file:",
        )
    if not _CREDENTIAL.fullmatch(name):
        raise Mistake("this is not the name of a credential", "write the name that the unit gives it")
    return _from_file(f"{folder}/{name}")


def _checked(value: bytes, notes: list[Note]) -> Found:
    if not value:
        raise Mistake("this secret is empty", "an empty secret would prove nothing: put the value there")
    if value != value.strip():
        notes.append(Note("H107", "the secret begins or ends with a blank or newline, which is taken as part of it"))
    return Found(value, tuple(notes))
