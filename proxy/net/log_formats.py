"""Other forms of the line of an exchange: Elastic's Common Schema, and the journal's text with a priority.

``ecs``: https://www.elastic.co/guide/en/ecs/current; what it has no name for keeps ours. ``journald``: each line begins
with its priority in angle brackets, as sd-daemon(3) has it, and leaves the time to the journal.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as quote

from proxy.core.record import ExchangeRecord
from proxy.net.access_log import MAX_VALUE, Formatter, JsonLines, TextLines, severity, timestamp
from proxy.reasons import Reason

ECS_VERSION = "8.11.0"
_PRIORITIES = {"INFO": 6, "WARN": 4, "ERROR": 3}


def formatter(name: str, *, terminal: bool, colour: bool) -> Formatter:
    """The form called ``name``; "auto" is text on a terminal, else JSON."""
    if name == "ecs":
        return EcsLines()
    if name == "journald":
        return JournalLines()
    return TextLines(colour=colour) if name == "text" or (name == "auto" and terminal) else JsonLines()


class EcsLines:
    """Formats records as JSON in Elastic's Common Schema."""

    def __call__(self, record: ExchangeRecord) -> str:
        """One line, without its end. Durations are in nanoseconds there."""
        outcome = "success" if record.reason is Reason.DELIVERED and record.status < 500 else "failure"
        fields: list[tuple[str, object]] = [
            ("@timestamp", timestamp(record.started + record.duration_s)),
            ("log.level", severity(record).lower()),
            ("ecs.version", ECS_VERSION),
            ("message", f"{record.method or '-'} {record.path or '-'} {record.status or '-'} {record.reason.word}"),
            ("event.kind", "event"),
            ("event.category", ["web"]),
            ("event.type", ["access"]),
            ("event.dataset", "hookward.exchange"),
            ("event.action", record.event),
            ("event.reason", record.reason.word),
            ("event.outcome", outcome),
            ("event.duration", int(record.duration_s * 1e9)),
            ("client.address", record.client),
            ("source.address", record.peer),
            ("http.request.id", record.request_id),
            ("http.request.method", record.method),
            ("http.request.body.bytes", record.bytes_in),
            ("http.response.body.bytes", record.bytes_out),
            ("http.response.status_code", record.status),
            ("http.version", f"1.{record.minor}"),
            ("url.scheme", record.scheme),
            ("url.path", record.path),
            ("url.domain", record.host),
            ("user_agent.original", record.user_agent),
            ("trace.id", record.trace_id),
            ("span.id", record.span_id),
            *_ours(record),
        ]
        return "{" + ",".join(f'"{name}":{_value(value)}' for name, value in fields if value not in ("", 0)) + "}"

    @staticmethod
    def note(line: str) -> str:
        """A line that is no exchange, with the names that Elastic has for its first two fields."""
        fields = json.loads(line)
        renamed = {"@timestamp": fields.pop("timestamp", ""), "log.level": fields.pop("severity", "").lower()}
        return json.dumps({**renamed, "ecs.version": ECS_VERSION, **fields}, separators=(",", ":"))


def _ours(record: ExchangeRecord) -> list[tuple[str, object]]:
    observed = record.observed.word if record.observed is not None else ""
    return [
        ("http.route", record.route),
        ("webhook.verdict", record.verdict),
        ("webhook.ended_by", record.reason.ended_by.value),
        ("webhook.phase", record.phase.value),
        ("webhook.provider", record.provider),
        ("webhook.delivery_id", record.delivery_id),
        ("webhook.secret_name", record.secret_name),
        ("webhook.handshake", record.handshake),
        ("webhook.detail", record.detail),
        ("webhook.observed_reason", observed),
        ("hookward.upstream.address", record.upstream),
        ("hookward.upstream.duration", round(record.upstream_duration_s, 6)),
    ]


def _value(value: object) -> str:
    return quote(value[:MAX_VALUE]) if isinstance(value, str) else json.dumps(value)


class JournalLines(TextLines):
    """Formats records for the journal."""

    def __init__(self) -> None:
        super().__init__(colour=False)

    def __call__(self, record: ExchangeRecord) -> str:
        """One line, without its end and without the time, which the journal has."""
        return self.note(super().__call__(record).partition(" ")[2], severity(record))

    def note(self, text: str, level: str = "WARN") -> str:
        """A line that is no exchange."""
        return f"<{_PRIORITIES[level]}>{text}"
