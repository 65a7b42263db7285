"""The five state machines, as data: two of connections, two of an exchange, and that of the service. A test walks the
tables, and the docs draw them.

Rule 1: a state changes only by its table, ``MOVES[old][new]``, so an illegal move is an error with both names, at
once, and never a silent one. Rule 2: what depends on a state is asked of the state, not kept in a second flag.

Client:   HEAD -> (REFUSING | BODY -> ANSWER) -> HEAD | CLOSING -> CLOSED
Upstream: DIALING -> IDLE -> SENDING -> AWAITING -> READING -> IDLE | CLOSED
Request:  RECEIVING -> JUDGING -> CLAIMING -> ADMITTED -> CLOSED
Answer:   NONE -> DIALING -> SENDING -> AWAITING -> KEPT -> RELAYING -> CLOSED, or -> STORING -> CLOSED
Service:  STARTING -> SERVING <-> (RELOADING | UPGRADING) -> LEAVING
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeVar

from proxy.values import IdentityEnum


class ClientState(IdentityEnum):
    """Where the client's connection stands."""

    HEAD = "head"  # idle, or a head is incomplete
    BODY = "body"  # an admitted head; content is awaited
    ANSWER = "answer"  # the request is complete; the answer is awaited or on its way
    REFUSING = "refusing"  # answered; what still comes is discarded within bounds (lingering close)
    CLOSING = "closing"  # nothing is read; the write buffer drains
    CLOSED = "closed"


class UpstreamState(IdentityEnum):
    """Where a connection to the upstream stands."""

    DIALING = "dialing"
    IDLE = "idle"
    SENDING = "sending"  # the request's end has not been written
    AWAITING = "awaiting"  # the request is written; no final head has come
    READING = "reading"  # content of the answer is coming
    CLOSED = "closed"


class RequestState(IdentityEnum):
    """What we have of an exchange's request (``core.relay``)."""

    RECEIVING = "receiving"  # the end of its content has not come
    JUDGING = "judging"  # it is here whole, and its verdict is made beside the loop
    CLAIMING = "claiming"  # its verdict is good; whether it is a duplicate is being asked
    ADMITTED = "admitted"  # all of it may go to the upstream, and the answer to the client
    CLOSED = "closed"


class AnswerState(IdentityEnum):
    """How far an exchange is with its upstream (``core.relay``)."""

    NONE = "none"  # nothing is wanted of an upstream yet
    DIALING = "dialing"  # a connection is being made
    SENDING = "sending"  # the request is on its way, without its end
    AWAITING = "awaiting"  # the whole request is sent
    KEPT = "kept"  # an answer has come, and the client has seen nothing of it
    RELAYING = "relaying"  # the client has its head
    STORING = "storing"  # it is being kept, to be delivered later
    OUTCOME = "outcome"  # the client has gone: of the answer only its status is awaited
    CLOSED = "closed"


class ServiceState(IdentityEnum):
    """What a process and its workers are at as a whole (``ops.service``)."""

    STARTING = "starting"  # nothing serves yet
    SERVING = "serving"
    RELOADING = "reloading"  # a load of the configuration is made and taken over
    UPGRADING = "upgrading"  # the process that is to replace this one has been started
    LEAVING = "leaving"


class IllegalMoveError(AssertionError):
    """A move that the tables do not have: a bug of ours."""


_S = TypeVar("_S", bound=IdentityEnum)
_T = TypeVar("_T", bound=IdentityEnum)


class Moves(dict[_T, _T]):
    """The states that may follow ``old``, or the events that it takes, each by itself: what a table gives for an
    ``old`` and a ``new`` one is the ``new`` one, or an IllegalMoveError. A look-up and no call: an exchange moves a
    dozen times.
    """

    __slots__ = ("_old",)

    def __init__(self, old: IdentityEnum, new: Iterable[_T]) -> None:
        super().__init__((one, one) for one in new)
        self._old = old

    def __missing__(self, new: _T) -> NoReturn:
        raise IllegalMoveError(f"{type(self._old).__name__}: {self._old.value} -> {new.value}")


def _table(moves: Mapping[_S, Iterable[_T]]) -> dict[_S, Moves[_T]]:
    return {old: Moves(old, new) for old, new in moves.items()}


CLIENT_MOVES = _table(
    {
        ClientState.HEAD: [
            ClientState.HEAD,  # refused by the head alone, its body read: the next one may come
            ClientState.BODY,
            ClientState.ANSWER,
            ClientState.REFUSING,
            ClientState.CLOSING,
            ClientState.CLOSED,
        ],
        ClientState.BODY: [
            ClientState.ANSWER,
            ClientState.HEAD,
            ClientState.REFUSING,
            ClientState.CLOSING,
            ClientState.CLOSED,
        ],
        ClientState.ANSWER: [ClientState.HEAD, ClientState.REFUSING, ClientState.CLOSING, ClientState.CLOSED],
        ClientState.REFUSING: [ClientState.CLOSING, ClientState.CLOSED],
        ClientState.CLOSING: [ClientState.CLOSED],
        ClientState.CLOSED: [],
    }
)

UPSTREAM_MOVES = _table(
    {
        UpstreamState.DIALING: [UpstreamState.IDLE, UpstreamState.CLOSED],
        UpstreamState.IDLE: [UpstreamState.SENDING, UpstreamState.AWAITING, UpstreamState.CLOSED],
        UpstreamState.SENDING: [UpstreamState.AWAITING, UpstreamState.READING, UpstreamState.CLOSED],
        UpstreamState.AWAITING: [UpstreamState.READING, UpstreamState.IDLE, UpstreamState.CLOSED],
        UpstreamState.READING: [UpstreamState.IDLE, UpstreamState.CLOSED],
        UpstreamState.CLOSED: [],
    }
)


REQUEST_MOVES = _table(
    {
        RequestState.RECEIVING: [
            RequestState.JUDGING,
            RequestState.CLAIMING,
            RequestState.ADMITTED,
            RequestState.CLOSED,
        ],
        RequestState.JUDGING: [RequestState.CLAIMING, RequestState.ADMITTED, RequestState.CLOSED],
        RequestState.CLAIMING: [RequestState.ADMITTED, RequestState.CLOSED],
        RequestState.ADMITTED: [RequestState.CLOSED],
        RequestState.CLOSED: [],
    }
)

ANSWER_MOVES = _table(
    {
        AnswerState.NONE: [AnswerState.DIALING, AnswerState.STORING, AnswerState.CLOSED],
        AnswerState.DIALING: [AnswerState.SENDING, AnswerState.AWAITING, AnswerState.STORING, AnswerState.CLOSED],
        AnswerState.SENDING: [AnswerState.AWAITING, AnswerState.KEPT, AnswerState.STORING, AnswerState.CLOSED],
        AnswerState.AWAITING: [AnswerState.KEPT, AnswerState.OUTCOME, AnswerState.STORING, AnswerState.CLOSED],
        AnswerState.KEPT: [AnswerState.RELAYING, AnswerState.CLOSED],
        AnswerState.RELAYING: [AnswerState.CLOSED],
        AnswerState.STORING: [AnswerState.CLOSED],
        AnswerState.OUTCOME: [AnswerState.CLOSED],
        AnswerState.CLOSED: [],
    }
)


SERVICE_MOVES = _table(
    {
        ServiceState.STARTING: [ServiceState.SERVING, ServiceState.LEAVING],
        ServiceState.SERVING: [ServiceState.RELOADING, ServiceState.UPGRADING, ServiceState.LEAVING],
        ServiceState.RELOADING: [ServiceState.SERVING, ServiceState.LEAVING],
        ServiceState.UPGRADING: [ServiceState.SERVING, ServiceState.LEAVING],
        ServiceState.LEAVING: [],
    }
)


class Event(IdentityEnum):
    """What a half may be told."""

    CONTENT = "content"
    VERDICT = "verdict"
    CLAIM = "claim"
    CONNECTED = "connected"
    TAKES = "takes"
    ANSWER = "answer"
    MORE = "more"
    FAILED = "failed"
    RESOLVED = "resolved"
    STORED = "stored"


REQUEST_HEARS: dict[RequestState, Moves[Event]] = _table(
    {
        RequestState.RECEIVING: [Event.CONTENT],
        RequestState.JUDGING: [Event.VERDICT],
        RequestState.CLAIMING: [Event.CLAIM],
        RequestState.ADMITTED: [],
        RequestState.CLOSED: [],
    }
)
_ON_THE_WAY = (Event.TAKES, Event.ANSWER, Event.FAILED)
ANSWER_HEARS: dict[AnswerState, Moves[Event]] = _table(
    {
        AnswerState.NONE: [],
        AnswerState.DIALING: [Event.CONNECTED],
        AnswerState.SENDING: _ON_THE_WAY,
        AnswerState.AWAITING: _ON_THE_WAY,
        AnswerState.KEPT: [Event.MORE, Event.FAILED],
        AnswerState.RELAYING: [Event.MORE, Event.FAILED],
        AnswerState.STORING: [Event.STORED],
        AnswerState.OUTCOME: [Event.RESOLVED],
        AnswerState.CLOSED: [],
    }
)


class Then(IdentityEnum):
    """What becomes of the client's connection when the exchange is over."""

    ANSWER = "answer"  # it is told by an answer of ours, ``own`` or the refusal for the record's reason
    GO_ON = "go on"  # it has its answer whole and may ask again
    CLOSE = "close"  # it has its answer whole; no further request is read
    CUT = "cut"  # what it has of the answer must look incomplete
    GONE = "gone"  # it is there no more
