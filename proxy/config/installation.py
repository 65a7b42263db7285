"""How this copy of hookward was installed, so that what a message says to do is true for it.

Never the name of our own distribution for an installer that asks an index: whoever holds that name there would be
installed. What is added is a package of its own name, for the Python that runs here.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2]
#: Where the packages of systems put it.
_OF_SYSTEM = Path("/usr/lib/hookward")
#: package -> its name in Debian and in Fedora
_SYSTEM_NAMES = {"cryptography": "python3-cryptography", "redis": "python3-redis"}


def is_system_package() -> bool:
    """Whether it came as a Debian package or an RPM."""
    return _FOLDER == _OF_SYSTEM


def is_single_file() -> bool:
    """Whether it is one file: an archive, or what one unpacked."""
    return ".pyz" in str(_FOLDER) or ".pyz" in Path(sys.argv[0] or "x").name


def command() -> str:
    """How the commands of this copy are called, as it was started itself."""
    words = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    if words[-2:] == ["-m", "proxy"] or "-m" in words:
        return f"{shlex.quote(words[0])} -m proxy"
    if is_single_file():
        return shlex.quote(sys.argv[0])
    started = sys.argv[0] or "hookward"
    return "hookward" if _path_of("hookward") == started or "/" not in started else shlex.quote(started)


def _path_of(program: str) -> str | None:
    """Where the shell finds a program. (``shutil`` would be imported at every start for this alone.)"""
    paths = (f"{folder}/{program}" for folder in os.get_exec_path())
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def how_to_add(package: str) -> str:
    """What makes a Python package available to this copy, for the mend of a message."""
    if is_system_package():
        tool = "apt install" if _path_of("apt-get") else "dnf install"
        return f"{tool} {_SYSTEM_NAMES.get(package, package)}"
    python = sys.executable or "python3"
    return (
        f"install the package {package} for the Python that runs here: {shlex.quote(python)} -m pip install {package}"
    )


def how_to_install() -> str:
    """What to do where a checkout is started that has not been installed."""
    return f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(os.path.relpath(_FOLDER))} installs all of it"
