"""The systemd unit that starts a configuration on this host, as far as ``check`` must know it: its user, its needs.

Read from the files of the units, drop-ins too, without asking systemd: a host that is being prepared has none running.
Secrets that systemd would hand over are given as it does, in memory that no other user can open.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from proxy.config.accounts import Identity, identity
from proxy.config.handed_over import credential_name
from proxy.config.secret_files import MAX_SECRET_BYTES, read_bounded
from proxy.tools.units import MADE
from proxy.values import frozen

FOLDERS: tuple[str, ...] = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_SETTING = re.compile(r"([A-Za-z]+)\s*=\s*(.*)")


@frozen
class InstalledUnit:
    """One unit. ``settings`` are those of its [Service], each with all its values in order."""

    path: str
    settings: Mapping[str, tuple[str, ...]]

    @property
    def identity(self) -> Identity | None:
        """The user that serves; None where it is root, or one that is made when the service starts. Raises ConfigError
        where the host has no such user.
        """
        user, group = self._last("User"), self._last("Group")
        if self._last("DynamicUser") in {"yes", "true", "on", "1"} or user in {None, "root", "0"}:
            return None
        return identity(user, group)

    def environment(self) -> dict[str, str]:
        """The variables that it has. Files that cannot be read have none."""
        found: dict[str, str] = {}
        for value in self.settings.get("Environment", ()):
            with suppress(ValueError):  # quotes that do not end: systemd ignores the line
                found |= _pairs(shlex.split(value))
        for name in self.settings.get("EnvironmentFile", ()):
            with suppress(OSError, ValueError):
                data, _ = read_bounded(name.removeprefix("-"), MAX_SECRET_BYTES, any_link=True)
                lines = data.decode("utf-8").splitlines()
                found |= _pairs(word for line in lines if line[:1] not in "#;" for word in shlex.split(line)[:1])
        return {name: value for name, value in found.items() if not name.startswith("HOOKWARD_RELOAD")}

    def writable(self, path: str) -> bool:
        """Whether the service may write below the folder of a file, by what its sandbox says."""
        if self._last("ProtectSystem") != "strict":
            return True
        named = [name.lstrip("-+") for value in self.settings.get("ReadWritePaths", ()) for name in value.split()]
        around = {str(one) for one in Path(path).absolute().parents}
        return any(os.path.normpath(one) in around for one in [*self._made(), *named])

    def makes(self, folder: str) -> bool:
        """Whether systemd makes that folder, with its owner, when the service starts."""
        return os.path.normpath(folder) in self._made()

    def _made(self) -> list[str]:
        return [f"{MADE[key]}/{name}" for key in MADE for value in self.settings.get(key, ()) for name in value.split()]

    @contextmanager
    def credentials(self, owner: Identity | None) -> Iterator[dict[str, str]]:
        """The variable that names a folder with the credentials of the unit, for as long as it is needed: links to
        anonymous files of ``owner``. Only root can make it; else there is none.
        """
        pairs = [value.partition(":")[::2] for value in self.settings.get("LoadCredential", ())]
        if owner is None:  # root reads what is only handed over where it lies, and is told of it by that name
            pairs = [(name, path) for name, path in pairs if name != credential_name(path)]
        if not pairs or os.geteuid() != 0:
            yield {}
            return
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hookward-check-"))
            Path(folder).chmod(0o711)
            for name, path in pairs:
                with suppress(OSError):  # what is missing is told as missing
                    data, _ = read_bounded(path, MAX_SECRET_BYTES, any_link=True)
                    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
                    stack.callback(os.close, descriptor)
                    os.write(descriptor, data)
                    os.fchmod(descriptor, 0o400)
                    if owner is not None:
                        os.fchown(descriptor, owner.uid, owner.gid)
                    Path(folder, name).symlink_to(f"/proc/self/fd/{descriptor}")
            yield {"CREDENTIALS_DIRECTORY": folder}

    def _last(self, name: str) -> str | None:
        values = self.settings.get(name, ())
        return values[-1] if values else None


def installed_unit(config: str) -> InstalledUnit | None:
    """The unit whose command names the file ``config``; None where there is none. Of several of one name the first
    folder counts, as systemd has it.
    """
    seen = set()
    for folder in FOLDERS:
        for path in sorted(Path(folder).glob("*.service")):
            if path.name in seen:
                continue
            seen.add(path.name)
            with suppress(OSError, ValueError):
                settings = _read(path)
                if any(_names(line, config) for line in settings.get("ExecStart", ())):
                    return InstalledUnit(str(path), settings)
    return None


def _names(command: str, config: str) -> bool:
    words = [word.removeprefix("--config=") for word in shlex.split(command)]
    wanted = os.path.realpath(config)
    return any(word.startswith("/") and os.path.realpath(word) == wanted for word in words[1:])


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    """The settings of [Service], of the unit and its drop-ins. An empty value forgets those before it."""
    dropins = sorted(one for folder in FOLDERS for one in Path(folder, f"{path.name}.d").glob("*.conf"))
    found: dict[str, tuple[str, ...]] = {}
    for one in [path, *dropins]:
        section = ""
        for line in one.read_text("utf-8").replace("\\\n", " ").splitlines():
            section = line.strip() if line.startswith("[") else section
            match = _SETTING.fullmatch(line.strip())
            if match is not None and section == "[Service]":
                found[match[1]] = (*found.get(match[1], ()), match[2]) if match[2] else ()
    return found


def _pairs(words: Iterator[str] | list[str]) -> dict[str, str]:
    return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}
