"""The time is at fault: a clock that is wrong, a retry that is late, seconds where milliseconds are meant."""

from __future__ import annotations

from proxy.core.causes.trial import Facts, Trial, cause
from proxy.core.signing.documents import JsonPart, list_items, read_json
from proxy.core.signing.encodings import parse_time
from proxy.core.signing.evidence import EvidenceReader
from proxy.core.signing.jwt import open_token
from proxy.core.signing.scheme import Document, TimeFormat
from proxy.http1 import RequestHead, utc_text
from proxy.reasons import Reason

_UNITS = frozenset({TimeFormat.SECONDS, TimeFormat.MILLISECONDS})
_WORDS = {TimeFormat.SECONDS: "seconds", TimeFormat.MILLISECONDS: "milliseconds", TimeFormat.ANY: "a date"}
_YEAR_S = 366 * 86400.0


def said_at(head: RequestHead, body: bytes | None, trial: Trial) -> float | None:
    """When the delivery says it was signed, in seconds since the epoch; None where that cannot be read."""
    scheme = trial.scheme
    if scheme is None:
        return None
    if scheme.claims is not None:
        return _of_token((head.get(scheme.headers[0]) if scheme.headers else body) or b"", scheme.prefix)
    if scheme.timestamp is None:
        return None
    document = scheme.document
    text = b""
    if document is not None and document.timestamp is not None:
        text = _of_document(document, body)
    else:
        text = _of_head(head, trial)
    return parse_time(scheme.timestamp.format, text)


def _of_head(head: RequestHead, trial: Trial) -> bytes:
    assert trial.check is not None
    evidence = EvidenceReader(trial.check.scheme, float("inf"), trial.check.public_url).read(head, trial.case.now)
    return b"" if isinstance(evidence, Reason) else evidence.context.timestamp


def _of_document(document: Document, body: bytes | None) -> bytes:
    tree = read_json(body) if body is not None and document.kind == "json" else None
    if tree is None:
        return b""
    elements = [tree] if document.items is None else list_items(tree, document.items)
    return (JsonPart(elements[0], document).text(document.timestamp or "") or b"") if elements else b""


def _of_token(text: bytes, prefix: bytes) -> float | None:
    token = open_token(text.removeprefix(prefix))
    if token is None:
        return None
    times = [token.claims.get(name) for name in ("exp", "iat", "nbf")]
    return next((float(one) for one in times if isinstance(one, int | float) and abs(one) < 1e12), None)


def _facts(trial: Trial, said: float) -> Facts:
    now = trial.case.now
    scheme = trial.scheme
    window = trial.check.tolerance_s if trial.check is not None else None
    if window is None and scheme is not None and scheme.timestamp is not None:
        window = scheme.timestamp.tolerance_s
    return {
        "seconds": f"{abs(now - said):.0f}",
        "theirs": _instant(said),
        "ours": _instant(now),
        "window": "its own limit" if window is None else f"{window:g} s",
    }


@cause(
    "timestamp_unit",
    "The header {header} holds {came}, and {wanted} are signed.",
    "Write the time in the unit of the scheme, both in the header and in the signed text.",
    Reason.SIGNATURE_MALFORMED,
    Reason.TIMESTAMP_TOO_OLD,
    Reason.TIMESTAMP_IN_FUTURE,
)
def unit(trial: Trial) -> Facts | None:
    """Milliseconds came where seconds are signed, or the other way round, or a date."""
    stamp = None if trial.scheme is None else trial.scheme.timestamp
    if stamp is None or stamp.format not in _UNITS or stamp.header is None:
        return None
    text, now = trial.head.get(stamp.header) or b"", trial.case.now
    if _says_about_now(stamp.format, text, now):
        return None
    wanted = _WORDS[stamp.format]
    for form, word in _WORDS.items():
        if word != wanted and _says_about_now(form, text, now):
            return {"header": stamp.header.decode("latin-1"), "came": word, "wanted": wanted}
    return None


def _says_about_now(form: TimeFormat, text: bytes, now: float) -> bool:
    said = parse_time(form, text)
    return said is not None and abs(said - now) < _YEAR_S


@cause(
    "timestamp_old",
    "It was signed {seconds} s ago: at {theirs} by the sender's clock, and it is {ours} here; the window is {window}.",
    "If every delivery is late, set this host's clock (NTP), then the sender's; a single one is a retry or a "
    "replay, and `tolerance` widens the window.",
    Reason.TIMESTAMP_TOO_OLD,
)
def too_old(trial: Trial) -> Facts | None:
    """It was signed longer ago than the window."""
    said = said_at(trial.head, trial.body, trial)
    if trial.case.reason is not Reason.TIMESTAMP_TOO_OLD or said is None:
        return None
    return _facts(trial, said)


@cause(
    "timestamp_ahead",
    "It was signed {seconds} s from now: at {theirs} by the sender's clock, and it is {ours} here; the window is "
    "{window}.",
    "One of the two clocks is wrong: set this host's first (NTP).",
    Reason.TIMESTAMP_IN_FUTURE,
)
def ahead(trial: Trial) -> Facts | None:
    """It was signed later than it is here."""
    said = said_at(trial.head, trial.body, trial)
    if trial.case.reason is not Reason.TIMESTAMP_IN_FUTURE or said is None:
        return None
    return _facts(trial, said)


def _instant(seconds: float) -> str:
    try:
        return utc_text(seconds)
    except (ValueError, OverflowError, OSError):
        return "no time at all"
