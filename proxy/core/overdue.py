"""``overdue``: whether an exchange has had its time, and whose fault it is (design: limits).

Asked once a second of every exchange under way; it changes nothing. ``core.relay`` has the states, ``policy.Limits``
the times.
"""

from __future__ import annotations

from proxy.core.relay import ADMITTED, AWAITING, DIALING, KEPT, RECEIVING, RELAYING, SENDING, Relay
from proxy.reasons import Reason

#: The minimum rate of a body counts after this long (design: limits).
RATE_GRACE_S = 5.0
_AT_UPSTREAM = frozenset({SENDING, AWAITING, KEPT})


def overdue(relay: Relay, now: float, *, paused_s: float, read: bool, taken: bool) -> tuple[Reason, str] | None:
    """Why ``relay`` is over at ``now``, as reason and detail to refuse it with; None where there is time left.

    ``paused_s`` is how long we ourselves did not read the client, ``read`` says whether we read the upstream, and
    ``taken`` whether it takes what it is given.
    """
    limits = relay.admit.route.limits
    elapsed = now - relay.started
    if _is_slow(relay, elapsed - paused_s):
        return Reason.BODY_TIMEOUT, ""
    if elapsed > limits.request_timeout_s:
        return _whose_turn(relay, read=read, taken=taken), "request_timeout"
    awaited = relay.answer is RELAYING or (relay.answer in _AT_UPSTREAM and relay.request is ADMITTED)
    if awaited and read and now - relay.touched > limits.upstream_timeout_s:
        return Reason.UPSTREAM_TIMEOUT, ""
    return None


def _is_slow(relay: Relay, active_s: float) -> bool:
    """Whether the client is. One that has its answer need not send the rest."""
    if relay.request is not RECEIVING or relay.answer is RELAYING:
        return False
    limits = relay.admit.route.limits
    if active_s > limits.body_timeout_s:
        return True
    counted_s = active_s - RATE_GRACE_S
    return counted_s > 0 and relay.gate.received < limits.body_min_rate * counted_s


def _whose_turn(relay: Relay, *, read: bool, taken: bool) -> Reason:
    """Whose turn it is, as the reason why there was not enough time."""
    if relay.answer is RELAYING:
        return Reason.UPSTREAM_TIMEOUT if read else Reason.WRITE_TIMEOUT
    if relay.request is RECEIVING and relay.answer is not DIALING and taken:
        return Reason.BODY_TIMEOUT
    return Reason.UPSTREAM_TIMEOUT
