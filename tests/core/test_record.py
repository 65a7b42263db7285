"""A record that nobody has filled tells of a failure, never of a success."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.core.record import ExchangeRecord
from proxy.reasons import Phase, Reason


def blank() -> ExchangeRecord:
    return ExchangeRecord("id", 1.0, "192.0.2.1", "192.0.2.1")


def test_what_ends_before_it_is_judged_is_an_internal_error_without_a_verdict():
    record = blank()
    assert (record.reason, record.phase, record.verdict, record.status) == (Reason.INTERNAL_ERROR, Phase.HEAD, "", 0)
    assert record.observed is None


def test_a_record_has_no_place_for_a_query_a_body_or_a_secret():
    names = {field.name for field in dataclasses.fields(ExchangeRecord)}
    assert not names & {"target", "query", "url", "body", "content", "secret", "token", "signature", "fields"}


def test_what_is_noted_of_our_own_answer_to_a_check():
    record = blank()
    record.answer_handshake(200, 3)
    assert record == dataclasses.replace(
        blank(),
        reason=Reason.HANDSHAKE_ANSWERED,
        phase=Phase.DONE,
        verdict="admitted",
        handshake="answered",
        status=200,
        bytes_out=3,
    )


def test_a_record_takes_no_names_that_it_does_not_know():
    record = blank()
    with pytest.raises(AttributeError):
        record.rout = "github"  # type: ignore[attr-defined]


def test_what_is_noted_of_a_head_that_is_refused():
    record = blank()
    record.refuse(Reason.BAD_REQUEST, "cl_te")
    assert record == dataclasses.replace(blank(), detail="cl_te", verdict="refused")


def test_what_an_upstream_has_done_is_no_verdict():
    record = blank()
    record.refuse(Reason.UPSTREAM_RESET, "eof")
    assert record == dataclasses.replace(blank(), detail="eof")
    record.admit(None)
    record.refuse(Reason.UPSTREAM_TIMEOUT, "")
    assert record.verdict == "admitted"


@pytest.mark.parametrize("observed", [None, Reason.TOKEN_MISSING])
def test_what_is_noted_of_a_verdict(observed):
    record = blank()
    record.admit(observed)
    assert record == dataclasses.replace(blank(), verdict="observed" if observed else "admitted", observed=observed)
