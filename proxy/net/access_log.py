"""One line per exchange: JSON with the names of OpenTelemetry's semantic conventions, or a compact text for people.

Values from the network are cut to 256 characters and escaped to printable ASCII, so that no client can forge a line or
drive a terminal. A record has no query, no body and no field that carries a secret, so neither has a line. The records
of one moment are rendered together and handed to the sink together: in a row that costs half of what it costs between
other work. This module never decides anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote
from typing import Protocol, runtime_checkable

from proxy.core.record import ExchangeRecord
from proxy.net.log_sink import LogSink
from proxy.net.refusal_digest import RefusalDigest, Summary
from proxy.reasons import Phase, Reason

log = logging.getLogger(__name__)

#: Characters of one value that a peer chose. Longer ones fill disks and hide what matters.
MAX_VALUE = 256

#: Lines are gathered this long at most while traffic is dense: one wake-up of the sink's thread for all of them.
GATHER_S = 0.02

#: So many records are rendered at once at most: some 0.3 ms.
GATHER_RECORDS = 64

#: Rendered fragments that are kept; far more than one configuration has, a bound for a process that reloads for years.
MAX_KEPT = 4096

Formatter = Callable[[ExchangeRecord], str]

_FINE = frozenset({Reason.DELIVERED, Reason.HANDSHAKE_ANSWERED, Reason.DUPLICATE_DELIVERED, Reason.DRAINED})
_OUR_TROUBLE = frozenset(
    {
        Reason.OVERLOADED,
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


#: What configuration and the course of an exchange choose: route, provider, reason, verdict, phase, a status of 500s.
_Kind = tuple[str, str, Reason, str, Phase, bool]


class JsonLines:
    """Formats records as JSON. What only configuration chooses is rendered once and kept."""

    def __init__(self) -> None:
        self._second = -1
        self._second_text = ""
        self._fixed: dict[_Kind, str] = {}

    def __call__(self, record: ExchangeRecord) -> str:
        """One line, without its end. Times are of the end of the exchange; durations are in seconds."""
        ended = record.started + record.duration_s
        whole = int(ended)
        if whole != self._second:
            self._second = whole
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        kind = (record.route, record.provider, record.reason, record.verdict, record.phase, record.status >= 500)
        return (
            f'{{"timestamp":"{self._second_text}.{int((ended - whole) * 1e6):06d}Z"'
            f"{self._fixed.get(kind) or self._render_fixed(kind, record)}"
            f',"http.request.id":{quote(record.request_id[:MAX_VALUE])}'
            f',"client.address":{quote(record.client[:MAX_VALUE])}'
            f',"network.peer.address":{quote(record.peer[:MAX_VALUE])}'
            f',"http.server.request.duration":{record.duration_s:.6f}'
            f',"http.request.body.size":{record.bytes_in},"http.response.body.size":{record.bytes_out}'
            f"{_of_request(record)}{_of_answer(record)}}}"
        )

    def _render_fixed(self, kind: _Kind, record: ExchangeRecord) -> str:
        route, provider, reason, verdict, phase, _ = kind
        text = f',"severity":"{severity(record)}","event.name":"hookward.exchange","webhook.reason":"{reason.word}"'
        text += f',"webhook.ended_by":"{reason.ended_by.value}","webhook.phase":"{phase.value}"'
        if verdict:
            text += f',"webhook.verdict":{quote(verdict)}'
        if route:
            text += f',"http.route":{quote(route)}'
        if provider:
            text += f',"webhook.provider":{quote(provider)}'
        if len(self._fixed) >= MAX_KEPT:
            self._fixed.clear()
        self._fixed[kind] = text
        return text


def _of_request(record: ExchangeRecord) -> str:
    line = _of_host(record.host)
    if record.method:
        line += (
            f',"http.request.method":{quote(record.method[:MAX_VALUE])}'
            f',"url.scheme":"{record.scheme}","url.path":{quote(record.path[:MAX_VALUE])}'
            f',"network.protocol.version":"1.{record.minor}"'
        )
    if record.user_agent:
        line += f',"user_agent.original":{quote(record.user_agent[:MAX_VALUE])}'
    if record.trace_id:
        line += f',"trace_id":"{record.trace_id}","span_id":"{record.span_id}"'
    if record.event:
        line += f',"webhook.event":{quote(record.event[:MAX_VALUE])}'
    if record.delivery_id:
        line += f',"webhook.delivery_id":{quote(record.delivery_id[:MAX_VALUE])}'
    return line


def _of_answer(record: ExchangeRecord) -> str:
    line = f',"http.response.status_code":{record.status}' if record.status else ""
    if record.secret_name:
        line += f',"webhook.secret_name":{quote(record.secret_name[:MAX_VALUE])}'
    if record.handshake:
        line += f',"webhook.handshake":"{record.handshake}"'
    if record.detail:
        line += f',"webhook.detail":{quote(record.detail[:MAX_VALUE])}'
    if record.observed is not None:
        line += f',"webhook.observed_reason":"{record.observed.word}"'
    if record.upstream:
        line += (
            f',"hookward.upstream.address":{quote(record.upstream[:MAX_VALUE])}'
            f',"hookward.upstream.duration":{record.upstream_duration_s:.6f}'
        )
    return line


@lru_cache(maxsize=64)
def _of_host(host: str) -> str:
    if not host:
        return ""
    name, port = _split_host(host)
    text = f',"server.address":{quote(name[:MAX_VALUE])}'
    return f'{text},"server.port":{port}' if port else text


def _split_host(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if colon and name and 0 < len(port) <= 5 and port.isascii() and port.isdigit():
        return name, int(port)
    return host, 0


@runtime_checkable
class NoteFormatter(Protocol):
    """A form that writes notes in another way than we do."""

    def note(self, line: str) -> str:
        """A line that is no exchange, in this form."""


class TextLines:
    """Formats records for people: time, status, request, reason, then the rest by name."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def note(self, text: str) -> str:
        """A line that is no exchange."""
        return text

    def __call__(self, record: ExchangeRecord) -> str:
        """One line, without its end. The time is local and of the end of the exchange."""
        ended = record.started + record.duration_s
        clock = clock_text(ended)
        reason = record.reason.word + (f" ({printable(record.detail)})" if record.detail else "")
        if record.observed is not None:
            reason += f" (only observed: {record.observed.word})"
        request = f"{printable(record.method) or '-'} {printable(record.path) or '-'}"
        status = str(record.status or "---")
        rest = " ".join(_named(record))
        if not self._colour:
            return f"{clock} {status} {request} {reason} {rest}"
        tint = _COLOURS[severity(record)]
        return f"{_DIM}{clock}{_RESET} {tint}{status}{_RESET} {request} {tint}{reason}{_RESET} {_DIM}{rest}{_RESET}"


def _named(record: ExchangeRecord) -> list[str]:
    """What a text names after the reason."""
    pairs = [f"{record.duration_s * 1000:.1f}ms", f"from={printable(record.client)}"]
    if record.peer != record.client:
        pairs.append(f"via={printable(record.peer)}")
    named = (
        ("route", record.route),
        ("provider", record.provider if record.provider != record.route else ""),
        ("event", record.event),
        ("delivery", record.delivery_id),
        ("secret", record.secret_name),
        ("handshake", record.handshake),
        ("upstream", record.upstream),
        ("id", record.request_id),
    )
    return pairs + [f"{name}={printable(value)}" for name, value in named if value]


def printable(value: str) -> str:
    """``value`` cut and with everything but printable ASCII escaped: safe on a terminal."""
    return quote(value[:MAX_VALUE])[1:-1]


class AccessLog:
    """Writes a line per exchange to a sink, batched."""

    def __init__(
        self,
        sink: LogSink,
        formatter: Formatter,
        loop: asyncio.AbstractEventLoop,
        *,
        sample: int = 1,
        per_minute: int = 0,
    ) -> None:
        """``sample`` and ``per_minute`` as in ``RefusalDigest``."""
        self._sink = sink
        self._format = formatter
        self._loop = loop
        self._gathered: list[ExchangeRecord | str] = []  # a text is a line that is no exchange
        self._flushed_at = 0.0
        self._told = 0
        self._newest = 0.0
        self._digest: RefusalDigest | None = None
        if sample > 1 or per_minute:
            self._digest = RefusalDigest(loop, self._sum_up, sample=sample, per_minute=per_minute)

    @property
    def withheld(self) -> int:
        """How many refusals were given no line since the start."""
        return 0 if self._digest is None else self._digest.withheld

    @property
    def dropped(self) -> int:
        """How many lines the sink did not take since the start."""
        return self._sink.dropped

    def write(self, record: ExchangeRecord) -> None:
        """Log an exchange that has ended. Never blocks."""
        if self._digest is not None and not self._digest.takes(record):
            return
        self._newest = record.started + record.duration_s
        self._gather(record)

    def _gather(self, entry: ExchangeRecord | str) -> None:
        if not self._gathered:
            self._schedule()
        self._gathered.append(entry)
        if len(self._gathered) >= GATHER_RECORDS:
            self.flush()

    def _noted(self, line: str, text: str) -> str:
        if isinstance(self._format, TextLines):
            return self._format.note(text)
        return self._format.note(line) if isinstance(self._format, NoteFormatter) else line

    def _sum_up(self, summary: Summary) -> None:
        reasons = ", ".join(f"{count} {word}" for word, count in summary.reasons.most_common())
        address = printable(summary.address)
        line = self._noted(
            f'{{"timestamp":"{timestamp(summary.newest)}","severity":"WARN","event.name":"hookward.refusals"'
            f',"client.address":{quote(summary.address[:MAX_VALUE])},"hookward.refusals.count":{summary.withheld}'
            f',"hookward.refusals.reasons":{json.dumps(dict(summary.reasons.most_common()))}}}',
            f"{clock_text(summary.newest)} --- {summary.withheld} more refusals from={address}: {reasons}",
        )
        self._gather(line)

    def _schedule(self) -> None:
        # A lone line goes out in this iteration of the loop; in dense traffic they wait for each other.
        if self._loop.time() - self._flushed_at > GATHER_S:
            self._loop.call_soon(self.flush)
        else:
            self._loop.call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Render what is gathered and hand it to the sink."""
        if not self._gathered:
            return
        self._flushed_at = self._loop.time()
        gathered, self._gathered = self._gathered, []
        render = self._format
        lines = [entry if isinstance(entry, str) else render(entry) for entry in gathered]
        dropped = self._sink.dropped
        if dropped != self._told:
            self._told = dropped
            lines.append(self._dropped_line(dropped))
        lines.append("")
        self._sink.write("\n".join(lines).encode("ascii", "replace"), len(lines) - 1)

    def _dropped_line(self, total: int) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self._newest))
        return self._noted(
            f'{{"timestamp":"{timestamp(self._newest)}","severity":"WARN"'
            f',"event.name":"hookward.log_dropped","hookward.log.dropped":{total}}}',
            f"{clock} --- {total} lines of this log were dropped since the start",
        )

    def reopen(self) -> None:
        """Write what is gathered to the old file, then open the path again (after a rotation)."""
        self.flush()
        self._sink.reopen()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is gathered and stop, after at most ``timeout_s`` seconds."""
        if self._digest is not None:
            self._digest.flush()
        self.flush()
        self._sink.close(timeout_s)


class NoLog:
    """Stands in where no access log is wanted."""

    dropped = 0
    withheld = 0

    def write(self, record: ExchangeRecord) -> None:
        """Forget it."""

    def reopen(self) -> None:
        """There is nothing to open."""

    def close(self, timeout_s: float = 0.0) -> None:
        """There is nothing to close."""
