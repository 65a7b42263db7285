"""The text of systemd units: a service that may do what it needs and nothing else, and the socket that outlives it; and
the unit that is installed for a configuration, as far as ``check`` must know it.

This module knows systemd.exec(5), systemd.service(5), systemd.socket(5) and their quoting rules, and nothing of a
configuration: what one needs comes as ``Needs``. Installed units are read from their files, drop-ins too, without
asking systemd: a host that is being prepared has none running. Secrets that systemd would hand over are given as it
does, in memory that no other user can open.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from proxy.config.host import Identity, identity
from proxy.config.load import credential_name
from proxy.config.secret_files import MAX_SECRET_BYTES, read_bounded
from proxy.values import frozen

#: The first systemd that knows Type=notify-reload.
NOTIFY_RELOAD = 253
#: The oldest in a Debian with a Python that is new enough.
OLDEST = 252
#: Where systemd makes the directory of each setting.
MADE = {
    "StateDirectory": "/var/lib",
    "RuntimeDirectory": "/run",
    "LogsDirectory": "/var/log",
    "CacheDirectory": "/var/cache",
}
#: After the drain: the supervisor kills workers that are late before systemd kills everything.
STOP_MARGIN_S = 15

#: In every unit. MemoryDenyWriteExecute works with uvloop, OpenSSL and cryptography: none generates code.
SANDBOX = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers={private_users}
PrivateIPC=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
LimitCORE=0
LimitNOFILE=524288"""


@frozen
class Needs:
    """What one service needs of its host.

    ``program`` are the words that start hookward, ``command`` those of the command that serves; words may have
    specifiers of systemd (``%d``) in them. ``credentials`` are pairs of a name and a file.
    """

    name: str
    program: Sequence[str]
    command: Sequence[str]
    notes: Sequence[str] = ()
    drain_s: float = 30.0
    supervised: bool = False
    low_port: bool = False
    socket: bool = False
    user: str | None = None
    group: str | None = None
    home: str = "yes"
    working_directory: str | None = None
    environment_file: str | None = None
    state_dir_set: bool = False
    directories: Sequence[tuple[str, str]] = ()  # ("StateDirectory", "hookward")
    writable: Sequence[str] = ()
    credentials: Sequence[tuple[str, str]] = ()
    systemd: int = NOTIFY_RELOAD


def service_unit(needs: Needs) -> str:
    """The text of the service unit."""
    socket, capability = f"{needs.name}.socket", "CAP_NET_BIND_SERVICE" * needs.low_port
    unit = [
        *(f"# {note}" for note in needs.notes),
        "[Unit]",
        "Description=hookward: lets webhooks in and nothing else",
        "Wants=network-online.target",
        f"After=network-online.target{f' {socket}' if needs.socket else ''}",
        *[f"Requires={socket}"] * needs.socket,
        "",
        "[Service]",
        *_life(needs),
        "",
        "DynamicUser=yes" if needs.user is None else f"User={needs.user}",
        *[f"Group={needs.group}"] * (needs.user is not None and bool(needs.group)),
        *_files(needs),
        "",
        SANDBOX.format(home=needs.home, private_users="no" if needs.low_port else "yes"),
        f"CapabilityBoundingSet={capability}",
        f"AmbientCapabilities={capability}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        *[f"Also={socket}"] * needs.socket,
    ]
    return "\n".join(unit) + "\n"


def socket_unit(name: str, listen: Sequence[str], *, v6_only: bool) -> str:
    """The text of the socket unit, which outlives restarts of the service. ``listen``: values of ListenStream=."""
    return "\n".join(
        [
            "[Unit]",
            "Description=The sockets of hookward, which outlive it",
            "",
            "[Socket]",
            *(f"ListenStream={address}" for address in listen),
            f"FileDescriptorName={name}",
            f"BindIPv6Only={'ipv6-only' if v6_only else 'both'}",
            "SocketMode=0660",
            "Backlog=4096",
            "",
            "[Install]",
            "WantedBy=sockets.target",
            "",
        ]
    )


def quoted(word: str) -> str:
    """A word of ExecStart=; specifiers (``%``) stay what they are, see ``literal``."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    plain = word and not any(character in word for character in " \t\n'\"\\;")
    return word if plain else '"' + word.replace("\n", "\\n").replace("\t", "\\t") + '"'


def literal(text: str) -> str:
    """``text`` without specifiers: each ``%`` stands for itself."""
    return text.replace("%", "%%")


def _life(needs: Needs) -> list[str]:
    modern = needs.systemd >= NOTIFY_RELOAD
    return [
        f"Type={'notify-reload' if modern else 'notify'}",
        f"ExecStart={' '.join(map(quoted, (*needs.program, *needs.command)))}",
        "# The service alone has its credentials, so it judges a new configuration itself. This waits until that is in",
        "# force, or makes `systemctl reload` fail where it is wrong; the service then keeps the one it has.",
        f"ExecReload={' '.join(map(quoted, needs.program))} reload $MAINPID",
        *(["# The command sends the signal that reloads; this one does nothing.", "ReloadSignal=SIGCONT"] * modern),
        f"Environment=HOOKWARD_RELOAD_SOCKET=%t/{literal(needs.name)}-reload/socket",
        f"RuntimeDirectory={literal(needs.name)}-reload",
        f"TimeoutStopSec={needs.drain_s + STOP_MARGIN_S:g}",
        "WatchdogSec=30",
        "Restart=on-failure",
        "RestartSec=1",
        "RestartPreventExitStatus=64 77 78",
        *["# One worker that runs out of memory is replaced; the others go on.", "OOMPolicy=continue"]
        * needs.supervised,
    ]


def _files(needs: Needs) -> Iterator[str]:
    yield from (f"{kind}={name}" for kind, name in needs.directories)
    if any(kind == "LogsDirectory" for kind, _ in needs.directories):
        yield "LogsDirectoryMode=0750"
    if not needs.state_dir_set:
        yield f"Environment=HOOKWARD_STATE_DIR=%S/{literal(needs.name)}"
    yield from (f"ReadWritePaths={literal(path)}" for path in needs.writable)
    if needs.working_directory is not None:
        yield f"WorkingDirectory={literal(needs.working_directory)}"
    if needs.environment_file is not None:
        yield f"EnvironmentFile={needs.environment_file}"
    yield from (f"LoadCredential={name}:{literal(path)}" for name, path in needs.credentials)


FOLDERS: tuple[str, ...] = tuple(f"{root}/systemd/system" for root in ("/etc", "/run", "/usr/lib", "/lib"))
_SETTING = re.compile(r"([A-Za-z]+)\s*=\s*(.*)")


@frozen
class InstalledUnit:
    """One unit. ``settings`` are those of its [Service], each with all its values in order."""

    path: str
    settings: Mapping[str, tuple[str, ...]]

    @property
    def identity(self) -> Identity | None:
        """The user that serves; None: root, or one made at the start. ConfigError where the host has no such user."""
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
    """The unit whose command names ``config``, or None. Of one name the first folder counts, as with systemd."""
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
