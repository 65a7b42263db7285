"""Elastic's names, and the journal's priorities; what a peer chose cannot leave its place in either."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.net.access_log import AccessLog
from proxy.net.log_formats import _ECS, MAX_VALUE, EcsLines, JournalLines, JsonLines, TextLines, formatter
from proxy.reasons import Reason
from tests.net.test_access_log import record

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_line_in_elastics_names() -> None:
    found = json.loads(EcsLines()(record(trace_id=TRACE, span_id=SPAN)))
    assert found["@timestamp"].endswith("Z")
    assert found["log.level"] == "info"
    assert found["event.duration"] == 250_000_000
    assert found["event.outcome"] == "success"
    assert (found["http.response.status_code"], found["http.request.method"]) == (204, "POST")
    assert (found["trace.id"], found["span.id"]) == (TRACE, SPAN)
    assert found["webhook.delivery_id"] == "72d3162e"
    refused = json.loads(EcsLines()(record(reason=Reason.TOKEN_MISSING, status=403)))
    assert (refused["event.outcome"], refused["log.level"], refused["event.reason"]) == (
        "failure",
        "warn",
        "token_missing",
    )
    assert "trace.id" not in refused
    left_out = json.loads(EcsLines()(record(reason=Reason.FILTERED, status=200, detail="action")))
    assert (left_out["event.outcome"], left_out["log.level"]) == ("success", "info")


def test_both_json_forms_have_the_same_fields() -> None:
    one = record(trace_id=TRACE, span_id=SPAN, observed=Reason.TOKEN_MISSING, detail="peer", handshake="forwarded")
    ours, theirs = json.loads(JsonLines()(one)), json.loads(EcsLines()(one))
    assert {_ECS.get(name, name) for name in ours} <= theirs.keys()
    assert set(_ECS) <= ours.keys()
    for name in ours.keys() - {"timestamp", "severity", "event.name"}:
        assert theirs[_ECS.get(name, name)] == ours[name]


def test_a_line_for_the_journal() -> None:
    assert JournalLines()(record()).startswith("<6>204 POST /hooks/github delivered 250.0ms from=192.0.2.1")
    assert JournalLines()(record(reason=Reason.TOKEN_MISSING, status=403)).startswith("<4>403 ")
    assert JournalLines()(record(reason=Reason.UPSTREAM_RESET, status=502)).startswith("<3>502 ")


def test_a_short_time_is_shown_to_the_microsecond() -> None:
    text = TextLines(colour=False)
    assert " 0.036ms " in text(record(duration_s=0.000036))
    assert " 1.0ms " in text(record(duration_s=0.001))


def test_a_refusal_of_the_application_says_that_it_is_that() -> None:
    text = TextLines(colour=False)
    assert "400 POST /hooks/github delivered (the application answered so) " in text(record(status=400))
    assert "(the" not in text(record(status=204))
    assert "(the" not in text(record(status=403, reason=Reason.TOKEN_MISSING))


def test_a_cause_is_in_every_form() -> None:
    one = record(reason=Reason.SIGNATURE_MISMATCH, status=403)
    one.explain("secret_blank_there", 'The "secret" is a.', "Enter it again.")
    for form in (JsonLines(), EcsLines()):
        line = json.loads(form(one))
        assert (line["webhook.cause"], line["webhook.why"]) == ("secret_blank_there", 'The "secret" is a.')
        assert line["webhook.mend"] == "Enter it again."
        assert not {name for name in json.loads(form(record())) if name in {"webhook.cause", "webhook.why"}}
    assert " cause=secret_blank_there " in TextLines(colour=False)(one)


@given(st.text(max_size=300))
def test_nobody_breaks_out_of_a_value(text: str) -> None:
    chosen = {"path": text, "user_agent": text, "event": text, "delivery_id": text, "host": text, "method": text}
    line = EcsLines()(record(**chosen))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line).get("url.path", "") == text[:MAX_VALUE]
    journal = JournalLines()(record(**chosen))
    assert journal.isascii()
    assert journal.isprintable()
    assert journal.count("<6>") <= 1 + text.count("<6>") * 6


@pytest.mark.parametrize(
    ("name", "terminal", "kind"),
    [
        ("auto", True, TextLines),
        ("auto", False, JsonLines),
        ("json", True, JsonLines),
        ("text", False, TextLines),
        ("ecs", True, EcsLines),
        ("journald", True, JournalLines),
    ],
)
def test_the_form_that_is_asked_for(name: str, terminal: bool, kind: type) -> None:
    assert type(formatter(name, terminal=terminal, colour=False)) is kind


@pytest.mark.parametrize("name", ["json", "ecs", "text", "journald"])
def test_a_sum_of_refusals_is_a_line_in_every_form(name: str) -> None:
    batches: list[bytes] = []

    class Sink:
        dropped = 0

        def write(self, data: bytes, lines: int) -> None:
            del lines
            batches.append(data)

        def close(self, timeout_s: float) -> None:
            """It stays."""

    async def main() -> AccessLog:
        form = formatter(name, terminal=False, colour=False)
        log = AccessLog(Sink(), form, asyncio.get_running_loop(), per_minute=1)
        for _ in range(4):
            log.write(record(reason=Reason.SIGNATURE_MISMATCH, status=403))
        log.write(record())
        log.close()
        return log

    log = asyncio.run(main())
    assert log.withheld == 3
    refused, delivered, total = b"".join(batches).decode().splitlines()
    assert "signature_mismatch" in refused
    assert "204" in delivered
    if name in {"json", "ecs"}:
        found = json.loads(total)
        assert (found["event.name"], found["hookward.refusals.count"]) == ("hookward.refusals", 3)
        assert found["hookward.refusals.reasons"] == {"signature_mismatch": 3}
        assert ("@timestamp" in found) is (name == "ecs")
    else:
        assert total.startswith("<4>") is (name == "journald")
        assert "3 more refusals from=192.0.2.1: 3 signature_mismatch" in total


def test_the_trace_is_in_our_own_line_too() -> None:
    found = json.loads(JsonLines()(record(trace_id=TRACE, span_id=SPAN)))
    assert (found["trace_id"], found["span_id"]) == (TRACE, SPAN)
    assert "trace_id" not in json.loads(JsonLines()(record()))
