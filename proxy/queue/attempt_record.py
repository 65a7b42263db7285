"""The record of an attempt, from which its line in the log is made: what the delivery was, and what came of it now."""

from __future__ import annotations

from proxy.core.record import ExchangeRecord
from proxy.queue.attempt import Attempt
from proxy.queue.records import Settlement
from proxy.reasons import Phase, Reason

_REASONS = {reason.word: reason for reason in Reason}
_INTERNAL_ERROR = Reason.INTERNAL_ERROR
_DONE, _CONNECT = Phase.DONE, Phase.CONNECT


def record_of(attempt: Attempt, settlement: Settlement) -> ExchangeRecord:
    """The record of an attempt that has ended."""
    last, parcel = settlement.last, attempt.taken.parcel
    facts = parcel.facts
    return ExchangeRecord(
        request_id=facts.get("request_id", parcel.id),
        started=last.at,
        peer=facts.get("peer", ""),
        client=facts.get("client", ""),
        reason=_REASONS.get(last.word, _INTERNAL_ERROR),
        detail=last.detail,
        phase=_DONE if last.status else _CONNECT,
        verdict="admitted",
        method=facts.get("method", ""),
        path=facts.get("path", ""),
        host=facts.get("host", ""),
        scheme=facts.get("scheme", "http"),
        user_agent=facts.get("agent", ""),
        status=last.status,
        route=parcel.lane,
        provider=facts.get("provider", ""),
        event=facts.get("event", ""),
        delivery_id=facts.get("delivery_id", ""),
        secret_name=facts.get("secret", ""),
        upstream=attempt.upstream,
        duration_s=last.lasted_s,
        upstream_duration_s=last.lasted_s,
        bytes_in=parcel.size,
        attempt=attempt.taken.attempts + 1,
        outcome="delivered" if settlement.condition is None else settlement.condition.name.lower(),
    )
