"""What the process shares with its host: exit codes and colours; Python, variables, the words it was started with,
processors and users; and how this copy of hookward was installed, so that what a message says to do is true for it.

Colours only on a terminal, and never where NO_COLOR asks for none (https://no-color.org). A message never has the name
of our own distribution for an installer that asks an index: whoever holds that name there would be installed. What is
added is a package of its own name, for the Python that runs here.
"""

from __future__ import annotations

import gc
import grp
import os
import pwd
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from math import ceil
from pathlib import Path
from typing import Protocol, TextIO

from proxy.errors import ConfigError
from proxy.values import frozen

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class ExitCode(IntEnum):
    """How the process ended: the codes of sysexits(3) that an operator's script can tell apart."""

    OK = 0
    FAILED = 1  # a command did its work, and the result is not what was promised
    USAGE = 64  # bad flags
    UNAVAILABLE = 69  # an address is in use
    SOFTWARE = 70  # a bug of ours
    NO_PERMISSION = 77
    CONFIG = 78  # bad configuration


def failed(command: str, why: object, code: ExitCode = ExitCode.FAILED) -> int:
    """Say on standard error why a command could not do what it should; its exit code."""
    print(f"hookward {command}: {visible(str(why))}", file=sys.stderr)
    return code


class HelpfulParser(Protocol):
    """What reads the flags of a command: one of ``argparse``'s, which not every start imports."""

    description: str | None
    epilog: str | None

    def format_help(self) -> str:
        """The text of ``--help``."""
        ...


def wants_colour(stream: TextIO | None) -> bool:
    """Whether text for ``stream`` may be coloured; None is a stream that was closed before we began."""
    asked = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return stream is not None and stream.isatty() and asked


def visible(text: str) -> str:
    """``text`` with an escape for every character that is not printed but does something: it comes from others, and
    could drive the terminal or reverse the direction of reading. Line ends stay.
    """
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def whole_lines(data: bytes, size: int) -> list[bytes]:
    """``data`` cut at ends of lines into pieces of at most ``size`` bytes, where a line is no longer than that.

    POSIX: a write of at most PIPE_BUF bytes to a pipe is not mixed with those of others.
    """
    pieces, at = [], 0
    while len(data) - at > size:
        end = data.rfind(b"\n", at, at + size) + 1 or data.find(b"\n", at) + 1 or len(data)
        pieces.append(data[at:end])
        at = end
    return [*pieces, data[at:]]


class Paint:
    """Colours text, or leaves it as it is."""

    def __init__(self, *, colour: bool) -> None:
        self.colour = colour

    @classmethod
    def on(cls, stream: TextIO | None) -> Paint:
        """Colours where the stream wants them."""
        return cls(colour=wants_colour(stream))

    def __call__(self, text: str, *styles: str) -> str:
        """``text`` in the styles (bold, dim, red, green, yellow, cyan)."""
        if not self.colour or not text:
            return text
        return f"\033[{';'.join(_STYLES[style] for style in styles)}m{text}\033[0m"


#: As ``platform`` says it, which would be imported for this alone.
PYTHON_VERSION = sys.version.partition(" ")[0]
#: Chooses the event loop, "asyncio" or "uvloop": for tests and where uvloop must be avoided.
LOOP_VARIABLE = "HOOKWARD_LOOP"
#: The path of a datagram socket: there ``hookward reload`` hears how a reload went. The printed units set it.
RELOAD_VARIABLE = "HOOKWARD_RELOAD_SOCKET"
#: What the group of the process may use of all processors, in microseconds: "QUOTA PERIOD", or "max PERIOD".
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

_OWN = {LOOP_VARIABLE, RELOAD_VARIABLE}


def environment() -> dict[str, str]:
    """A copy of the process's environment, without the variables that configure nothing."""
    return {name: value for name, value in os.environ.items() if name not in _OWN}


def command_line() -> list[str]:
    """How this process was started; the interpreter by its full path."""
    return [sys.executable, *sys.orig_argv[1:]]


def worker_count(workers: int | str) -> int:
    """The number of workers; "auto": one for each processor that we may use, within our control group's share."""
    return workers if isinstance(workers, int) else max(1, min(_usable(), _granted()))


def _usable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def _granted() -> int:
    """A container sees all processors of its host, and often has a share of one."""
    try:
        quota, period = CPU_MAX.read_text("ascii").split()
        return ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return _usable()


#: So many objects are made by some twenty modules, among them a dozen classes that get slots and leave another behind.
YOUNG_IMPORTS = 2000


@contextmanager
def paused(young: int = 0) -> Iterator[None]:
    """Collect no garbage meanwhile, and take what was made for permanent: imports and loads of the configuration make
    much that stays and little garbage. Looking at it again and again would take a tenth of the time of a start, a third
    of a load, and hold up every other thread. After each ``young`` new objects those alone are looked at, once.
    """
    before = gc.get_threshold()
    gc.set_threshold(young, 1_000_000)
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*before)


_FOLDER = Path(__file__).resolve().parents[2]
#: Where the packages of systems put it.
_OF_SYSTEM = Path("/usr/lib/hookward")
#: package -> its name in Debian and in Fedora
_SYSTEM_NAMES = {"cryptography": "python3-cryptography", "redis": "python3-redis", "textual": "python3-textual"}


def command() -> str:
    """How the commands of this copy are called, as it was started itself."""
    words = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    if words[-2:] == ["-m", "proxy"] or "-m" in words:
        return f"{shlex.quote(words[0])} -m proxy"
    if ".pyz" in str(_FOLDER) or ".pyz" in Path(sys.argv[0] or "x").name:  # one file, or what it unpacked
        return shlex.quote(sys.argv[0])
    started = sys.argv[0] or "hookward"
    return "hookward" if _path_of("hookward") == started or "/" not in started else shlex.quote(started)


def _path_of(program: str) -> str | None:
    """Where the shell finds a program. (``shutil`` would be imported at every start for this alone.)"""
    paths = (f"{folder}/{program}" for folder in os.get_exec_path())
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def how_to_add(package: str) -> str:
    """What makes a Python package available to this copy, for the mend of a message."""
    if _FOLDER == _OF_SYSTEM:
        tool = "apt install" if _path_of("apt-get") else "dnf install"
        return f"{tool} {_SYSTEM_NAMES.get(package, package)}"
    pip = f"{shlex.quote(sys.executable or 'python3')} -m pip install {package}"
    return f"install the package {package} for the Python that runs here: {pip}"


def how_to_install() -> str:
    """What to do where a checkout is started that has not been installed."""
    return f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(os.path.relpath(_FOLDER))} installs all of it"


# -- Users and groups of this host: found by name or number, and what a process is that becomes one of them.


@frozen
class Identity:
    """A user and group of this host, by number. ``groups`` are the supplementary ones."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def is_ours(self) -> bool:
        """Whether this process is that user and group already."""
        return os.getresuid() == (self.uid,) * 3 and os.getresgid() == (self.gid,) * 3

    def assume(self) -> None:
        """Become it, for good: each step needs a right that the one before has not given up yet. OSError."""
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Be it meanwhile as far as files go, to judge what it may do. Only root can; for others nothing changes."""
        if os.geteuid() != 0:
            yield
            return
        groups, gid = os.getgroups(), os.getegid()
        try:
            os.setgroups(self.groups)
            os.setegid(self.gid)
            os.seteuid(self.uid)
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)


def identity(user: str | None, group: str | None) -> Identity:
    """The user and group of these names or numbers; without a group, the user's own. Raises ConfigError."""
    gid = None if group is None else find_group(group)
    if user is None:
        assert gid is not None
        return Identity(f"the group {group}", os.geteuid(), gid, (gid,))
    found = find_user(user)
    if gid is None:
        gid = found.pw_gid
    return Identity(found.pw_name, found.pw_uid, gid, tuple(os.getgrouplist(found.pw_name, gid)))


def find_user(name: str, where: str = "user") -> pwd.struct_passwd:
    """The user of a name or number; ConfigError at ``where`` (a key or a flag) where the host has none such."""
    with suppress(KeyError):
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    raise ConfigError.of(where, f"this host has no user {name!r}", "name one of its users (useradd makes one)")


def find_group(name: str, where: str = "group") -> int:
    """The number of a group, by its name or number; ConfigError as above."""
    with suppress(KeyError):
        return (grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)).gr_gid
    raise ConfigError.of(where, f"this host has no group {name!r}", "name one of its groups (groupadd)")
