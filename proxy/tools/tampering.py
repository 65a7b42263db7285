"""Ways to make a delivery wrong on purpose: what is changed before it is signed, or after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from proxy.core.signing.extras import needs_public_keys
from proxy.tools.sending import Delivery, Order, compose
from proxy.values import frozen

HOUR_S = 3600.0


@frozen
class Tamper:
    """One way to make a delivery wrong: what is changed before signing, or after."""

    doc: str
    before: Callable[[Order], Order] | None = None
    after: Callable[[Delivery], None] | None = None


def tampered(order: Order, kind: str) -> Delivery:
    """The delivery, made wrong in the way ``kind``. ValueError where that cannot be done to it."""
    tamper = TAMPERS[kind]
    delivery = compose(order if tamper.before is None else tamper.before(order))
    if tamper.after is not None:
        tamper.after(delivery)
    return delivery


def _with_secret(order: Order, secret: bytes) -> Order:
    scheme = order.provider.scheme
    if scheme is not None and needs_public_keys(scheme):
        raise ValueError("a private key is no text that could be mistyped: use --tamper signature")
    if not order.secret:
        raise ValueError("nothing proves this delivery: the route has no secret")
    return replace(order, secret=secret)


def _other_byte(delivery: Delivery) -> None:
    body = delivery.body
    if not body:
        raise ValueError("there is no body to change")
    at = len(body) // 2
    delivery.body = body[:at] + bytes([body[at] ^ 1 or 1]) + body[at + 1 :]


def _rewritten(delivery: Delivery) -> None:
    try:
        delivery.body = json.dumps(json.loads(delivery.body)).encode("ascii")
    except ValueError:
        raise ValueError("only a body of JSON can be written again") from None


def _without_body(delivery: Delivery) -> None:
    delivery.body = b""


def _proof_at(delivery: Delivery) -> int:
    for at, (name, _) in enumerate(delivery.fields):
        if name.lower() in delivery.proof:
            return at
    raise ValueError("what proves this delivery is in its body or its URL: use --tamper body or --tamper secret")


def _other_signature(delivery: Delivery) -> None:
    at = _proof_at(delivery)
    name, value = delivery.fields[at]
    # In the middle of its last part: the end of base64 has bits that mean nothing.
    place = len(value) - min(10, len(value))
    swapped = b"b" if value[place : place + 1] == b"a" else b"a"
    delivery.fields[at] = (name, value[:place] + swapped + value[place + 1 :])


def _without_proof(delivery: Delivery) -> None:
    _proof_at(delivery)
    delivery.fields = [one for one in delivery.fields if one[0].lower() not in delivery.proof]


def _twice(delivery: Delivery) -> None:
    at = _proof_at(delivery)
    delivery.fields.insert(at, delivery.fields[at])


TAMPERS: Mapping[str, Tamper] = MappingProxyType(
    {
        "body": Tamper("change a byte of the body after it was signed", after=_other_byte),
        "reencode": Tamper("write the JSON again after it was signed, as a gateway might", after=_rewritten),
        "empty": Tamper("send no body, though one was signed", after=_without_body),
        "secret": Tamper(
            "sign with another secret", before=lambda order: _with_secret(order, order.secret[:-1] + b"~")
        ),
        "newline": Tamper(
            "sign with a newline after the secret", before=lambda order: _with_secret(order, order.secret + b"\n")
        ),
        "signature": Tamper("change a character of the signature", after=_other_signature),
        "header": Tamper("leave out the header that proves it", after=_without_proof),
        "twice": Tamper("send the header that proves it twice", after=_twice),
        "timestamp": Tamper("sign as of an hour ago", before=lambda order: replace(order, now=order.now - HOUR_S)),
        "future": Tamper("sign as of an hour from now", before=lambda order: replace(order, now=order.now + HOUR_S)),
    }
)
