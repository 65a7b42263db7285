"""The accept loop: which address connects, whether it may, and whether there is room. Nothing is read here.

The address is judged from accept's own result, so that a refused peer costs two system calls and is noted for a line
that sums them up: it is
reset (SO_LINGER 0), which leaves no TIME_WAIT behind. An admitted one is handed over with its :class:`ConnectionSlot`.
The kernel may be told to drop most of the others before that (``net.kernel_filter``): the rest is judged all the same.
``net.listener`` and ``net.tcp_forward`` build on it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from proxy.core.addresses import AddressSet, Peer
from proxy.core.setup_faults import NOT_LISTED, SetupFault
from proxy.net.admission import ConnectionSlot, ConnectionSlots, PolicyHolder
from proxy.net.sockets import detach_filter, reset

if TYPE_CHECKING:
    from proxy.net.kernel_filter import KernelFilter

log = logging.getLogger(__name__)

#: Connections taken per turn of the loop; the rest of the loop must not starve while a flood is refused.
ACCEPT_SHARE = 64

#: With no descriptor left, accept fails at once and the loop would spin (threats.md, D11).
PAUSE_S = 0.25

_LOG_EVERY_S = 1.0

#: Sibling workers, and the process of an upgrade that failed, hold the same socket and may have set their filter.
FILTER_AGAIN_S = 10.0

#: accept(2): errors of the one connection that was waiting, which is gone; the next may be well.
_GONE = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
    }
)

#: Below it lie the IPv6 addresses whose text ends in IPv4 form: mapped ones, which are IPv4 to us, and a few others.
_MIXED_FORMS = bytes(10)

_Giving: TypeAlias = tuple[Coroutine[Any, None, object], socket.socket, ConnectionSlot]
HandOver: TypeAlias = Callable[[socket.socket, Peer, ConnectionSlot], None]


class Accepted(socket.socket):
    """A socket that was accepted. Its ``family`` and ``type`` are plain numbers, as the kernel has them: a loop asks
    three times for them, and to look up a member of an Enum takes 0.5 us. Nor does it note that a loop detaches it.
    """

    __slots__ = ()
    if not TYPE_CHECKING:  # a number is no member
        family = socket.SocketType.family
        type = socket.SocketType.type
        detach = socket.SocketType.detach


def peer_of(family: int, address: tuple[str, int] | str) -> Peer:
    """The peer that accept told of. Its text is canonical but for a few forms, so the slow ways to one are rare."""
    if family == socket.AF_UNIX:
        return Peer.unix()
    text, port = address[0], int(address[1])
    if family == socket.AF_INET:
        return Peer(text, port, 4, _number4(text))
    text = text.partition("%")[0]
    packed = socket.inet_pton(socket.AF_INET6, text)
    if packed[:10] == _MIXED_FORMS:
        return Peer.packed(packed, port)
    return Peer(text, port, 6, int.from_bytes(packed, "big"))


@lru_cache(maxsize=1024)
def _number4(text: str) -> int:
    """A sender comes again and again, from another port each time."""
    return int.from_bytes(socket.inet_aton(text), "big")


class SettingUp:
    """The tasks that set connections up, from accept to the protocol. Each ends by its own deadline."""

    def __init__(self, failure: str, ended: Callable[[], None] = lambda: None) -> None:
        """``failure`` is what the loop is told of a bug; ``ended`` is called at the end of each task."""
        self.waiting: set[asyncio.Task[None]] = set()  # for bytes of the peer, or for an upstream
        self._joining: set[asyncio.Task[None]] = set()
        self._given: dict[asyncio.Future[Any], _Giving] = {}  # what is awaited without a task, and what then goes on
        self._failure = failure
        self._ended = ended

    def __len__(self) -> int:
        return len(self.waiting) + len(self._joining) + len(self._given)

    def begin(self, work: Coroutine[None, None, None], slot: ConnectionSlot) -> None:
        """Do ``work``. The slot is given back where it is cancelled or fails."""
        task = asyncio.get_running_loop().create_task(work)
        self.waiting.add(task)
        task.add_done_callback(lambda done: self._done(done, slot))

    def hold_fast(self) -> None:
        """Have the running task not cancelled: what follows takes no time; uvloop would not call connection_lost."""
        task = asyncio.current_task()
        assert task is not None
        self.waiting.discard(task)
        self._joining.add(task)

    def join(self, work: Coroutine[Any, None, object], sock: socket.socket, slot: ConnectionSlot) -> None:
        """Do ``work``, which gives ``sock`` to the loop, and is held fast from its beginning. Where it fails the socket
        is reset and the slot given back. It is taken from wait to wait here: a task would take longer than the work.
        """
        try:
            waiter = work.send(None)
        except StopIteration:
            pass  # it has its transport
        except Exception as error:  # noqa: BLE001 - told to the loop
            self._failed(error, sock, slot)
        else:
            self._given[waiter] = work, sock, slot
            waiter.add_done_callback(self._go_on)

    async def abandon(self) -> None:
        """End them all. Returns when nothing is left."""
        # A task that is cancelled before its first step would never see the socket that it has to close.
        await asyncio.sleep(0)
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, *self._joining, *self._given, return_exceptions=True)

    def _go_on(self, waiter: asyncio.Future[object]) -> None:
        self.join(*self._given.pop(waiter))

    def _done(self, task: asyncio.Task[None], slot: ConnectionSlot) -> None:
        self.waiting.discard(task)
        self._joining.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            slot.release()
        if error is not None:
            self._tell(error)
        self._ended()

    def _failed(self, error: Exception, sock: socket.socket, slot: ConnectionSlot) -> None:
        slot.release()
        reset(sock)
        self._tell(error)

    def _tell(self, error: BaseException) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": self._failure, "exception": error})


class Acceptor:
    """Accepts from one listening socket, which it owns from now on and closes in ``stop``.

    ``gate()`` gives the addresses that may connect now, None for all; of the others is noted that they are ``outside``.
    ``charge`` is False where the peer is a load
    balancer: then ``hand_over`` charges the address that it speaks for. ``lasting``: the connections may stay silent
    for ever, and leave a share to those of routes.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        site: PolicyHolder,
        slots: ConnectionSlots,
        gate: Callable[[], AddressSet | None],
        outside: SetupFault = NOT_LISTED,
        hand_over: HandOver,
        charge: bool = True,
        lasting: bool = False,
    ) -> None:
        self._sock = sock
        self._family = sock.family
        self._site = site
        self._slots = slots
        self._gate = gate
        self._outside = outside
        self._hand_over = hand_over
        self._charge = charge
        self._lasting = lasting
        self._filter: KernelFilter | None = None
        self._filtering = False
        self._filter_again: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resuming: asyncio.TimerHandle | None = None
        self._log_after = 0.0

    def start(self) -> None:
        """Begin to accept on the running loop."""
        if self._family != socket.AF_UNIX:
            # Accepted sockets inherit both: no small answer waits for an acknowledgement, no dead peer stays for ever.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._on_readable)

    def take_queue(self) -> None:
        """Accept what waits in the kernel's queue, as much as one turn takes: ``stop`` may reset it."""
        if self._loop is not None and self._resuming is None:
            self._on_readable()

    def stop(self) -> None:
        """Stop accepting, at once and for good. What was handed over lives on. A second call does nothing."""
        if self._loop is None:
            return
        if self._resuming is not None:
            self._resuming.cancel()
        if self._filter_again is not None:
            # What is set stays: the socket may be shared, and goes with its last holder.
            self._filter_again.cancel()
        self._loop.remove_reader(self._sock)
        self._loop = None
        self._sock.close()

    def shield(self, *, on: bool) -> None:
        """Let the kernel drop what the gate refuses now, or nothing. To be called again after a change of it."""
        if self._loop is None or self._family == socket.AF_UNIX:
            return
        if on and self._filter is None:
            try:
                from proxy.net.kernel_filter import KernelFilter
            except ImportError as error:  # a reload asks for it, and our user may not read the package any more
                log.warning("the kernel filter cannot be loaded (%s): restart to have it", error)
            else:
                self._filter = KernelFilter(self._sock)
        self._filtering = on
        self._set_filter()

    def _set_filter(self) -> None:
        assert self._loop is not None
        if self._filter_again is not None:
            self._filter_again.cancel()
        self._filter_again = self._loop.call_later(FILTER_AGAIN_S, self._set_filter)
        if self._filter is None:
            detach_filter(self._sock)
        else:
            self._filter.use(self._gate() if self._filtering else None)

    @property
    def is_shielded(self) -> bool:
        """Whether the kernel drops what the gate refuses, as far as its program can tell."""
        return self._filter is not None and self._filter.in_force

    def _on_readable(self) -> None:
        accept = self._sock._accept  # type: ignore[attr-defined]  # noqa: SLF001  # socket.accept without its Enums
        family, gate = self._family, self._gate()
        for _ in range(ACCEPT_SHARE):
            try:
                descriptor, address = accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _GONE:
                    continue
                self._pause(error)
                return
            peer = peer_of(family, address)
            slot = self._admit(peer, gate)
            if slot is None:
                reset(socket.SocketType(family, socket.SOCK_STREAM, 0, descriptor))  # without Python's part of a socket
                continue
            sock = Accepted(family, socket.SOCK_STREAM, 0, descriptor)
            sock.setblocking(False)
            if self._filter is not None and self._filter.in_force:
                # It was inherited, and would look at every packet; a pipe of a week would keep a program of last week.
                detach_filter(sock)
            self._hand_over(sock, peer, slot)

    def _admit(self, peer: Peer, gate: AddressSet | None) -> ConnectionSlot | None:
        if gate is not None and peer not in gate:
            self._slots.counters.refused_address += 1
            self._slots.note(self._outside, peer.text)
            return None
        policy = self._site.policy
        slot = self._slots.take(policy, peer)
        if slot is None or (self._charge and not slot.charge(peer, policy, lasting=self._lasting)):
            return None
        return slot

    def _pause(self, error: OSError) -> None:
        """Let the rest of the loop run, and give descriptors back, before accept is tried again."""
        assert self._loop is not None
        self._slots.counters.accept_paused += 1
        now = self._loop.time()
        if now >= self._log_after:
            self._log_after = now + _LOG_EVERY_S
            log.warning("cannot accept (%s): new connections wait", error.strerror or error)
        self._loop.remove_reader(self._sock)
        self._resuming = self._loop.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        if self._loop is not None:
            self._loop.add_reader(self._sock, self._on_readable)
