"""Secrets by reference: ``file:/path``, ``env:NAME``, ``cred:NAME`` (systemd's credentials directory).

Nothing here ever puts into an error or a warning what it read. What it was told to read is named, with the command that
mends it, but not where it may be the secret itself by mistake (``may_be_shown``). A symbolic link is followed where
root or we ourselves made it, as Kubernetes does for every secret that it mounts; anybody else's could have us read, as
root, what is theirs to choose (``config.guarded_files``). What others may read is said.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import shlex
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from proxy.config.guarded_files import beside, open_for_reading
from proxy.config.problems import Note
from proxy.errors import Mistake
from proxy.values import frozen

#: No key that a provider gives is near this; a log file named by mistake is beyond it.
MAX_SECRET_BYTES = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_WHY = {
    errno.ENOENT: ("does not exist", "make it with `hookward gen-secret --out FILE`, or mend the path"),
    errno.ENOTDIR: ("does not exist: its path goes through a file", "mend the path"),
    errno.EACCES: ("may not be read", "let the user that runs hookward read it"),
    errno.EPERM: ("may not be read", "let the user that runs hookward read it"),
    errno.EXDEV: ("has a symbolic link in it that another user made", "name the file that it leads to"),
    errno.ELOOP: ("is a loop of symbolic links", "mend the links"),
}
_MAKING = "make it with `hookward gen-secret --out FILE`"
#: Names that people give to variables; a secret in capitals has digits between its letters.
_NAMED = re.compile(r"[A-Z]+(?:_[A-Z]+)*(?:_?[0-9]{1,4})?")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}\.(?:secret|token|key|pem|crt|txt|pub)")
#: Folders and files of plain words, from the root on; a secret has digits or capitals among them.
_PLAIN_PATH = re.compile(r"(?:/[a-z]+(?:[._-][a-z]+)*)+")


@frozen
class FoundSecret:
    """The value of a reference, and what should be said about how it was found."""

    value: bytes = field(repr=False)
    notes: tuple[Note, ...] = ()


@frozen
class _Wanted:
    """A reference to a file. ``making`` says how to make it, with FILE for its path."""

    reference: str
    base: str = ""
    making: str = ""

    @property
    def path(self) -> str:
        """The file."""
        return beside(self.base, self.reference.partition(":")[2])

    @property
    def made(self) -> str:
        """How to make the file."""
        return (self.making or _MAKING).replace("FILE", shlex.quote(self.path))


def read_reference(reference: str, base: str, environ: Mapping[str, str], making: str = "") -> FoundSecret:
    """The secret behind a reference, from ``base``. Mistake where there is none; ``making`` makes its FILE."""
    prefix, _, name = reference.partition(":")
    if prefix == "file":
        return _from_file(_Wanted(reference, base, making))
    if prefix == "env":
        return _from_variable(name, environ)
    return _from_credential(name, environ)


def may_be_shown(reference: str, base: str = "") -> bool:
    """Whether it is no secret written in a reference's place: a file or folder that is there, a variable's name."""
    prefix, _, name = reference.partition(":")
    if prefix != "file":
        return _NAMED.fullmatch(name) is not None and len(name) <= 64
    try:
        return _leads_to_a_file(name, base)
    except PermissionError:  # a folder that is there, and that this user may not look into
        return True
    except (ValueError, OSError):  # a NUL, or far too long for a name
        return False


def _leads_to_a_file(name: str, base: str) -> bool:
    """Whether there is such a file or its folder, or ``name`` is written as one. Raises OSError, ValueError."""
    path, first = Path(base, name), name.lstrip("/").partition("/")[0]
    begins = Path("/" if name.startswith("/") else base, first).is_dir()
    around = begins and path.parent.is_dir() is path.parent.exists()
    worded = _FILE_NAME.fullmatch(path.name if name.startswith("/") else name) or _PLAIN_PATH.fullmatch(name)
    return path.is_symlink() or path.exists() or around or worded is not None


def read_bounded(path: str, limit: int, *, any_link: bool = False) -> tuple[bytes, os.stat_result]:
    """At most ``limit`` + 1 bytes of a regular file, and its status. OSError; also of another user's link."""
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


def _from_file(wanted: _Wanted) -> FoundSecret:
    if "\0" in wanted.path:
        raise Mistake("the path of this secret has a NUL", "mend the path")
    try:
        value, status = read_bounded(wanted.path, MAX_SECRET_BYTES)
    except OSError as error:
        raise _mistake(wanted, error) from None
    if len(value) > MAX_SECRET_BYTES:
        raise Mistake(f"{_file(wanted)} is larger than 64KiB", "name the file that holds the secret alone")
    notes = _exposed(status)
    if value.endswith(b"\n"):
        value = value[:-1].removesuffix(b"\r")
        notes.append(Note("H108", "one trailing newline was removed"))
    mend = f"remove it (rm {shlex.quote(wanted.path)}), and {wanted.made}"
    return _checked(value, notes, f"{_file(wanted)} is empty", mend)


def _file(wanted: _Wanted) -> str:
    """The file, by its name where that may be said."""
    return f"the file of this secret{f', {wanted.path},' * may_be_shown(wanted.reference, wanted.base)}"


def _mistake(wanted: _Wanted, error: OSError) -> Mistake:
    named = may_be_shown(wanted.reference, wanted.base)
    why, mend = _WHY.get(error.errno or 0, ("cannot be read", "name a readable file"))
    if error.errno == errno.ENOENT and named:
        mend = f"{wanted.made}, or mend the path"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = f"may not be read by {user_name(os.geteuid())}"
        mend = _let_read(wanted.path) if named else mend
    elif error.errno == errno.EINVAL and Path(wanted.path).is_dir():  # "not a regular file"
        why, mend = "cannot be read: it is a folder", "name a file in it"
    return Mistake(f"{_file(wanted)} {why}", mend)


def _let_read(path: str) -> str:
    """The commands that let this user read a file, and pass what is on the way to it."""
    user = user_name(os.geteuid())
    try:
        group = grp.getgrgid(os.getegid()).gr_name
    except KeyError:
        return f"let {user} read it"
    around = [str(one) for one in reversed(Path(path).absolute().parents)]
    closed = next((one for one in around if not os.access(one, os.X_OK)), None)
    steps = [] if closed is None else [(closed, "750")]
    named = [(shlex.quote(one), mode) for one, mode in [*steps, (path, "640")]]
    commands = [f"chown root:{group} {one} && chmod {mode} {one}" for one, mode in named]
    return f"let {user} read it, as root: {' && '.join(commands)}"


def user_name(uid: int) -> str:
    """``the user hookward``; by number where the host has no name for it."""
    with suppress(KeyError):
        return f"the user {pwd.getpwuid(uid).pw_name}"
    return f"the user with the number {uid}"


def key_notes(path: str) -> list[Note]:
    """What to say of who else may read the file of a private key; nothing where the file cannot be looked at."""
    with suppress(OSError):
        return _exposed(Path(path).stat(), f"private key, {path}")
    return []


def kept_mode(path: str) -> str:
    """The mode, as chmod takes it, that keeps others from reading a file; "" where nobody else may, or it is gone."""
    with suppress(OSError):
        return _kept_mode(Path(path).stat())
    return ""


def _kept_mode(status: os.stat_result) -> str:
    """As ``kept_mode``. A group that reads what root alone may write is how a service comes to a secret without owning
    it: so systemd, Kubernetes and packages hand theirs over.
    """
    kept, excess = ("640", 0o037) if status.st_uid == 0 else ("600", 0o077)
    return kept if stat.S_IMODE(status.st_mode) & excess else ""


def _exposed(status: os.stat_result, what: str = "secret") -> list[Note]:
    """What to say of who else may read a secret's file."""
    kept, mode = _kept_mode(status), stat.S_IMODE(status.st_mode)
    text = f"other users may read the file of this {what} (mode {mode:04o}): chmod {kept} keeps them out"
    return [Note("H101", text)] if kept else []


def _from_variable(name: str, environ: Mapping[str, str]) -> FoundSecret:
    if not _VARIABLE.fullmatch(name):
        raise Mistake("this is not the name of an environment variable", "write its name, never the secret itself")
    shown = name if may_be_shown(f"env:{name}") else ""
    if name not in environ:
        what = f"no environment variable {shown or 'of this name'} is set"
        export = f"export {shown or 'NAME'}=..."
        raise Mistake(what, f"set it where hookward is started: {export}, or a line of the unit's EnvironmentFile=")
    return _checked(os.fsencode(environ[name]), [], f"the environment variable{f' {shown}' * bool(shown)} is empty")


def _from_credential(name: str, environ: Mapping[str, str]) -> FoundSecret:
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        what = "there is no credentials directory: systemd sets $CREDENTIALS_DIRECTORY"
        raise Mistake(what, "add LoadCredential= or SetCredentialEncrypted= to the unit, or use file:")
    if not _CREDENTIAL.fullmatch(name):
        raise Mistake("this is not the name of a credential", "write the name that the unit gives it")
    return _from_file(_Wanted(f"file:{folder}/{name}"))


def _checked(value: bytes, notes: list[Note], empty: str, mend: str = "put the value there") -> FoundSecret:
    if not value:
        raise Mistake(f"{empty}, and an empty secret would prove nothing", mend)
    if value != value.strip():
        notes.append(Note("H107", "the secret begins or ends with a blank or newline, which is taken as part of it"))
    return FoundSecret(value, tuple(notes))
