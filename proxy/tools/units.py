"""The text of systemd units: a service that may do what it needs and nothing else, and the socket that outlives it.

This module knows systemd.exec(5), systemd.service(5), systemd.socket(5) and their quoting rules, and nothing of a
configuration: what one needs comes as ``Needs``.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    socket = f"{needs.name}.socket"
    unit = [
        *(f"# {note}" for note in needs.notes),
        "[Unit]",
        "Description=hookward: lets webhooks in and nothing else",
        "Wants=network-online.target",
        f"After=network-online.target{f' {socket}' if needs.socket else ''}",
        *([f"Requires={socket}"] if needs.socket else []),
        "",
        "[Service]",
        *_life(needs),
        "",
        *_identity(needs),
        *_files(needs),
        "",
        SANDBOX.format(home=needs.home, private_users="no" if needs.low_port else "yes"),
        *_capabilities(needs),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        *([f"Also={socket}"] if needs.socket else []),
    ]
    return "\n".join(unit) + "\n"


def socket_unit(name: str, listen: Sequence[str], *, v6_only: bool) -> str:
    """The text of the socket unit, which holds connections while the service restarts. ``listen``: values of
    ListenStream=.
    """
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
        *(
            ["# One worker that runs out of memory is replaced; the others go on.", "OOMPolicy=continue"]
            * needs.supervised
        ),
    ]


def _identity(needs: Needs) -> list[str]:
    if needs.user is None:
        return ["DynamicUser=yes"]
    return [f"User={needs.user}", *([f"Group={needs.group}"] if needs.group else [])]


def _files(needs: Needs) -> list[str]:
    lines = [f"{kind}={name}" for kind, name in needs.directories]
    if any(kind == "LogsDirectory" for kind, _ in needs.directories):
        lines.append("LogsDirectoryMode=0750")
    if not needs.state_dir_set:
        lines.append("Environment=HOOKWARD_STATE_DIR=%S/" + literal(needs.name))
    lines += [f"ReadWritePaths={literal(path)}" for path in needs.writable]
    if needs.working_directory is not None:
        lines.append(f"WorkingDirectory={literal(needs.working_directory)}")
    if needs.environment_file is not None:
        lines.append(f"EnvironmentFile={needs.environment_file}")
    return lines + [f"LoadCredential={name}:{literal(path)}" for name, path in needs.credentials]


def _capabilities(needs: Needs) -> list[str]:
    if needs.low_port:
        return ["CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_BIND_SERVICE"]
    return ["CapabilityBoundingSet=", "AmbientCapabilities="]
