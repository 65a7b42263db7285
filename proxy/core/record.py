"""What is known of an exchange when it has ended: the log line and the metrics are made from it, nothing else.

The trace that a request belongs to (``traceparent`` of https://www.w3.org/TR/trace-context/) is read for the log alone
and passed on as it came. A client may name any trace.
"""

from __future__ import annotations

import re

from proxy.reasons import Ended, Phase, Reason
from proxy.values import mutable


@mutable
class ExchangeRecord:
    """One request and its answer. Texts from the network are as they came: to escape and cut them is the log's work.

    ``path`` has no query, so a token in a query cannot reach a log. Times: ``started`` in seconds since the epoch,
    durations in seconds.
    """

    request_id: str
    started: float
    peer: str  # the address of the connection
    client: str  # the address we judge: behind a trusted proxy the one it names
    # of the head, and of the route that it is for
    method: str = ""
    path: str = ""
    host: str = ""
    scheme: str = "http"
    minor: int = 1
    keep_alive: bool = False  # whether the connection may serve another request
    user_agent: str = ""
    route: str = ""
    provider: str = ""
    event: str = ""
    delivery_id: str = ""
    bare: bool = False  # whether a refusal goes without content, as the provider demands
    trace_id: str = ""  # of a ``traceparent`` that is well formed, in hexadecimal
    span_id: str = ""
    # what became of it
    reason: Reason = Reason.INTERNAL_ERROR
    detail: str = ""  # a fixed word that says which rule: "cl_te", "bare_lf", …
    phase: Phase = Phase.HEAD
    verdict: str = ""  # "admitted", "refused", "observed"; "" where none was reached
    cause: str = ""  # a word for why it failed, where that was found
    why: str = ""  # the same in a sentence of ours, which names secrets, routes and headers
    mend: str = ""
    observed: Reason | None = None  # what would have been refused, where the route only observes
    status: int = 0  # of the answer to the client; 0 without one
    secret_name: str = ""
    handshake: str = ""  # of an endpoint check: "forwarded", "answered"; a signed one that is passed on is not known
    upstream: str = ""
    duration_s: float = 0.0
    upstream_duration_s: float = 0.0
    turn_s: float = 0.0  # how long it waited for its turn, where its route has `concurrency` or `pace`
    bytes_in: int = 0  # content of the request
    bytes_out: int = 0  # content of the answer
    attempt: int = 0  # of a delivery that was kept; 0 is an exchange
    outcome: str = ""  # of an attempt: "delivered", "waiting" for another, or "dead"

    def refuse(self, reason: Reason, detail: str) -> None:
        """Note that it ended before its time. What an upstream has done to it is no verdict of ours."""
        self.detail = detail
        if reason.ended_by is not Ended.UPSTREAM:
            self.verdict = self.verdict or "refused"

    def admit(self, observed: Reason | None) -> None:
        """Note that it may pass; ``observed`` is what it would have been refused for, where its route only observes."""
        self.verdict = "admitted" if observed is None else "observed"
        self.observed = observed

    def explain(self, cause: str, why: str, mend: str) -> None:
        """Note why it failed, and what mends it."""
        self.cause, self.why, self.mend = cause, why, mend

    def answer_handshake(self, status: int, size: int) -> None:
        """Note that we answered an endpoint check by ourselves, with ``size`` bytes of content."""
        self.reason = Reason.HANDSHAKE_ANSWERED
        self.phase = Phase.DONE
        self.verdict = "admitted"
        self.handshake = "answered"
        self.status = status
        self.bytes_out = size

    def leave_out(self, detail: str, size: int, observed: Reason | None) -> None:
        """Note that a delivery of ``size`` bytes was taken and not passed on, for the condition ``detail``."""
        self.reason = Reason.FILTERED
        self.detail = detail
        self.phase = Phase.DONE
        self.admit(observed)
        self.status = Reason.FILTERED.status or 200
        self.bytes_in = size


def agent_of(upstream: str) -> str:
    """The name of the agent in the address of an upstream (``agent:NAME/PROCESS``); "" where it is none."""
    kind, _, rest = upstream.partition(":")
    name, mark, _ = rest.partition("/")
    return name if kind == "agent" and mark else ""


_FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_VERSION_0 = 55
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16


def read_traceparent(value: bytes) -> tuple[str, str]:
    """The trace id and the span id, in hexadecimal; ("", "") where the value is none that counts."""
    found = _FORM.fullmatch(value)
    if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        return "", ""
    if value.startswith(b"00") and len(value) != _VERSION_0:
        return "", ""
    return found[1].decode("ascii"), found[2].decode("ascii")
