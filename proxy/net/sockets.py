"""Listening sockets: from the entries of ``listen`` to bound, non-blocking sockets that no program we start inherits.

Addresses and ports, unix sockets and the descriptors of systemd's socket activation (sd_listen_fds(3)). Everything is
bound or nothing is. It never accepts: that is ``net.acceptor``.

One wildcard, two families: ``[::]:443`` also takes IPv4, as HAProxy and Caddy have it, unless the same list names an
IPv4 address on that port, as nginx users write it. So both habits work, and neither gets "address in use".

And how connections end by a reset: the peer cannot take what it has for all, and the kernel keeps nothing of it.

``holder_of`` says which process listens on an address, as /proc tells. What other users run is seen by root alone;
then nothing is known of it but the user.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from proxy.config.guarded_files import Spot, reach
from proxy.config.notation import MAX_SOCKET_PATH, ListenAddress
from proxy.errors import HookwardError
from proxy.values import frozen

#: The kernel cuts it to net.core.somaxconn, so asking for more than most hosts allow costs nothing.
BACKLOG = 4096

#: asm-generic/socket.h; the few architectures with other numbers answer "no such option", and go without.
SO_DETACH_FILTER = 27
SO_MEMINFO = 55

#: linux/sock_diag.h: the ninth of so many 32-bit numbers, SK_MEMINFO_DROPS.
_MEMINFO = struct.Struct("=9I")

#: The application's group may talk to us, the rest of the host may not.
UNIX_MODE = 0o660

_FIND_IT = "`ss -ltnxp` shows which; end it, or listen elsewhere"
_LOW_PORT = "a port below 1024 needs CAP_NET_BIND_SERVICE (`hookward unit` prints a service with it), or root"

_FIRST_FD = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START


class ListenError(HookwardError):
    """A listening socket cannot be had. ``exit_code`` is the sysexits code that the process ends with."""

    exit_code = 69  # EX_UNAVAILABLE


class AddressInUseError(ListenError):
    """Another process listens there."""


class NotPermittedError(ListenError):
    """The user may not listen there: a port below 1024, or a directory that is not ours."""

    exit_code = 77  # EX_NOPERM


class NoSuchSocketError(ListenError):
    """The words name what does not exist on this host: an address, a directory, a descriptor of systemd."""

    exit_code = 78  # EX_CONFIG


@frozen
class BoundSocket:
    """A listening socket and where it came from. ``inode`` is (device, inode) of a unix socket's file that we made."""

    sock: socket.socket
    address: ListenAddress
    inode: tuple[int, int] | None = None

    def __str__(self) -> str:
        """Where it listens now, for banner and log: with the port that the kernel chose."""
        if self.sock.family not in (socket.AF_INET, socket.AF_INET6):
            return str(self.address)
        host, port = self.sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self, *, unlink: bool = True) -> None:
        """Close it. With ``unlink`` the file of a unix socket goes, while it is ours: siblings may share it."""
        self.sock.close()
        if not unlink or self.inode is None:
            return
        with suppress(OSError), reach(str(self.address.path), to_link=True) as spot:
            if _inode(spot) == self.inode:
                spot.unlink()


def listen_all(addresses: Iterable[ListenAddress], environ: Mapping[str, str]) -> list[BoundSocket]:
    """Bind every address and listen; all or nothing.

    ``environ`` is where systemd left LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. Raises :exc:`ListenError` or one of
    its kinds.
    """
    wanted = list(addresses)
    ports4 = {address.port for address in wanted if address.port and "." in address.host}
    bound: list[BoundSocket] = []
    try:
        for address in wanted:
            bound += _listen(address, environ, v6_only=address.port in ports4)
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def try_all(addresses: Iterable[ListenAddress]) -> list[tuple[ListenAddress, ListenError]]:
    """What keeps each address from being listened on, without listening on any: nobody can connect meanwhile, and a
    service that starts meanwhile is not kept from it. Descriptors of systemd are not judged.
    """
    wanted = list(addresses)
    ports4 = {address.port for address in wanted if address.port and "." in address.host}
    found: list[tuple[ListenAddress, ListenError]] = []
    for address in wanted:
        try:
            if address.path is not None:
                _try_unix(address, address.path)
            elif address.fd_name is None:
                _bind_tcp(address, v6_only=address.port in ports4, listens=False).close()
        except ListenError as error:
            found.append((address, error))
        except OSError as error:
            found.append((address, _explain(address, error)))
    return found


def listen_unix(path: str, mode: int) -> BoundSocket:
    """A unix socket of that path, however long, and mode. Raises OSError or ListenError."""
    return _bind_unix(ListenAddress(path=path), path, mode)


def _listen(address: ListenAddress, environ: Mapping[str, str], *, v6_only: bool) -> list[BoundSocket]:
    try:
        if address.path is not None:
            return [_bind_unix(address, address.path)]
        if address.fd_name is not None:
            return [BoundSocket(sock, address) for sock in _adopt_all(address, environ)]
        return [_bind_tcp(address, v6_only=v6_only)]
    except OSError as error:
        raise _explain(address, error) from error


def _explain(address: ListenAddress, error: OSError) -> ListenError:
    why = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return AddressInUseError(f"cannot listen on {address}: another process does\n    {_FIND_IT}")
    if error.errno in (errno.EACCES, errno.EPERM):
        mend = _LOW_PORT if address.is_tcp else "let the user that hookward runs as write to that folder"
        return NotPermittedError(f"cannot listen on {address}: {why}\n    {mend}")
    mend = "create its folder" if address.path is not None else "name an address that this host has (`ip address`)"
    return NoSuchSocketError(f"cannot listen on {address}: {why}\n    {mend}")


def _bind_tcp(address: ListenAddress, *, v6_only: bool, listens: bool = True) -> BoundSocket:
    if address.host:
        host = address.host.encode()  # of a text it would load what encodes names
        info = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        family, *_, where = info[0]
        return BoundSocket(_bind(family, where, v6_only=v6_only, listens=listens), address)
    try:
        sock = _bind(socket.AF_INET6, ("::", address.port), v6_only=v6_only, listens=listens)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        # A host without IPv6 still has every address it has.
        sock = _bind(socket.AF_INET, ("0.0.0.0", address.port), v6_only=False, listens=listens)  # noqa: S104 - asked for
    return BoundSocket(sock, address)


def _bind(family: int, where: tuple[object, ...], *, v6_only: bool, listens: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Without it a restart fails for a minute, while old connections are in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6_only))
        sock.bind(where)
        if listens:
            _begin(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _begin(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.listen(BACKLOG)


def _inode(spot: Spot) -> tuple[int, int]:
    status = spot.look()
    return status.st_dev, status.st_ino


def _bind_unix(address: ListenAddress, path: str, mode: int = UNIX_MODE) -> BoundSocket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reach(path, to_link=True) as spot:
            # The path as it is written is what `ss` shows; where others could lead it elsewhere, it is not used.
            where = path if spot.certain and len(os.fsencode(path)) <= MAX_SOCKET_PATH else spot.path
            if _is_stale(address, spot, where):
                spot.unlink()
            # The mode comes with the file: to change it afterwards, by its name, could change another's.
            before = os.umask(0o777 & ~mode)
            try:
                sock.bind(where)
            finally:
                os.umask(before)
            inode = _inode(spot)
        _begin(sock)
    except BaseException:
        sock.close()
        raise
    return BoundSocket(sock, address, inode)


def _try_unix(address: ListenAddress, path: str) -> None:
    with reach(path, to_link=True) as spot:
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=spot.folder, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        _is_stale(address, spot, path if spot.certain else spot.path)


def _is_stale(address: ListenAddress, spot: Spot, where: str) -> bool:
    """Whether a file is there that a killed process left. What is no socket, or answers, is not ours: an error."""
    try:
        mode = spot.look().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        what = f"cannot listen on {address}: the path exists and is no socket"
        raise AddressInUseError(f"{what}\n    remove it, or name another")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full queue is an answer too
        error = probe.connect_ex(where)
    if error not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(errno.EACCES if error == errno.EACCES else errno.EADDRINUSE, os.strerror(error))
    return error == errno.ECONNREFUSED


def _adopt_all(address: ListenAddress, environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd passed to this very process under a name."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        what = f"cannot listen on {address}: systemd passed no sockets to this process"
        raise NoSuchSocketError(f"{what}\n    start the socket unit first (`hookward unit --socket` prints one)")
    count = environ.get("LISTEN_FDS", "")
    total = int(count) if count.isascii() and count.isdecimal() else 0
    listed = environ.get("LISTEN_FDNAMES", "")
    names = listed.split(":") if listed else ["unknown"] * total
    found = [_FIRST_FD + i for i, name in enumerate(names[:total]) if name == address.fd_name]
    if not found:
        what = f"cannot listen on {address}: systemd passed {total} sockets, none of that name"
        raise NoSuchSocketError(f"{what}\n    FileDescriptorName= of the socket unit must be {address.fd_name}")
    return [_adopt(address, fd) for fd in found]


def _adopt(address: ListenAddress, fd: int) -> socket.socket:
    # A copy, so that the same entry can be bound again.
    sock = socket.socket(fileno=os.dup(fd))
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if sock.family not in families or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise NoSuchSocketError(f"cannot listen on {address}: descriptor {fd} is no listening stream socket")
    sock.setblocking(False)
    return sock


def dropped_packets(sock: socket.socket) -> int:
    """How many packets the kernel has dropped at this listening socket: by a program, or because its queue was full.

    The kernel counts modulo 2^32; 0 where it does not tell.
    """
    if sys.platform != "linux" or sock.family == socket.AF_UNIX:
        return 0
    try:
        return int(_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[-1])
    except (OSError, struct.error):
        return 0


def detach_filter(sock: socket.socket) -> None:
    """Take the program off that drops packets (``net.kernel_filter``), if there is one."""
    if sys.platform != "linux":
        return
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


#: SO_LINGER on, 0 s: close() sends a reset, and leaves no TIME_WAIT behind.
_AT_ONCE = struct.pack("ii", 1, 0)


def reset(sock: socket.SocketType) -> None:
    """Close a socket that no transport has."""
    close_by_reset(sock)
    sock.close()


def abort(transport: asyncio.Transport, sock: socket.socket | None) -> None:
    """Close a transport now; what has not left is dropped. ``sock`` is None where its peer was faster."""
    if sock is not None:
        close_by_reset(sock)
    transport.abort()


def close_by_reset(sock: socket.SocketType) -> None:
    """Make every later close of ``sock`` a reset."""
    try:  # ``suppress`` takes longer than the call, and refused peers come in floods
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    except (OSError, ValueError):
        return  # the peer was faster; uvloop says ValueError where it is closed


_PROC = Path("/proc")
_LISTENS = "0A"  # TCP_LISTEN of the kernel, as /proc/net/tcp has it


@frozen
class Holder:
    """A process that listens. ``command``: the words that it was started with, cut; () where it cannot be seen."""

    pid: int | None
    command: tuple[str, ...] = ()
    uid: int | None = None

    @property
    def is_hookward(self) -> bool:
        """Whether it is one of ours, of any installation."""
        started = list(zip(self.command, self.command[1:], strict=False))
        named = {os.path.basename(word) for word in self.command[:3]}  # noqa: PTH119  # text in
        return ("-m", "proxy") in started or any(name.startswith("hookward") for name in named)

    def __str__(self) -> str:
        if self.pid is None:
            return "a process of another user"
        name = os.path.basename(self.command[0]) if self.command else "a process"  # noqa: PTH119  # text in
        return f"{name[:40]} (process {self.pid})"


def holder_of(address: ListenAddress) -> Holder | None:
    """The process that listens there; None where none does, or nothing can be known."""
    if address.path is not None:
        return _of_unix(address.path)
    inodes = set(_inodes(address))
    if not inodes:
        return None
    for entry in _PROC.glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(entry.readlink()) in inodes:
                return _holder(int(entry.parts[2]))
    return Holder(None)


def _of_unix(path: str) -> Holder | None:
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        probe.connect(path)
        peer = peer_process(probe)
        return None if peer is None else _holder(peer[0])
    return None


_CREDENTIALS = struct.Struct("3i")


def peer_process(sock: socket.socket) -> tuple[int, int] | None:
    """PID and uid of what is at the other end of a unix socket, or listens there; None where the system tells none."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return pid, uid


def _holder(pid: int) -> Holder:
    uid = None
    with suppress(OSError):
        uid = (_PROC / str(pid)).stat().st_uid
    return Holder(pid, _command(pid), uid)


def _command(pid: int) -> tuple[str, ...]:
    with suppress(OSError):
        return tuple((_PROC / str(pid) / "cmdline").read_bytes()[:4096].decode("utf-8", "replace").split("\0"))
    return ()


def _inodes(address: ListenAddress) -> Iterator[str]:
    """The listening sockets that are in the way, as the links of descriptors name them."""
    wanted = _packed(address.host) if address.host else None
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / name).read_text("ascii").splitlines()[1:]:
                words = line.split()
                host, _, port = words[1].partition(":")
                if words[3] == _LISTENS and int(port, 16) == address.port and _meet(wanted, _unpacked(host)):
                    yield f"socket:[{words[9]}]"


def _meet(wanted: bytes | None, found: bytes) -> bool:
    """Whether two addresses of one port cannot both be listened on."""
    return wanted is None or not any(wanted) or not any(found) or wanted[-len(found) :] == found[-len(wanted) :]


def _packed(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])


def _unpacked(text: str) -> bytes:
    """/proc has each word of 32 bits in the order of the host."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return b"".join(struct.pack("=I", word) for word in words)
