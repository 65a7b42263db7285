"""The two state machines of the shell, as data (the tables are walked by a test and drawn in the docs).

Rule 1: a connection changes its state only through ``moved``, so an illegal move is a ``KeyError`` with both names, at
once, and never a silent one. Rule 2: what depends on a state is asked of the state, not kept in a second flag.

Client:   HEAD -> (REFUSING | BODY -> ANSWER) -> HEAD | CLOSING -> CLOSED
Upstream: DIALING -> IDLE -> SENDING -> AWAITING -> READING -> IDLE | CLOSED
"""

from __future__ import annotations

from enum import Enum


class _State(Enum):
    # Members are single objects; the default hashes their names in Python, at every move.
    __hash__ = object.__hash__


class ClientState(_State):
    """Where the sender's connection stands."""

    HEAD = "head"  # idle, or a head is incomplete
    BODY = "body"  # an admitted head; content is awaited
    ANSWER = "answer"  # the request is complete; the answer is awaited or on its way
    REFUSING = "refusing"  # answered; what still comes is discarded within bounds (lingering close)
    CLOSING = "closing"  # nothing is read; the write buffer drains
    CLOSED = "closed"


class UpstreamState(_State):
    """Where a connection to the upstream stands."""

    DIALING = "dialing"
    IDLE = "idle"
    SENDING = "sending"  # the request's end has not been written
    AWAITING = "awaiting"  # the request is written; no final head has come
    READING = "reading"  # content of the answer is coming
    CLOSED = "closed"


CLIENT_MOVES: dict[ClientState, frozenset[ClientState]] = {
    ClientState.HEAD: frozenset(
        {
            ClientState.HEAD,  # refused by the head alone, its body read: the next one may come
            ClientState.BODY,
            ClientState.ANSWER,
            ClientState.REFUSING,
            ClientState.CLOSING,
            ClientState.CLOSED,
        }
    ),
    ClientState.BODY: frozenset(
        {ClientState.ANSWER, ClientState.HEAD, ClientState.REFUSING, ClientState.CLOSING, ClientState.CLOSED}
    ),
    ClientState.ANSWER: frozenset({ClientState.HEAD, ClientState.REFUSING, ClientState.CLOSING, ClientState.CLOSED}),
    ClientState.REFUSING: frozenset({ClientState.CLOSING, ClientState.CLOSED}),
    ClientState.CLOSING: frozenset({ClientState.CLOSED}),
    ClientState.CLOSED: frozenset(),
}

UPSTREAM_MOVES: dict[UpstreamState, frozenset[UpstreamState]] = {
    UpstreamState.DIALING: frozenset({UpstreamState.IDLE, UpstreamState.CLOSED}),
    UpstreamState.IDLE: frozenset({UpstreamState.SENDING, UpstreamState.AWAITING, UpstreamState.CLOSED}),
    UpstreamState.SENDING: frozenset({UpstreamState.AWAITING, UpstreamState.READING, UpstreamState.CLOSED}),
    UpstreamState.AWAITING: frozenset({UpstreamState.READING, UpstreamState.IDLE, UpstreamState.CLOSED}),
    UpstreamState.READING: frozenset({UpstreamState.IDLE, UpstreamState.CLOSED}),
    UpstreamState.CLOSED: frozenset(),
}


class IllegalMoveError(AssertionError):
    """A move that the tables do not have: a bug of ours."""


def client_moved(old: ClientState, new: ClientState) -> ClientState:
    """``new``, where the table allows the move."""
    if new not in CLIENT_MOVES[old]:
        raise IllegalMoveError(f"client: {old.value} -> {new.value}")
    return new


def upstream_moved(old: UpstreamState, new: UpstreamState) -> UpstreamState:
    """``new``, where the table allows the move."""
    if new not in UPSTREAM_MOVES[old]:
        raise IllegalMoveError(f"upstream: {old.value} -> {new.value}")
    return new
