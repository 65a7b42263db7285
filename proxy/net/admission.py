"""How many connections there may be: in all, and from one address (design: promise 5, bounded).

A connection holds a :class:`ConnectionSlot` from accept to its end. One :class:`ConnectionSlots` is shared by all
listeners of a worker, so that the caps and the counters are the worker's. Which addresses may come at all is the
policy's ``admission``; this module only counts, and says why of each that it turns away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import field
from typing import Protocol

from proxy.core.addresses import Peer
from proxy.core.policy import Policy
from proxy.core.setup_faults import FULL, MANY_HANDSHAKES, MANY_OF_ADDRESS, SetupFault
from proxy.values import mutable


@mutable
class AcceptCounters:
    """What happened before a connection was handed over. All but ``open`` only grow."""

    accepted: int = 0  # came through every check, TLS not yet begun
    refused_address: int = 0  # outside the allow lists, or no trusted proxy where one is required
    refused_full: int = 0  # over max_connections, or over what unlisted addresses may have of them
    refused_handshakes: int = 0  # over max_handshakes
    refused_per_address: int = 0  # over max_connections_per_address
    proxy_header_failed: int = 0  # malformed, late or missing
    tls_done: int = 0
    tls_failed: int = 0  # the handshake did not come to its end, and a byte had come
    tls_faults: Counter[str] = field(default_factory=Counter)  # why it failed, by word, after a handshake too
    accept_paused: int = 0  # times that the host had no descriptor or memory left
    open: int = 0  # slots held now
    handshakes: int = 0  # under way now


class ConnectionSlots:
    """The slots of one worker. ``take`` when a connection comes, ``charge`` its slot when its address is known."""

    __slots__ = ("counters", "groups", "note")

    def __init__(self, note: Callable[[SetupFault, str], None] = lambda _fault, _address: None) -> None:
        """``note`` is told of each connection that came to nothing: why, and the address."""
        self.counters = AcceptCounters()
        self.note = note
        self.groups: dict[tuple[int, int], int] = {}

    def take(self, policy: Policy, peer: Peer) -> ConnectionSlot | None:
        """A slot for a connection from ``peer``, or None (counted) where ``max_connections`` are open."""
        counters = self.counters
        if counters.open >= policy.server.max_connections:
            counters.refused_full += 1
            self.note(FULL, peer.text)
            return None
        counters.open += 1
        return ConnectionSlot(self)


class ConnectionSlot:
    """The right of one connection to be there."""

    __slots__ = ("_group", "_held", "_slots")

    def __init__(self, slots: ConnectionSlots) -> None:
        self._slots = slots
        self._group: tuple[int, int] | None = None
        self._held = True

    def charge(self, peer: Peer, policy: Policy, *, named: bool = False, lasting: bool = False) -> bool:
        """Count the connection for its address: the last check. False (counted, the slot given back) where that
        address has too many.

        There is no cap on what speaks for many clients.
        """
        counters = self._slots.counters
        if counters.open > room_for(peer, policy, policy.server.max_connections, lasting=lasting):
            counters.refused_full += 1
            self._turn_away(FULL, peer)
            return False
        groups = self._slots.groups
        group = peer.group
        count = groups.get(group, 0)
        if count >= policy.server.max_connections_per_address and not speaks_for_many(peer, policy, named=named):
            counters.refused_per_address += 1
            self._turn_away(MANY_OF_ADDRESS, peer)
            return False
        groups[group] = count + 1
        self._group = group
        counters.accepted += 1
        return True

    def begin_handshake(self, peer: Peer, policy: Policy) -> bool:
        """Count a TLS handshake, until ``end_handshake``. False, and the slot is given back: there are too many."""
        counters = self._slots.counters
        if counters.handshakes >= room_for(peer, policy, policy.server.max_handshakes):
            counters.refused_handshakes += 1
            self._turn_away(MANY_HANDSHAKES, peer)
            return False
        counters.handshakes += 1
        return True

    def end_handshake(self) -> None:
        """The handshake is over, one way or the other."""
        self._slots.counters.handshakes -= 1

    def _turn_away(self, fault: SetupFault, peer: Peer) -> None:
        self._slots.note(fault, peer.text)
        self.release()

    def release(self) -> None:
        """Give the slot back. A second call does nothing, so that a connection that fails half-way counts once."""
        if not self._held:
            return
        self._held = False
        self._slots.counters.open -= 1
        if self._group is None:
            return
        left = self._slots.groups[self._group] - 1
        if left:
            self._slots.groups[self._group] = left
        else:
            del self._slots.groups[self._group]


def room_for(peer: Peer, policy: Policy, most: int, *, lasting: bool = False) -> int:
    """How many of ``most`` there may be for this one to come: unlisted addresses leave a share to listed ones, and what
    may be silent for as long as it likes (``lasting``) leaves it to connections of routes.
    """
    reserved = policy.reserved_for
    if not (reserved or (lasting and policy.routes)) or peer in reserved:
        return most
    return policy.server.open_to_strangers(most)


def speaks_for_many(peer: Peer, policy: Policy, *, named: bool) -> bool:
    """Whether many clients come from there: it is a unix socket, or a trusted proxy that no PROXY header ``named``."""
    return not peer.version or (peer in policy.trusted_proxies and not named)


class PolicyHolder(Protocol):
    """What accepting needs of the worker besides the slots."""

    @property
    def policy(self) -> Policy:
        """The policy in force; a reload swaps it."""
        ...
