"""Which admitted deliveries are passed on: what a route asks of payloads, asked of one body once it has its verdict.

The sender's proof comes first: a forged delivery is not looked at, and learns nothing of what the route takes. An
endpoint check of the provider is no delivery, and never left out. May be asked beside the loop.
"""

from __future__ import annotations

from typing import Protocol

from proxy.core.exchange import Admit
from proxy.core.handshakes import signed_challenge
from proxy.core.where import PayloadRule, Selection
from proxy.http1 import RequestHead
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
