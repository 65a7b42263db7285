"""A sender's connection, as an exchange sees it: what may be asked of it, and why it may not be read.

``net.client`` is the one that answers; an exchange knows no more of it than this.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from proxy.core.addresses import Peer
from proxy.core.handshakes import HandshakeAnswer
from proxy.core.record import ExchangeRecord


class Pause(IntEnum):
    """Why a sender's connection is not read. Reasons can be added up."""

    BUDGET = 1  # no buffer for its body yet: what was read is not looked at either
    UPSTREAM = 2  # the upstream is slower than the sender
    CONNECT = 4  # content waits for a connection to the upstream
    PIPELINED = 8  # the next request has to wait for this one's answer
    UNREAD = 16  # the sender does not take the answers it has: the next request waits until it does


class Sender(Protocol):
    """The sender's connection, as an exchange sees it."""

    secure: bool
    peer: Peer
    peer_trusted: bool

    def proxy_header(self, client: str) -> bytes:
        """The PROXY header that names ``client``, the address that was judged."""

    def write(self, pieces: list[bytes]) -> None:
        """Give bytes of the answer to the transport."""

    def pause(self, why: Pause) -> None:
        """Stop reading."""

    def resume(self, why: Pause) -> None:
        """Read on, where nothing else forbids it."""

    def read_more(self, *, generous: bool) -> None:
        """Take more with each read of this request's content, or no more than usual."""

    def answer_refusal(self, record: ExchangeRecord, *, body_read: bool) -> None:
        """Write the prebuilt answer for ``record.reason`` and ``record.status``."""

    def answer_handshake(self, record: ExchangeRecord, answer: HandshakeAnswer) -> None:
        """Write our own answer to a request that was read whole."""

    def exchange_ended(self, *, close: bool) -> None:
        """The answer is written whole; the next head may come, or the connection closes."""

    def cut(self) -> None:
        """End the connection by reset: what was sent must not look complete."""

    def failed(self, bug: Exception) -> None:
        """A step of the exchange has raised: end it, and the connection."""
