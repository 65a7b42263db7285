"""The forms of a line of the access log.

``json``: the names of OpenTelemetry's semantic conventions. ``ecs``: those of Elastic's Common Schema
(https://www.elastic.co/guide/en/ecs/current); what it has no name for keeps ours. ``text``: compact, for people.
``journald``: the same with a priority in angle brackets before it, as sd-daemon(3) has it, and the time left to the
journal.

Values from the network are cut to 256 characters and escaped to printable ASCII, so that none can forge a line or drive
a terminal. A record has no query, no body and no field that carries a secret, so neither has a line.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import fields
from json.encoder import encode_basestring_ascii as quote
from typing import Protocol

from proxy.core.record import ExchangeRecord
from proxy.reasons import Phase, Reason
from proxy.values import frozen

#: Characters of one value that a peer chose. Longer ones fill disks and hide what matters.
MAX_VALUE = 256

#: Rendered fragments that are kept; far more than one configuration has, a bound for a process that reloads for years.
MAX_KEPT = 4096
#: Requests that are alike: clients choose what they say.
MAX_REQUESTS = 64

_TAKEN = frozenset(
    {Reason.DELIVERED, Reason.ACCEPTED, Reason.FILTERED, Reason.HANDSHAKE_ANSWERED, Reason.DUPLICATE_DELIVERED}
)
_FINE = _TAKEN | {Reason.DRAINED}
_OUR_TROUBLE = frozenset(
    {
        Reason.OVERLOADED,
        Reason.QUEUE_FULL,
        Reason.QUEUE_FAILED,
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_RESET,
        Reason.UPSTREAM_INVALID,
        Reason.UPSTREAM_TIMEOUT,
        Reason.INTERNAL_ERROR,
    }
)
_SEVERITIES = {
    reason.word: "INFO" if reason in _FINE else "ERROR" if reason in _OUR_TROUBLE else "WARN" for reason in Reason
}
_RESET, _DIM, _RED, _YELLOW, _GREEN = "\033[0m", "\033[2m", "\033[31m", "\033[33m", "\033[32m"
_COLOURS = {"INFO": _GREEN, "WARN": _YELLOW, "ERROR": _RED}


def severity(record: ExchangeRecord) -> str:
    """INFO, WARN (a refusal, an answer of the 500s by the application) or ERROR (our or the upstream's trouble)."""
    word = _SEVERITIES[record.reason.word]
    return "WARN" if word == "INFO" and record.status >= 500 else word


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, with microseconds."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1e6):06d}Z"


def clock_text(seconds: float) -> str:
    """The local time of day, with milliseconds, for people."""
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{int(seconds % 1 * 1000):03d}"


_PRIORITIES = {"INFO": 6, "WARN": 4, "ERROR": 3}


@frozen
class LogNote:
    """A line that is no exchange: ``name`` and ``fields`` for machines, ``text`` for people."""

    seconds: float  # since the epoch
    name: str
    fields: dict[str, object]
    text: str


class LineForm(Protocol):
    """A form of the line."""

    def __call__(self, record: ExchangeRecord) -> str:
        """The line of an exchange, without its end."""

    def note(self, note: LogNote) -> str:
        """The line of anything else, without its end."""


def formatter(name: str, *, terminal: bool, colour: bool) -> LineForm:
    """The form called ``name``; "auto" is text on a terminal, else JSON."""
    if name == "ecs":
        return EcsLines()
    if name == "journald":
        return JournalLines()
    return TextLines(colour=colour) if name == "text" or (name == "auto" and terminal) else JsonLines()


@frozen
class _Fields:
    """What stands before each value of an exchange."""

    timestamp: str = '{"timestamp":"'
    severity: str = ',"severity":"'
    reason: str = ',"event.name":"hookward.exchange","webhook.reason":"'
    reason_of_attempt: str = ',"event.name":"hookward.attempt","webhook.reason":"'
    ended_by: str = '","webhook.ended_by":"'
    phase: str = '","webhook.phase":"'
    verdict: str = ',"webhook.verdict":'
    route: str = ',"http.route":'
    provider: str = ',"webhook.provider":'
    request_id: str = ',"http.request.id":'
    client: str = ',"client.address":'
    peer: str = ',"network.peer.address":'
    duration: str = ',"http.server.request.duration":'
    bytes_in: str = ',"http.request.body.size":'
    bytes_out: str = ',"http.response.body.size":'
    host: str = ',"server.address":'
    port: str = ',"server.port":'
    method: str = ',"http.request.method":'
    scheme: str = ',"url.scheme":"'
    path: str = '","url.path":'
    minor: str = ',"network.protocol.version":"1.'
    user_agent: str = ',"user_agent.original":'
    trace_id: str = ',"trace_id":"'
    span_id: str = '","span_id":"'
    event: str = ',"webhook.event":'
    delivery_id: str = ',"webhook.delivery_id":'
    status: str = ',"http.response.status_code":'
    matched: str = ',"webhook.secret_name":'
    handshake: str = ',"webhook.handshake":'
    detail: str = ',"webhook.detail":'
    cause: str = ',"webhook.cause":'
    why: str = ',"webhook.why":'
    mend: str = ',"webhook.mend":'
    observed: str = ',"webhook.observed_reason":"'
    attempt: str = ',"webhook.attempt":'
    outcome: str = ',"webhook.outcome":"'
    upstream: str = ',"hookward.upstream.address":'
    upstream_duration: str = ',"hookward.upstream.duration":'
    turn: str = ',"hookward.turn.duration":'


#: Elastic's names, where they are others.
_ECS = {
    "timestamp": "@timestamp",
    "severity": "log.level",
    "event.name": "event.dataset",
    "webhook.reason": "event.reason",
    "webhook.event": "event.action",
    "network.peer.address": "source.address",
    "http.request.body.size": "http.request.body.bytes",
    "http.response.body.size": "http.response.body.bytes",
    "network.protocol.version": "http.version",
    "server.address": "url.domain",
    "server.port": "url.port",
    "trace_id": "trace.id",
    "span_id": "span.id",
}
ECS_VERSION = "8.11.0"


def _in_ecs(text: str) -> str:
    return re.sub(r'"([a-z_.]+)":', lambda match: f'"{_ECS.get(match[1], match[1])}":', text)


#: What configuration and the course of an exchange choose: route, provider, reason, verdict, phase, whether it is no
#: exchange but an attempt to deliver what was kept; status, secret, handshake, detail, upstream.
_Kind = tuple[str, str, Reason, str, Phase, bool, int, str, str, str, str]
#: What senders repeat: host, method, scheme, path, minor version, user agent, event.
_Request = tuple[str, str, str, str, int, str, str]


class JsonLines:
    """Formats records as JSON. What only configuration chooses is rendered once and kept."""

    _fields = _Fields()

    def __init__(self) -> None:
        fields = self._fields
        self._second = -1
        self._second_text = ""
        self._fixed: dict[_Kind, str] = {}
        self._requests: dict[_Request, str] = {}
        self._line = (
            f'%s.%06dZ"%s{fields.request_id}%s{fields.client}%s{fields.peer}%s{fields.duration}%.6f'
            f"{fields.bytes_in}%d{fields.bytes_out}%d%s%s}}"
        )

    def __call__(self, record: ExchangeRecord) -> str:
        """One line, without its end. Times are of the end of the exchange; durations are in seconds."""
        ended = record.started + record.duration_s
        whole = int(ended)
        if whole != self._second:
            self._second = whole
            self._second_text = self._fields.timestamp + time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        kind = (
            record.route,
            record.provider,
            record.reason,
            record.verdict,
            record.phase,
            record.attempt > 0,
            record.status,
            record.secret_name,
            record.handshake,
            record.detail,
            record.upstream,
        )
        agent = record.user_agent
        request = (record.host, record.method, record.scheme, record.path, record.minor, agent, record.event)
        return self._line % (
            self._second_text,
            int((ended - whole) * 1e6),
            self._fixed.get(kind) or self._render_fixed(kind, record),
            quote(record.request_id[:MAX_VALUE]),
            quote(record.client[:MAX_VALUE]),
            quote(record.peer[:MAX_VALUE]),
            record.duration_s,
            record.bytes_in,
            record.bytes_out,
            self._requests.get(request) or self._render_request(request),
            self._of_answer(record),
        )

    def _render_request(self, request: _Request) -> str:
        """What senders repeat."""
        host, method, scheme, path, minor, user_agent, event = request
        fields = self._fields
        name, port = _split_host(host)
        text = f"{fields.host}{quote(name[:MAX_VALUE])}" if host else ""
        text += f"{fields.port}{port}" if port else ""
        if method:
            text += f"{fields.method}{quote(method[:MAX_VALUE])}{fields.scheme}{scheme}"
            text += f'{fields.path}{quote(path[:MAX_VALUE])}{fields.minor}{minor}"'
        text += f"{fields.user_agent}{quote(user_agent[:MAX_VALUE])}" if user_agent else ""
        text += f"{fields.event}{quote(event[:MAX_VALUE])}" if event else ""
        if len(self._requests) >= MAX_REQUESTS:
            self._requests.clear()
        self._requests[request] = text
        return text

    def _of_answer(self, record: ExchangeRecord) -> str:
        """What is another each time, or seldom there."""
        fields = self._fields
        line = ""
        if record.trace_id:
            line = f'{fields.trace_id}{record.trace_id}{fields.span_id}{record.span_id}"'
        if record.delivery_id:
            line += f"{fields.delivery_id}{quote(record.delivery_id[:MAX_VALUE])}"
        if record.cause:
            line += f"{fields.cause}{quote(record.cause)}{fields.why}{quote(record.why)}"
            line += f"{fields.mend}{quote(record.mend)}"
        if record.observed is not None:
            line += f'{fields.observed}{record.observed.word}"'
        if record.attempt:
            line += f'{fields.attempt}{record.attempt}{fields.outcome}{record.outcome}"'
        if record.turn_s:
            line += f"{fields.turn}{record.turn_s:.6f}"
        if record.upstream:
            line += f"{fields.upstream_duration}{record.upstream_duration_s:.6f}"
        return line

    def _render_fixed(self, kind: _Kind, record: ExchangeRecord) -> str:
        route, provider, reason, verdict, phase, later, status, secret, handshake, detail, upstream = kind
        fields = self._fields
        begun = fields.reason_of_attempt if later else fields.reason
        text = f"{self._judged(record)}{begun}{reason.word}{fields.ended_by}{reason.ended_by.value}"
        text += f'{fields.phase}{phase.value}"'
        text += f"{fields.status}{status}" if status else ""
        named = (
            *((fields.verdict, verdict), (fields.route, route), (fields.provider, provider)),
            *((fields.matched, secret), (fields.handshake, handshake), (fields.detail, detail)),
            (fields.upstream, upstream),
        )
        text += "".join([f"{name}{quote(value[:MAX_VALUE])}" for name, value in named if value])
        if len(self._fixed) >= MAX_KEPT:
            self._fixed.clear()
        self._fixed[kind] = text
        return text

    def _judged(self, record: ExchangeRecord) -> str:
        return f'{self._fields.severity}{severity(record)}"'

    def note(self, note: LogNote) -> str:
        """The line of what is no exchange."""
        fields = {"timestamp": timestamp(note.seconds), "severity": "WARN", "event.name": note.name, **note.fields}
        return json.dumps(fields, separators=(",", ":"))


class EcsLines(JsonLines):
    """Formats records as JSON in Elastic's Common Schema."""

    _fields = _Fields(*(_in_ecs(str(each.default)) for each in fields(_Fields)))

    def __call__(self, record: ExchangeRecord) -> str:
        """One line, without its end. The duration is there twice: in nanoseconds by Elastic's name, and by ours."""
        message = f"{record.method or '-'} {record.path or '-'} {record.status or '-'} {record.reason.word}"
        return (
            f'{super().__call__(record)[:-1]},"event.duration":{int(record.duration_s * 1e9)}'
            f',"message":{quote(message[:MAX_VALUE])}}}'
        )

    def _judged(self, record: ExchangeRecord) -> str:
        outcome = "success" if record.reason in _TAKEN and record.status < 500 else "failure"
        return (
            f'{self._fields.severity}{severity(record).lower()}","ecs.version":"{ECS_VERSION}","event.kind":"event"'
            f',"event.category":["web"],"event.type":["access"],"event.outcome":"{outcome}"'
        )

    def note(self, note: LogNote) -> str:
        """The line of what is no exchange; the name of the event stays ours."""
        fields = {"@timestamp": timestamp(note.seconds), "log.level": "warn", "ecs.version": ECS_VERSION}
        return json.dumps({**fields, "event.name": note.name, **note.fields}, separators=(",", ":"))


def _split_host(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if colon and name and 0 < len(port) <= 5 and port.isascii() and port.isdigit():
        return name, int(port)
    return host, 0


class TextLines:
    """Formats records for people: time, status, request, reason, then the rest by name."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def note(self, note: LogNote) -> str:
        """A line that is no exchange."""
        return f"{clock_text(note.seconds)} --- {note.text}"

    def __call__(self, record: ExchangeRecord) -> str:
        """One line, without its end. The time is local and of the end of the exchange."""
        ended = record.started + record.duration_s
        clock = clock_text(ended)
        detail = printable(record.detail)
        if record.reason is Reason.DELIVERED and record.status >= 400:
            detail = "the application answered so"
        reason = record.reason.word + (f" ({detail})" if detail else "")
        if record.observed is not None:
            reason += f" (only observed: {record.observed.word})"
        request = f"{printable(record.method) or '-'} {printable(record.path) or '-'}"
        status = str(record.status or "---")
        rest = " ".join(_named(record))
        if not self._colour:
            return f"{clock} {status} {request} {reason} {rest}"
        tint = _COLOURS[severity(record)]
        return f"{_DIM}{clock}{_RESET} {tint}{status}{_RESET} {request} {tint}{reason}{_RESET} {_DIM}{rest}{_RESET}"


def _duration(millis: float) -> str:
    """In milliseconds; short ones to the microsecond."""
    return f"{millis:.3f}ms" if millis < 1 else f"{millis:.1f}ms"


def _named(record: ExchangeRecord) -> list[str]:
    """What a text names after the reason."""
    pairs = [_duration(record.duration_s * 1000), f"from={printable(record.client)}"]
    if record.peer != record.client:
        pairs.append(f"via={printable(record.peer)}")
    named = (
        ("route", record.route),
        ("provider", record.provider if record.provider != record.route else ""),
        ("event", record.event),
        ("delivery", record.delivery_id),
        ("secret", record.secret_name),
        ("handshake", record.handshake),
        ("cause", record.cause if record.cause != record.detail else ""),
        ("attempt", str(record.attempt or "")),
        ("outcome", record.outcome),
        ("turn", _duration(record.turn_s * 1000) if record.turn_s else ""),
        ("upstream", record.upstream),
        ("id", record.request_id),
    )
    return pairs + [f"{name}={printable(value)}" for name, value in named if value]


def printable(value: str) -> str:
    """``value`` cut and with everything but printable ASCII escaped: safe on a terminal."""
    return quote(value[:MAX_VALUE])[1:-1]


class JournalLines(TextLines):
    """Formats records for the journal."""

    def __init__(self) -> None:
        super().__init__(colour=False)

    def __call__(self, record: ExchangeRecord) -> str:
        """One line, without its end and without the time, which the journal has."""
        return f"<{_PRIORITIES[severity(record)]}>{super().__call__(record).partition(' ')[2]}"

    def note(self, note: LogNote) -> str:
        """A line that is no exchange, as a warning."""
        return f"<{_PRIORITIES['WARN']}>{super().note(note)}"
