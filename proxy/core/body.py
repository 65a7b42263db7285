"""``BodyGate``: what of a body may go to the upstream, and when (design: promise 2).

Theory. Content comes in pieces, in any cut. The gate hashes every piece once, as it comes, and says which pieces
may leave now:

* FREE  everything, as it comes: nothing about the body is proved;
* TAIL  nothing while the body fits the window; beyond it the body streams, and at least ``WITHHELD_BYTES`` of its end
        stay here until the verdict, so that the upstream never has a whole message that was not admitted;
* HOLD  nothing. A body that does not fit the window goes to a ``Spill`` (a temporary file of the shell).

The sum of what leaves, in order, is the body to the byte: the very buffers that were hashed (threats S1). The gate
knows no connection, and does not know about framing: ``finish`` is called when the framing has ended without error.

A ``Selector`` asks of a body that has its verdict what the route asks of payloads. The sender's proof comes first: a
forged delivery is not looked at, and learns nothing of what the route takes. An endpoint check of the provider is no
delivery, and never left out. May be asked beside the loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from proxy.core.exchange import Admit
from proxy.core.handshakes import signed_challenge
from proxy.core.payload import PayloadRule, Selection
from proxy.core.policy import BodyMode
from proxy.core.signing.proof import Verification
from proxy.http1 import Piece, RequestHead
from proxy.reasons import OBSERVABLE, Reason

PASSED = Selection()


class KeptBody(Protocol):
    """What has the body: ``core.body.BodyGate``."""

    def body_in_window(self) -> bytes | None:
        """All of it, in one piece; None where it is larger than what is kept of bodies."""


class Selector:
    """Asks what the route of one admitted head asks of payloads."""

    __slots__ = ("_admit", "_head", "_rule")

    def __init__(self, head: RequestHead, admit: Admit, rule: PayloadRule) -> None:
        self._head = head
        self._admit = admit
        self._rule = rule

    @property
    def lets_stream(self) -> bool:
        """Whether a body beyond the window goes on, undecided or because the route only observes."""
        reason = self._rule.judge(self._head, None).reason
        return reason is None or (self._admit.route.observe and reason in OBSERVABLE)

    def __call__(self, verdict: str | Reason | None, kept: KeptBody) -> Selection:
        """What becomes of a body that has this verdict. The admitted head learns the event."""
        route = self._admit.route
        if isinstance(verdict, Reason) and not route.observe:
            return PASSED
        body = kept.body_in_window()
        if body is not None and signed_challenge(route, self._head, body) is not None:
            return PASSED
        selection = self._rule.judge(self._head, body)
        self._admit.event = selection.event
        return selection


def selector_of(head: RequestHead, admit: Admit) -> Selector | None:
    """What selects among the bodies of a route; None where it passes on them all, or the head is a check."""
    rule = admit.route.payload
    return None if rule is None or admit.check is not None else Selector(head, admit, rule)


#: Kept back in ``tail`` beyond the window. One byte would do to make the message incomplete; 16 KiB also keep the last
#: records from an application that reads a stream record by record.
WITHHELD_BYTES = 16 * 1024
#: Smaller pieces are joined while they are held. Each costs some 40 bytes beside its content, so a client that cuts its
#: body into crumbs would otherwise hold ten times what it has reserved.
CRUMB_BYTES = 1024

FREE = BodyMode.FREE
TAIL = BodyMode.TAIL
HOLD = BodyMode.HOLD


class Spill(Protocol):
    """Where ``hold`` keeps what does not fit the window."""

    size: int

    def write(self, data: bytes) -> None:
        """Append ``data``."""

    def pieces(self) -> Iterator[bytes]:
        """What was written, in order."""


class BodyGate:
    """The gate of one exchange. ``feed`` each piece, then ``finish`` once, then ``take`` what was held."""

    __slots__ = (
        "_held",
        "_mode",
        "_running",
        "_select",
        "_selected",
        "_spill",
        "_verification",
        "_window",
        "held_bytes",
        "is_free",
        "received",
        "streaming",
    )

    def __init__(
        self,
        mode: BodyMode,
        window: int,
        verification: Verification | None,
        spill: Spill | None,
        select: Selector | None = None,
    ) -> None:
        """``window`` in bytes; ``spill`` is for HOLD only; without ``verification`` all is admitted."""
        self._mode = mode
        self._window = window
        self._verification = verification
        # A scheme that wants the body whole gets it from here: it is kept once.
        self._running = None if verification is None or verification.wants_whole else verification
        self._spill = spill
        self.is_free = mode is FREE  # nothing is to be proved by the body
        self.streaming = self.is_free  # content leaves before the verdict
        self._held: deque[bytes] = deque()
        self.held_bytes = 0
        self.received = 0
        self._select = select
        self._selected = PASSED

    @property
    def takes_large_pieces(self) -> bool:
        """Whether a large piece does not hold the loop: what is rewritten before it is hashed would."""
        return self._running is None or not self._running.rewrites

    @property
    def spilling(self) -> bool:
        """Whether the body has left memory for the spill."""
        return self._spill is not None and self.held_bytes != self.received

    def feed(self, piece: Piece) -> list[Piece]:
        """Take one piece of content; returns the pieces that may go to the upstream now. Of a view, only what leaves
        now is not copied.
        """
        self.received += len(piece)
        if self._running is not None:
            self._running.update(piece)
        if self._mode is FREE:
            return [piece]
        if self._spill is not None and self.received > self._window:
            # What was held goes first: from here on the body costs disk, and its share of memory serves others.
            for held in self.take():
                self._spill.write(held)
            self._spill.write(bytes(piece))
            return []
        if self.received > self._window and self._is_to_be_refused:
            self.take()  # it is hashed to its end: nothing of it is needed
            return []
        if self._mode is not TAIL or self.received <= self._window:
            self._hold(bytes(piece))
            return []
        self.streaming = True
        return self._hold_end(piece)

    @property
    def _is_to_be_refused(self) -> bool:
        """Whether a body beyond the window is refused at its end, whatever its verdict."""
        return self._select is not None and not self._select.lets_stream

    @property
    def wants_whole(self) -> bool:
        """Whether the whole body is looked at once it has ended: work that grows with it."""
        return (self._verification is not None and self._running is None) or self._select is not None

    def keep(self, body: bytes) -> None:
        """Take a body that came in one piece; the verdict is ``finish``'s."""
        self.received = self.held_bytes = len(body)
        if self._running is not None:
            self._running.update(body)
        if body:
            self._held.append(body)

    def finish(self) -> str | Reason | None:
        """The verdict: the name of the secret that matched, None where nothing had to be proved, or why not."""
        if self._running is not None:
            verdict: str | Reason | None = self._running.finish()
        else:
            verdict = None if self._verification is None else self.judge_kept(self._verification)
        return verdict if self._select is None else self._choose(self._select, verdict)

    def _choose(self, select: Selector, verdict: str | Reason | None) -> str | Reason | None:
        """The verdict, or why a body that is proved is refused all the same."""
        self._selected = select(verdict, self)
        reason = self._selected.reason
        if reason is None or reason is Reason.FILTERED:
            return verdict
        # Of two proofs that fail, and are only observed, the first is told.
        return verdict if isinstance(verdict, Reason) and reason in OBSERVABLE else reason

    @property
    def left_out(self) -> bool:
        """Whether the body is taken, and not passed on."""
        return self._selected.reason is Reason.FILTERED

    @property
    def detail(self) -> str:
        """Of what is refused for its payload, or left out: the condition, or what stood in the way of deciding."""
        return self._selected.detail

    def body_in_window(self) -> bytes | None:
        """The body in one piece, where it fits the window; it stays here."""
        return self.whole_body() if self.received <= self._window else None

    def judge_kept(self, verification: Verification) -> str | Reason:
        """The verdict on what is held or spilled, in one piece; it changes nothing here, so a thread may ask for it."""
        spilled = self._spill.pieces() if self._spill is not None and self.spilling else ()
        return verification.verify(b"".join([*spilled, *self._held]))

    def whole_body(self) -> bytes | None:
        """The body in one piece, where nothing of it has left memory; it stays here."""
        if self.streaming or self.held_bytes != self.received:
            return None
        return b"".join(self._held)

    def take(self) -> list[bytes]:
        """What is held in memory, in order; the gate holds it no longer."""
        pieces = list(self._held)
        self._held.clear()
        self.held_bytes = 0
        return pieces

    def spilled(self) -> Iterator[bytes] | None:
        """What lies in the spill, in order and in pieces; None where nothing does."""
        return self._spill.pieces() if self._spill is not None and self._spill.size else None

    def _hold(self, piece: bytes) -> None:
        held = self._held
        if held and len(piece) < CRUMB_BYTES and len(held[-1]) < CRUMB_BYTES:
            held[-1] += piece
        else:
            held.append(piece)
        self.held_bytes += len(piece)

    def _hold_end(self, piece: Piece) -> list[Piece]:
        """Hold the end of what is held and ``piece``; returns what comes before it."""
        excess = self.held_bytes + len(piece) - WITHHELD_BYTES
        leaving: list[Piece] = []
        while self._held and len(self._held[0]) <= excess:
            first = self._held.popleft()
            self.held_bytes -= len(first)
            excess -= len(first)
            leaving.append(first)
        if excess > 0 and not self._held:
            # What leaves now is still in the processor's caches; what is held will not be.
            leaving.append(memoryview(piece)[:excess])
            piece = piece[excess:]
        self._hold(bytes(piece))
        return leaving


#: Of a head that is refused nothing is read.
NO_BODY = BodyGate(FREE, 0, None, None)


def gate_of(head: RequestHead, admit: Admit, spill: Spill | None) -> BodyGate:
    """The gate for the body of an admitted head. ``spill`` takes what does not fit the window, in HOLD alone."""
    mode, select = admit.route.body, None if admit.route.payload is None else selector_of(head, admit)
    if mode is not HOLD:
        # What streams freely is what has nothing (or, observed past the head, nothing more) to prove. What may be
        # a duplicate keeps its end here until it is known to be none, and what may be left out is looked at first.
        settled = admit.verification is None and (admit.route.duplicates is None or admit.observed is not None)
        mode, spill = FREE if settled and select is None else TAIL, None
    return BodyGate(mode, admit.route.limits.hold_window, admit.verification, spill, select)
