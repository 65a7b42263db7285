"""One delivery as a provider would make it, and ways to make it wrong on purpose.

``compose`` signs with the sender's side of the scheme (``core.signing.signer``); ``TAMPERS`` has what can be changed,
before or after signing. Nothing here opens a connection.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from urllib.parse import quote, urlsplit, urlunsplit

from proxy.core.schemes import Provider
from proxy.core.signing.evidence import public_url_of
from proxy.core.signing.signer import sign, sign_inside, signs_inside
from proxy.core.signing.template import Slot, compile_template
from proxy.core.tokens import TokenKind
from proxy.http1 import write_request_head
from proxy.tools.samples import Sample, body_of
from proxy.values import frozen, mutable

HOUR_S = 3600.0

Fields = list[tuple[str, bytes]]


@mutable
class Delivery:
    """One request. ``proof``: the lower-case names of the fields that prove its origin."""

    method: str
    url: str = field(repr=False)  # a token may be in its query
    fields: Fields = field(repr=False)
    body: bytes = field(repr=False)
    proof: frozenset[str]

    @property
    def target(self) -> str:
        """Path and query."""
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def wire(self) -> bytes:
        """The request as bytes, as a file for ``explain`` and ``[[test]]`` has it."""
        host = urlsplit(self.url).netloc.rpartition("@")[2].encode("ascii")
        framing = (b"Content-Length", b"%d" % len(self.body))
        fields = [(b"Host", host), *((name.encode("ascii"), value) for name, value in self.fields), framing]
        return write_request_head(self.method.encode("ascii"), self.target.encode("ascii"), fields) + self.body


@frozen
class Order:
    """What is to be sent. ``secret`` is decoded; ``public_url`` is the URL that is signed, where it is another one."""

    provider: Provider
    secret: bytes = field(repr=False)
    url: str
    sample: Sample
    now: float
    body: bytes | None = None  # instead of the sample's
    extra: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    public_url: str | None = None


def compose(order: Order) -> Delivery:
    """The delivery, signed. ValueError, with the reason, where the provider's side cannot be played."""
    provider = order.provider
    body = body_of(order.sample) if order.body is None else order.body
    delivery_id = str(uuid.uuid4())
    if signs_inside(provider):
        body = sign_inside(provider, order.secret, body, order.now, delivery_id.replace("-", ""))
    url = _with_params(order)
    fields = _with_own(_usual(order, delivery_id), order.extra)
    proof: Fields = []
    if provider.token is not None and provider.token.kind is TokenKind.QUERY:
        url = _with_query(url, f"{provider.token.name.decode('ascii')}={quote(order.secret, safe='')}")
    elif not signs_inside(provider):
        target = urlsplit(url)
        signed_url = urlunsplit(target._replace(path=target.path or "/"))
        if order.public_url is not None:
            came = Delivery("", url, [], b"", frozenset()).target
            signed_url = public_url_of(order.public_url, came.encode("ascii")).decode("utf-8")
        made = sign(
            provider,
            order.secret,
            url=signed_url,
            body=body,
            now=order.now,
            method=order.method.encode("ascii"),
            message_id=delivery_id.encode("ascii"),
            headers=[(name.lower().encode("ascii"), value) for name, value in fields],
        )
        proof = [(_shown(name.decode("ascii")), value) for name, value in made]
    names = frozenset(name.lower() for name, _ in proof)
    return Delivery(order.method, url, [one for one in fields if one[0].lower() not in names] + proof, body, names)


def _usual(order: Order, delivery_id: str) -> Fields:
    """The fields that the provider sends besides the proof."""
    provider, sample = order.provider, order.sample
    agent = provider.agent or "hookward-send"
    fields: Fields = [("User-Agent", agent.encode("ascii")), ("Content-Type", sample.content_type.encode("ascii"))]
    if provider.event_header is not None:
        fields.append(
            (_shown(provider.event_header.decode("ascii")), (sample.header or sample.event).encode("latin-1"))
        )
    if provider.delivery_header is not None:
        fields.append((_shown(provider.delivery_header.decode("ascii")), delivery_id.encode("ascii")))
    fields += [(name, value.encode("ascii")) for name, value in sample.fields]
    present = {name.lower() for name, _ in fields} | {name.lower() for name, _ in order.extra}
    for slot in _slots(order.provider, "header"):
        if slot.name.lower() not in present:
            fields.append((_shown(slot.name.lower()), delivery_id.encode("ascii")))
    return fields


def _with_own(fields: Fields, extra: tuple[tuple[str, str], ...]) -> Fields:
    """``fields`` with those of the command line, which replace ours."""
    names = {name.lower() for name, _ in extra}
    own = [(name, value.encode("latin-1")) for name, value in extra]
    return [one for one in fields if one[0].lower() not in names] + own


def _slots(provider: Provider, kind: str) -> list[Slot]:
    parts = () if provider.scheme is None else compile_template(provider.scheme.signed)
    return [part for part in parts if isinstance(part, Slot) and part.kind == kind]


def _with_params(order: Order) -> str:
    """The URL with the parameters that the scheme signs, where they are missing."""
    url = order.url
    for slot in _slots(order.provider, "param"):
        if f"{slot.name}=" not in urlsplit(url).query:
            url = _with_query(url, f"{slot.name}=1234567890")
    return url


def _with_query(url: str, pair: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path or "/", query=f"{parts.query}&{pair}" if parts.query else pair))


def _shown(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-"))


# -- tampering


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
            "sign with another secret", before=lambda order: replace(order, secret=order.secret[:-1] + b"~")
        ),
        "newline": Tamper(
            "sign with a newline after the secret", before=lambda order: replace(order, secret=order.secret + b"\n")
        ),
        "signature": Tamper("change a character of the signature", after=_other_signature),
        "header": Tamper("leave out the header that proves it", after=_without_proof),
        "twice": Tamper("send the header that proves it twice", after=_twice),
        "timestamp": Tamper("sign as of an hour ago", before=lambda order: replace(order, now=order.now - HOUR_S)),
        "future": Tamper("sign as of an hour from now", before=lambda order: replace(order, now=order.now + HOUR_S)),
    }
)
