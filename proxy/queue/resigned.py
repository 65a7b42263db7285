"""A kept delivery, signed again as of now: an application that checks for itself would find it too old by its time.

It had its proof when it came, and what is signed here is that delivery and nothing else; ``Webhook-Verified`` says so.
"""

from __future__ import annotations

from proxy.core.policy import Route
from proxy.core.signing.anew import sign_anew

_VERIFIED = b"webhook-verified"


def sign_again(head: bytes, route: Route, body: bytes, now: float) -> tuple[bytes, bytes]:
    """Head and body to send instead of these; ``now`` is in seconds since the epoch. Where the provider's side cannot
    be played, they are as they came.
    """
    start, *lines, _, _ = head.split(b"\r\n")
    method, target, version = start.split(b" ")
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    try:
        made = sign_anew(route, method=method, target=target, fields=fields, body=body, now=now)
    except ValueError:
        return head, body
    written = [_field(name, value, len(made.body)) for name, value in made.fields]
    return b"\r\n".join([b"%b %b %b" % (method, made.target, version), *written, b"\r\n"]), made.body


def _field(name: bytes, value: bytes, length: int) -> bytes:
    lower = name.lower()
    if lower == b"content-length":
        return b"%b: %d" % (name, length)
    return b"%b: %b; resigned" % (name, value) if lower == _VERIFIED else b"%b: %b" % (name, value)
