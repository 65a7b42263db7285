"""The lines: names, values that cannot forge, batches."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.record import ExchangeRecord
from proxy.net import log_formats
from proxy.net.access_log import AccessLog
from proxy.net.log_formats import JsonLines, TextLines, printable, severity, timestamp
from proxy.reasons import Phase, Reason

FIELDS = {
    "request_id": "abc00000001",
    "started": 1_790_000_000.5,
    "peer": "10.0.0.9",
    "client": "192.0.2.1",
    "reason": Reason.DELIVERED,
    "phase": Phase.DONE,
    "verdict": "admitted",
    "method": "POST",
    "path": "/hooks/github",
    "host": "hooks.example.com:8443",
    "scheme": "https",
    "user_agent": "GitHub-Hookshot/044aadd",
    "status": 204,
    "route": "github",
    "provider": "github",
    "event": "push",
    "delivery_id": "72d3162e",
    "secret_name": "2026-q4",
    "upstream": "http://127.0.0.1:8000",
    "duration_s": 0.25,
    "upstream_duration_s": 0.125,
    "bytes_in": 1000,
    "bytes_out": 2,
}


def record(**changes: Any) -> ExchangeRecord:
    return ExchangeRecord(**(FIELDS | changes))


class FakeSink:
    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.counts: list[int] = []
        self.dropped = 0
        self.calls: list[str] = []
        self.event = asyncio.Event()

    async def written(self) -> None:
        async with asyncio.timeout(5):
            await self.event.wait()
        self.event.clear()

    def write(self, data: bytes, lines: int) -> None:
        self.batches.append(data)
        self.counts.append(lines)
        self.event.set()

    def reopen(self) -> None:
        self.calls.append("reopen")

    def close(self, timeout_s: float) -> None:
        self.calls.append("close")

    @property
    def lines(self) -> list[str]:
        return b"".join(self.batches).decode("ascii").splitlines()


def test_a_delivery_as_json():
    assert json.loads(JsonLines()(record())) == {
        "timestamp": "2026-09-21T14:13:20.750000Z",
        "severity": "INFO",
        "event.name": "hookward.exchange",
        "http.request.id": "abc00000001",
        "client.address": "192.0.2.1",
        "network.peer.address": "10.0.0.9",
        "network.protocol.version": "1.1",
        "http.request.method": "POST",
        "url.scheme": "https",
        "url.path": "/hooks/github",
        "server.address": "hooks.example.com",
        "server.port": 8443,
        "user_agent.original": "GitHub-Hookshot/044aadd",
        "http.response.status_code": 204,
        "http.route": "github",
        "http.server.request.duration": 0.25,
        "http.request.body.size": 1000,
        "http.response.body.size": 2,
        "webhook.verdict": "admitted",
        "webhook.reason": "delivered",
        "webhook.ended_by": "upstream",
        "webhook.phase": "done",
        "webhook.provider": "github",
        "webhook.event": "push",
        "webhook.delivery_id": "72d3162e",
        "webhook.secret_name": "2026-q4",
        "hookward.upstream.address": "http://127.0.0.1:8000",
        "hookward.upstream.duration": 0.125,
    }


def test_how_long_a_turn_was_waited_for():
    assert json.loads(JsonLines()(record(turn_s=1.5)))["hookward.turn.duration"] == 1.5
    assert " turn=1500.0ms " in TextLines(colour=False)(record(turn_s=1.5))


def test_what_is_unknown_is_left_out():
    bare = ExchangeRecord("id", 0.0, "192.0.2.1", "192.0.2.1", reason=Reason.HEAD_TIMEOUT)
    assert set(json.loads(JsonLines()(bare))) == {
        "timestamp",
        "severity",
        "event.name",
        "http.request.id",
        "client.address",
        "network.peer.address",
        "http.server.request.duration",
        "http.request.body.size",
        "http.response.body.size",
        "webhook.reason",
        "webhook.ended_by",
        "webhook.phase",
    }


def test_a_refusal_says_which_rule_and_what_was_only_observed():
    line = json.loads(JsonLines()(record(reason=Reason.BAD_REQUEST, detail="cl_te", status=400)))
    assert (line["webhook.reason"], line["webhook.detail"]) == ("bad_request", "cl_te")
    line = json.loads(JsonLines()(record(observed=Reason.TOKEN_MISSING)))
    assert line["webhook.observed_reason"] == "token_missing"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_line_in_both_forms(reason: Reason):
    one = record(reason=reason)
    assert json.loads(JsonLines()(one))["webhook.reason"] == reason.word
    assert reason.word in TextLines(colour=True)(one)


@pytest.mark.parametrize(
    ("reason", "status", "level"),
    [
        (Reason.DELIVERED, 200, "INFO"),
        (Reason.DELIVERED, 404, "INFO"),
        (Reason.DELIVERED, 500, "WARN"),
        (Reason.SIGNATURE_MISMATCH, 403, "WARN"),
        (Reason.UPSTREAM_UNREACHABLE, 502, "ERROR"),
        (Reason.INTERNAL_ERROR, 500, "ERROR"),
    ],
)
def test_severity(reason: Reason, status: int, level: str):
    assert severity(record(reason=reason, status=status)) == level


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("example.com", "example.com", None),
        ("example.com:443", "example.com", 443),
        ("[::1]:80", "[::1]", 80),
        ("[::1]", "[::1]", None),
        (":80", ":80", None),
        ("a:123456", "a:123456", None),
        ("a:²", "a:²", None),
    ],
)
def test_the_port_of_host_is_a_field_of_its_own(host: str, name: str, port: int | None):
    line = json.loads(JsonLines()(record(host=host)))
    assert (line["server.address"], line.get("server.port")) == (name, port)


HOSTILE = st.text(st.characters(), max_size=400)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_value_can_forge_a_line_or_drive_a_terminal(path: str, agent: str, event: str):
    one = record(path=path, user_agent=agent, event=event, delivery_id=agent, host=event, client=agent, method=path)
    for text in (JsonLines()(one), TextLines(colour=False)(one)):
        assert text.isascii()
        assert text.isprintable()
    line = json.loads(JsonLines()(one))
    assert line.get("user_agent.original", "") == agent[:256]
    assert line.get("webhook.event", "") == event[:256]


def test_values_are_cut():
    line = json.loads(JsonLines()(record(path="/" + "a" * 5000, user_agent="b" * 5000)))
    assert len(line["url.path"]) == 256
    assert len(line["user_agent.original"]) == 256


def test_the_second_of_the_time_is_renewed():
    lines = JsonLines()
    times = [json.loads(lines(record(started=float(s), duration_s=0.0)))["timestamp"] for s in (0, 0, 1, 61, 1)]
    assert [t[17:19] for t in times] == ["00", "00", "01", "01", "01"]
    assert timestamp(61.25) == "1970-01-01T00:01:01.250000Z"


def test_kept_fragments_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_formats, "MAX_KEPT", 10)
    lines = JsonLines()
    for number in range(100):
        assert json.loads(lines(record(route=f"r{number}")))["http.route"] == f"r{number}"
    assert len(lines._fixed) <= 10


def test_what_clients_choose_is_kept_of_few() -> None:
    lines = JsonLines()
    for number in range(3 * log_formats.MAX_REQUESTS):
        assert f'"/{number}"' in lines(record(path=f"/{number}", host=f"h{number}:80", event=f"e{number}"))
        assert len(lines._requests) <= log_formats.MAX_REQUESTS


def test_text_for_people():
    text = TextLines(colour=False)(record(reason=Reason.SIGNATURE_MISMATCH, status=403, detail="x"))
    assert text[12:].startswith(" 403 POST /hooks/github signature_mismatch (x) 250.0ms from=192.0.2.1 via=10.0.0.9")
    assert "route=github event=push delivery=72d3162e" in text
    assert "provider=" not in text, "it is the route's name already"
    assert "\033[33m403" in TextLines(colour=True)(record(reason=Reason.SIGNATURE_MISMATCH, status=403))
    assert " --- - - head_timeout " in TextLines(colour=False)(
        ExchangeRecord("id", 0.0, "192.0.2.1", "192.0.2.1", reason=Reason.HEAD_TIMEOUT)
    )
    observed = TextLines(colour=False)(record(observed=Reason.TOKEN_MISMATCH))
    assert "delivered (only observed: token_mismatch)" in observed


def test_printable():
    assert printable('a\x1b[31m\x7f\u2028é"') == 'a\\u001b[31m\\u007f\\u2028\\u00e9\\"'


def in_loop(action) -> None:
    async def main() -> None:
        await action(asyncio.get_running_loop())

    asyncio.run(main())


def test_lines_of_one_moment_are_one_write():
    sink = FakeSink()

    async def action(loop: asyncio.AbstractEventLoop) -> None:
        log = AccessLog(sink, JsonLines(), loop)
        for _ in range(5):
            log.write(record())
        assert not sink.batches
        await sink.written()
        log.write(record())
        log.write(record())
        await sink.written()

    in_loop(action)
    assert sink.counts == [5, 2]
    assert all(json.loads(line) for line in sink.lines)


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines(colour=False)], ids=["json", "text"])
def test_dropped_lines_are_told_once(formatter):
    sink = FakeSink()

    async def action(loop: asyncio.AbstractEventLoop) -> None:
        log = AccessLog(sink, formatter, loop)
        sink.dropped = 17
        for _ in range(2):
            log.write(record())
            log.flush()
        assert log.dropped == 17

    in_loop(action)
    assert sink.counts == [2, 1]
    [told] = [line for line in sink.lines if "17" in line and "dropped" in line]
    if isinstance(formatter, JsonLines):
        assert json.loads(told)["hookward.log.dropped"] == 17


def test_reopen_and_close_write_what_is_gathered_first():
    sink = FakeSink()

    async def action(loop: asyncio.AbstractEventLoop) -> None:
        log = AccessLog(sink, JsonLines(), loop)
        log.write(record())
        log.reopen()
        log.write(record())
        log.close()
        log.flush()

    in_loop(action)
    assert sink.counts == [1, 1]
    assert sink.calls == ["reopen", "close"]
