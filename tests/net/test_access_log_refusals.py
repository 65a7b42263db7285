"""Which refusals have a line of their own, and what is said of the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.core.record import ExchangeRecord
from proxy.net import access_log
from proxy.net.access_log import OTHERS, RefusalDigest, Summary
from proxy.reasons import Reason


def record(reason: Reason = Reason.SIGNATURE_MISMATCH, client: str = "192.0.2.1") -> ExchangeRecord:
    return ExchangeRecord("a", 1000.0, client, client, reason=reason, duration_s=0.5)


def digest(**options: Any) -> tuple[RefusalDigest, list[Summary]]:
    told: list[Summary] = []
    loop = asyncio.new_event_loop()
    loop.close()
    loop.call_later = lambda *_: FakeTimer()  # type: ignore[assignment, method-assign]
    return RefusalDigest(loop, told.append, **options), told


class FakeTimer:
    def cancel(self) -> None:
        """It never fires."""


def test_one_in_so_many_has_a_line() -> None:
    one, told = digest(sample=3)
    assert [one.takes(record()) for _ in range(7)] == [True, False, False, True, False, False, True]
    assert one.withheld == 4
    one.flush()
    assert told == []


@pytest.mark.parametrize(
    "reason",
    [
        *(Reason.DELIVERED, Reason.FILTERED, Reason.UPSTREAM_TIMEOUT, Reason.INTERNAL_ERROR),
        *(Reason.OVERLOADED, Reason.SENDER_GONE),
    ],
)
def test_what_is_no_refusal_always_has_its_line(reason: Reason) -> None:
    one, told = digest(sample=1000, per_minute=1)
    assert all(one.takes(record(reason)) for _ in range(5))
    one.flush()
    assert told == []


def test_an_address_has_so_many_lines_a_minute_and_then_a_sum() -> None:
    one, told = digest(per_minute=2)
    kinds = [Reason.SIGNATURE_MISMATCH] * 4 + [Reason.PATH_NOT_MATCHED]
    assert [one.takes(record(kind)) for kind in kinds] == [True, True, False, False, False]
    assert one.takes(record(client="192.0.2.2"))
    one.flush()
    [summary] = told
    assert (summary.address, summary.withheld, summary.newest) == ("192.0.2.1", 3, 1000.5)
    assert summary.reasons == {"signature_mismatch": 2, "path_not_matched": 1}
    assert one.takes(record())
    one.flush()
    assert len(told) == 1


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_ADDRESSES", 2)
    one, told = digest(per_minute=1)
    takes = [one.takes(record(client=f"192.0.2.{n}")) for n in range(6)]
    assert takes == [True, True, True, False, False, False]
    one.flush()
    assert [(summary.address, summary.withheld) for summary in told] == [(OTHERS, 3)]
