"""What a value may be: one reader per kind, from what TOML gives (or a flag's text) to what the builders use.

A reader takes one value and returns it typed, or raises ``ValueError`` (``Mistake`` where the mend differs from the
kind's own ``form``). References to secrets are only looked at for their prefix, and never shown.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, TypeGuard
from urllib.parse import parse_qs, urlsplit

from proxy.config import notation
from proxy.config.notation import RATE_FORM, SIZE_FORM, TIME_FORM, parse_rate, parse_size, parse_time
from proxy.config.problems import suggestion
from proxy.core.delivery import failures_of
from proxy.core.grammar import parse_target
from proxy.errors import Mistake, ProtocolError
from proxy.values import frozen

REFERENCE_FORM = (
    'put the value into a file or a variable and write "file:/path", "env:NAME" or "cred:NAME" '
    "(systemd's credentials directory)"
)
PREFIXES = ("file:", "env:", "cred:")
#: No other name crosses: "_" and what is like it are dropped, because some read them as "-".
_HEADER = re.compile(r"[A-Za-z0-9-]{1,128}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 section 5.6.2
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")  # RFC 6838
_QUERY_KEY = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_TOPIC = re.compile(r"arn:[a-z0-9-]+:sns:[a-z0-9-]+:[0-9]+:[A-Za-z0-9_.-]{1,256}")
_LABEL = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
#: Methods that would make a tunnel, or echo the sender's fields (threats E4).
_NEVER = {"CONNECT", "TRACE", "TRACK"}
#: The year 5138; beyond it somebody meant milliseconds.
_MOST_SECONDS = 1e11
_YES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@frozen
class Kind:
    """One kind of value: its name in the docs, how to write it, and the reader."""

    name: str
    form: str
    read: Callable[[object], object]
    from_text: Callable[[str], object] = str  # what a flag's or a variable's text is in TOML


def read_within(kind: Kind, value: object, minimum: object, maximum: object) -> object:
    """``value`` read by its kind and checked against its range, both as written; Mistake says what is wrong."""
    try:
        read = kind.read(value)
    except Mistake:
        raise
    except ValueError as error:
        raise Mistake(str(error), kind.form) from None
    if isinstance(read, int | float):
        for bound, low in ((minimum, True), (maximum, False)):
            limit = None if bound is None else kind.read(bound)
            if isinstance(limit, int | float) and (read < limit if low else read > limit):
                side = "below the least" if low else "above the most"
                raise Mistake(f"{value} is {side} that is possible", f"choose from {minimum} to {maximum}")
    return read


def choice(*words: str) -> Kind:
    """A kind whose values are ``words``."""

    def read(value: object) -> object:
        if not isinstance(value, str) or value not in words:
            shown = repr(value[:40]) if isinstance(value, str) else "this"
            what = f"{shown} is none of {', '.join(words)}"
            raise Mistake(what, suggestion(str(value)[:40], words, what="write one of"))
        return value

    return Kind(" or ".join(f'"{word}"' for word in words), f"write one of {', '.join(words)}", read)


def _only(test: Callable[[Any], bool], what: str, *others: object) -> Callable[[object], object]:
    """What reads values that pass ``test``, and ``others``, as they are; ``what`` is wrong with all the rest."""

    def read(value: object) -> object:
        if value in others or test(value):
            return value
        raise ValueError(what)

    return read


def _matches(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a number without a fraction."""
    return isinstance(value, int) and not isinstance(value, bool)


def _or_file(*words: str) -> Callable[[object], object]:
    return lambda value: value if value in words else _file(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Mistake("is not a text", "write it in quotes")
    if not _LABEL.fullmatch(value):
        raise Mistake("is empty, too long or has control characters", "write 1 to 256 printable characters")
    return value


def _fields(value: object) -> tuple[tuple[bytes, bytes], ...]:
    """Headers and the value that each must have."""
    if isinstance(value, Mapping):
        return tuple(_field(name, wanted) for name, wanted in value.items())
    raise ValueError("is not a table")


def _field(name: str, wanted: object) -> tuple[bytes, bytes]:
    if isinstance(wanted, str) and wanted:
        return _header(name), wanted.encode("utf-8")
    raise Mistake(f"{name[:80]!r} is not a text", "write the value that the header must have")


def _seconds(value: object) -> float:
    """A time, or a bare number of seconds."""
    return float(value) if is_whole(value) and value >= 0 else parse_time(value)


def _failure(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("is no status")  # noqa: TRY004  # one kind of error for what a user wrote
    failures_of([value])
    return value


def _count_from_text(text: str) -> object:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else text


def _file(value: object) -> object:
    if not isinstance(value, str) or not value or "\0" in value or len(value) > 4096:
        raise Mistake("is not the path of a file", 'write "/etc/hookward/NAME"')
    if value.startswith("file:"):
        raise Mistake("this key takes a path, not a reference", "leave out the 'file:'")
    return value


def _route_path(value: object) -> object:
    """A path that may end in the place of a token."""
    if isinstance(value, str) and value.endswith("/{token}"):
        read_place(value.removesuffix("{token}"))
        return value.encode("ascii")
    return read_place(value)


def read_place(value: object) -> bytes:
    """A path that our own requests may have; Mistake where no request may."""
    text = _text(value)
    if not text.startswith("/"):
        raise Mistake(f"{text[:80]!r} is not a path", f"begin with a slash: {('/' + text)[:80]!r}")
    if "?" in text or "#" in text:
        raise Mistake("a route is chosen by its path alone", "remove what follows the '?' or '#'")
    if "*" in text or "{" in text:
        mend = "name the folder: a route owns what lies under its path; a token stands at its end, as /{token}"
        raise Mistake("a path has no wildcards", mend)
    try:
        raw = text.encode("ascii")
        parse_target(b"POST", raw, b"localhost")
    except (UnicodeEncodeError, ProtocolError):
        raise Mistake("no request with this path is ever admitted", notation.PATH_FORM) from None
    return raw


def _method(value: object) -> object:
    text = _text(value)
    if not _TOKEN.fullmatch(text) or not text.isupper():
        raise Mistake(f"{text[:40]!r} is not a method", f"methods are written in capitals: {text[:40].upper()!r}")
    if text in _NEVER:
        raise Mistake(f"{text} is never forwarded", "remove it: it opens a tunnel or echoes the sender's fields")
    return text.encode("ascii")


def _header(value: object) -> bytes:
    text = _text(value)
    if not _TOKEN.fullmatch(text):
        raise Mistake(f"{text[:80]!r} is not the name of a header", 'write a name such as "X-Gitlab-Token"')
    if not _HEADER.fullmatch(text):
        what = f"a header named {text[:80]!r} never arrives: names with such signs are dropped"
        raise Mistake(what, 'use a name of letters, digits and "-" alone')
    return text.lower().encode("ascii")


def _media_type(value: object) -> object:
    text = _text(value)
    if ";" in text:
        raise Mistake("parameters are not compared", f"leave out what follows the ';': {text.partition(';')[0]!r}")
    if not _MEDIA_TYPE.fullmatch(text):
        raise Mistake(f"{text[:80]!r} is not the type of a content", 'write it whole, such as "application/json"')
    return text.lower().encode("ascii")


def _query_key(value: object) -> object:
    text = _text(value)
    if not _QUERY_KEY.fullmatch(text):
        raise Mistake("is not the name of a query parameter", "use letters, digits and -._~ only")
    return text.encode("ascii")


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and value.startswith(PREFIXES) and value not in PREFIXES


def _reference(value: object) -> object:
    """A secret's reference. What lacks a prefix may be the secret itself, so no message repeats it."""
    if _is_reference(value):
        return value
    raise Mistake("is not a reference to a secret (its value is not shown here)", REFERENCE_FORM)


def _instant(value: object) -> object:
    """Seconds since the epoch; a date is its midnight, and what has no zone is UTC."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    try:
        if isinstance(value, dt.datetime):
            return (value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)).timestamp()
    except OverflowError:
        raise ValueError("is out of range") from None
    raise ValueError("is not a date")


def _moment(value: object) -> object:
    """A date and time, or seconds since the epoch."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST_SECONDS:
        return float(value)
    return _instant(value)


def _url(value: object) -> object:
    text = _text(value)
    try:
        parts = urlsplit(text)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if not whole or not text.isascii() or " " in text:
        raise ValueError(f"{text[:80]!r} is not a URL")
    if "@" in parts.netloc:
        raise Mistake("has a user name or password", "remove what stands before the '@'")
    if parts.fragment:
        raise Mistake("has a fragment", "remove what follows the '#'")
    return text


def _topic(value: object) -> object:
    text = _text(value)
    if "*" in text or "?" in text:
        raise Mistake("a topic has no wildcards: its whole name is compared", "list each topic")
    if not _TOPIC.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not the ARN of a topic")
    return text


def _server_name(value: object) -> object:
    text = _text(value).lower().removesuffix(".")
    label = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
    if re.fullmatch(rf"(?:\*\.)?{label}(?:\.{label})*", text):
        return text
    with suppress(ValueError):
        ip_address(text)
        return text
    raise ValueError(f"{text[:80]!r} is not a host name")


BOOL = Kind(
    "true or false",
    "write true or false",
    _only(lambda value: isinstance(value, bool), "is neither true nor false"),
    lambda text: _YES.get(text.strip().lower(), text),
)
COUNT = Kind("number", "write a whole number", _only(is_whole, "is not a whole number"), _count_from_text)
SIZE = Kind("size", SIZE_FORM, parse_size)
TIME = Kind("time", TIME_FORM, parse_time)
RATE = Kind("rate", RATE_FORM, parse_rate)
TEXT = Kind("text", "write it in quotes", _text)
CLIENT_NAME = Kind("name in a certificate", 'write "ci.example.com", an address, an email or a URI', _text)
NAME = Kind("name", notation.NAME_FORM, _only(_matches(notation.NAME.pattern), "is not a name"))
WORKERS = Kind(
    'number or "auto"',
    'write a number or "auto"',
    _only(lambda value: is_whole(value) and 1 <= value <= 1024, "is neither a number from 1 to 1024 nor auto", "auto"),
    _count_from_text,
)
LISTEN = Kind("listening address", notation.LISTEN_FORM, notation.read_listen)
UPSTREAM = Kind(
    "upstream",
    'write "http://127.0.0.1:8000" or { url = "http://127.0.0.1:8000", weight = 2 }',
    notation.read_upstream,
)
UPSTREAM_URL = Kind("upstream", notation.UPSTREAM_FORM, notation.read_upstream)
TCP_UPSTREAM = Kind("host and port", notation.UPSTREAM_FORM, notation.read_tcp_upstream)
TCP_PAIR = Kind("LISTEN=UPSTREAM", notation.TCP_FORM, notation.read_tcp_pair)
FILE = Kind("path", 'write "/etc/hookward/NAME"', _file)
FILE_OR_NONE = Kind('path, or ""', 'write "/var/lib/hookward/NAME"', _or_file(""))
ACCESS_LOG = Kind('path, "-" or "off"', 'write a path, "-" or "off"', _or_file("-", "off"))
ROUTE_PATH = Kind("path of a URL", 'write "/hooks/github"', _route_path)
PLACE = Kind("path of a URL", 'write "/hooks/github"', read_place)
METHOD = Kind("method", 'write "POST"', _method)
HEADER = Kind("header name", 'write a name such as "X-Gitlab-Token"', _header)
MEDIA_TYPE = Kind("media type", 'write "application/json"', _media_type)
QUERY_KEY = Kind("query parameter", 'write a name such as "token"', _query_key)
REFERENCE = Kind("reference to a secret", REFERENCE_FORM, _reference)
MOMENT = Kind("time", "write 2026-03-01T09:15:00Z, or seconds since 1970, without quotes", _moment)
INSTANT = Kind("date", "write 2026-12-15 or 2026-12-15T12:00:00Z, without quotes", _instant)
ADDRESSES = Kind("address, network or list", 'write "192.0.2.0/24", "file:/path" or "set:NAME"', _text)
URL = Kind("URL", 'write "https://hooks.example.com" or the whole URL', _url)
TOPIC = Kind("ARN of a topic", 'write "arn:aws:sns:eu-west-1:123456789012:NAME"', _topic)
SERVER_NAME = Kind("host name", 'write "hooks.example.com" or "*.example.com"', _server_name)
#: Whether it exists is known where it is used: the configuration may be checked on another host.
ACCOUNT = Kind(
    "name or number",
    'write the name of a user or group of this host, such as "hookward"',
    _only(_matches(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}"), "is not the name of a user or group"),
)
HEALTH = Kind("path or table", 'write "/healthz" or { path = "/healthz", interval = "5s" }', read_place)
#: What stands in a signature as it is written; it may be empty.
LITERAL = Kind("text", "write it in quotes", _only(lambda value: isinstance(value, str), "is not a text"))
SECONDS = Kind("time", TIME_FORM, _seconds)
FIELDS = Kind("table", 'write { "X-Version" = "2" }', _fields)
REFUSAL = Kind(
    "number",
    "use one of 400, 401, 403, 404",
    _only(lambda value: isinstance(value, int) and value in {400, 401, 403, 404}, "is no status of a refusal"),
)
FAILURE = Kind("status", 'write a status such as 429, or "5xx" for all of a class', _failure, _count_from_text)
TABLE = Kind("table", "write a table", _text)


STORE_FORM = 'write "redis://127.0.0.1:6379/0", "unix:///run/redis.sock", or "file:/path" of a file with the URL in it'
_STORE_SCHEMES = ("redis", "rediss", "unix")


def is_redis_url(text: str) -> bool:
    """Whether ``text`` is the URL of a Redis, with or without a password."""
    try:
        parts = urlsplit(text)
        there = bool(parts.path if parts.scheme == "unix" else parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
    return there and parts.scheme in _STORE_SCHEMES and text.isprintable() and " " not in text


def _store_url(value: object) -> object:
    if _is_reference(value):
        return value
    if not isinstance(value, str) or not is_redis_url(value):
        raise ValueError("is not the URL of a Redis")
    parts = urlsplit(value)
    if parts.password is not None or "password" in parse_qs(parts.query, keep_blank_values=True):
        what = "has a password in it (not shown here)"
        raise Mistake(what, 'put the whole URL into a file that only hookward may read, and write url = "file:/path"')
    return value


STORE_URL = Kind("URL of a Redis, or a reference to it", STORE_FORM, _store_url)
