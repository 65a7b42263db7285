"""Where a Redis is: a URL without a password, or a reference to one that has it. What is wrong is never shown."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from proxy.config.kinds import PREFIXES, Kind
from proxy.errors import Mistake

FORM = 'write "redis://127.0.0.1:6379/0", "unix:///run/redis.sock", or "file:/path" of a file with the URL in it'
_SCHEMES = ("redis", "rediss", "unix")


def is_redis_url(text: str) -> bool:
    """Whether ``text`` is the URL of a Redis, with or without a password."""
    try:
        parts = urlsplit(text)
        there = bool(parts.path if parts.scheme == "unix" else parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
    return there and parts.scheme in _SCHEMES and text.isprintable() and " " not in text


def _read(value: object) -> object:
    if isinstance(value, str) and value.startswith(PREFIXES) and value not in PREFIXES:
        return value
    if not isinstance(value, str) or not is_redis_url(value):
        raise ValueError("is not the URL of a Redis")
    parts = urlsplit(value)
    if parts.password is not None or "password" in parse_qs(parts.query, keep_blank_values=True):
        raise Mistake(
            "has a password in it (not shown here)",
            'put the whole URL into a file that only hookward may read, and write url = "file:/path"',
        )
    return value


STORE_URL = Kind("URL of a Redis, or a reference to it", FORM, _read)
