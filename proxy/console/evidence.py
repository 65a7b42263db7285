"""What the checks find in a kept delivery, and why it was refused: as ``explain`` has it, as of when it came.

The checks are those that serve, asked again of the bytes that were kept and of the configuration in force. Looking for
a cause is work: the caller gives it to a thread.
"""

from __future__ import annotations

from contextlib import suppress

from proxy.config.sizes import took
from proxy.console.kept import Json, KeptExchange
from proxy.core.addresses import Peer
from proxy.core.policy import Policy
from proxy.core.walk import ADMITTED, Trip, Walk, walk
from proxy.reasons import Ended, Reason

_TOLD = {
    Reason.DELIVERED: "the application answered",
    Reason.FILTERED: "what it says is not what `where` names, so it was answered and not passed on",
    Reason.HANDSHAKE_ANSWERED: "an endpoint check of the provider, which hookward answered",
    Reason.DUPLICATE_DELIVERED: "a duplicate of one that was delivered before",
    Reason.DUPLICATE_IN_FLIGHT: "a duplicate of one that was under way",
}


def find(kept: KeptExchange, policy: Policy) -> Json:
    """What each check finds, the cause where one is found, and the verdict in a sentence. Takes up to 0.1 s."""
    head, body = (kept.raw, kept.content) if kept.raw else (kept.content, b"")
    found = walk(Trip(head, body, policy, kept.record.started, _peer(kept)))
    cause = None if found.diagnosis is None else {"word": found.diagnosis.word, "sentence": found.diagnosis.sentence}
    return {
        "sentence": sentence(kept, found),
        "checks": [{"name": step.name, "passed": step.passed, "said": step.said} for step in found.steps],
        "cause": cause,
        # Another configuration, or a body that is not here whole, may judge otherwise than was judged then.
        "agrees": found.word == _expected(kept),
    }


def _expected(kept: KeptExchange) -> str:
    """The word that the same checks would end with."""
    record = kept.record
    is_left_out = record.reason is Reason.FILTERED
    return ADMITTED if record.verdict == "admitted" and not is_left_out else record.reason.word


def sentence(kept: KeptExchange, found: Walk | None = None) -> str:
    """The verdict in one sentence."""
    record = kept.record
    by = f" by the route {record.route}" if record.route else ""
    secret = f" with the secret {record.secret_name}" if record.secret_name else ""
    if record.verdict == "observed" and record.observed is not None:
        return f"Passed on{by}, which only observes; else it would have been refused: {_words(record.observed)}."
    if record.verdict == "admitted":
        end = _TOLD.get(record.reason, _words(record.reason))
        if record.reason is Reason.DELIVERED:
            end = f"{end} {record.status} after {took(record.upstream_duration_s)}"
        return f"Admitted{by}{secret}; {end}."
    if record.verdict == "refused":
        why = "" if found is None or found.diagnosis is None else f" {found.diagnosis.sentence}"
        detail = f" ({record.detail})" if record.detail else ""
        return f"Refused{by} with {record.status}: {_words(record.reason)}{detail}.{why}"
    ended = {Ended.SENDER: "the sender", Ended.UPSTREAM: "the application", Ended.US: "hookward"}[
        record.reason.ended_by
    ]
    return f"Ended{by} by {ended} before a verdict: {_words(record.reason)}."


def _words(reason: Reason) -> str:
    return reason.word.replace("_", " ")


def _peer(kept: KeptExchange) -> Peer | None:
    with suppress(ValueError):
        return Peer.unix() if kept.record.client.startswith("unix:") else Peer.of(kept.record.client)
    return None
