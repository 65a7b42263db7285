"""One delivery as a provider would make it: a sample or one's own content, signed with the sender's side of the scheme
(``core.signing.signer``), with the fields that the provider puts around it; and the ways to make it wrong on purpose.
Nothing here opens a connection.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from urllib.parse import quote, urlsplit, urlunsplit

from proxy.core.schemes import PROVIDERS, Provider, TokenSpec
from proxy.core.signatures import needs_public_keys
from proxy.core.signing.evidence import public_url_of
from proxy.core.signing.signer import sign, sign_inside, signs_inside, token_fields
from proxy.core.signing.template import Slot, compile_template
from proxy.core.tokens import TokenKind
from proxy.http1 import write_request_head
from proxy.tools.samples import FORM, Moment, Sample, body_of, carried, sender_of, spelt
from proxy.values import frozen, mutable

Fields = list[tuple[str, bytes]]

#: Where a token stands in a path.
_PLACE = "{token}"
#: What a segment of a path may have undecoded (RFC 3986 section 3.3).
_SEGMENT = "!$&'()*+,=:@"


@mutable
class Delivery:
    """One request. ``proof``: the lower-case names of the fields that prove its origin."""

    method: str
    url: str = field(repr=False)  # a token may be in it
    fields: Fields = field(repr=False)
    body: bytes = field(repr=False)
    proof: frozenset[str]
    shown_path: str = "/"  # without what is secret in it

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
class OwnToken:
    """A token that the route wants besides the signature."""

    spec: TokenSpec
    secret: bytes = field(repr=False)


@frozen
class Order:
    """What is to be sent. ``secret`` is decoded, b"" where nothing is proved; ``public_url`` is the URL that is signed,
    where it is another one. ``form`` is the field of a form that carries the content.
    """

    provider: Provider
    secret: bytes = field(repr=False)
    url: str
    sample: Sample
    now: float
    body: bytes | None = None  # instead of the sample's
    extra: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    public_url: str | None = None
    form: str = ""
    token: OwnToken | None = None


def compose(order: Order) -> Delivery:
    """The delivery, signed. ValueError, with the reason, where the provider's side cannot be played."""
    provider = order.provider
    moment = _moment(order)
    body = body_of(order.sample, moment) if order.body is None else order.body
    if order.form:
        body = carried(order.form, body)
    if signs_inside(provider):
        body = sign_inside(provider, order.secret, body, order.now, moment.hex(""))
    fields = _with_own(_usual(order, moment), order.extra)
    template, tokens = _with_tokens(order)
    url = _filled_path(order, template)
    signed = provider.scheme is not None and not signs_inside(provider)
    proof = [*(_signatures(order, url, fields, body, moment) if signed else ()), *tokens]
    names = frozenset(name.lower() for name, _ in proof)
    kept = [one for one in fields if one[0].lower() not in names]
    return Delivery(order.method, url, kept + proof, body, names, urlsplit(template).path or "/")


def _moment(order: Order) -> Moment:
    moment = Moment(order.now, str(uuid.uuid4()))
    if not sender_of(order.provider).message_ids:
        return moment
    return Moment(order.now, "msg_" + moment.letters("message", 27))


def _tokens(order: Order) -> list[tuple[TokenSpec, bytes]]:
    own = [] if order.token is None else [(order.token.spec, order.token.secret)]
    return own if order.provider.token is None else [*own, (order.provider.token, order.secret)]


def _with_tokens(order: Order) -> tuple[str, Fields]:
    """The URL with the parameters that belong there, ``{token}`` for a token in its path, and the fields of tokens."""
    url, fields = _with_params(order), []
    for spec, secret in _tokens(order):
        if spec.kind is TokenKind.QUERY:
            url = _with_query(url, f"{spec.name.decode('ascii')}={quote(secret, safe='')}")
        elif spec.kind is TokenKind.PATH:
            url = _with_place(url, spec.name.decode("ascii"))
        else:
            fields += [(spelt(name.decode("ascii")), value) for name, value in token_fields(spec, secret)]
    return url, fields


def _with_place(url: str, before: str) -> str:
    """``url`` with ``{token}`` behind ``before``, unless it is there."""
    parts = urlsplit(url)
    if _PLACE in parts.path:
        return url
    rest = parts.path.removeprefix(before.rstrip("/")).rstrip("/")
    return urlunsplit(parts._replace(path=f"{before}{_PLACE}{rest}"))


def _filled_path(order: Order, template: str) -> str:
    """The URL with its token."""
    parts = urlsplit(template)
    for spec, secret in _tokens(order):
        if spec.kind is TokenKind.PATH:
            parts = parts._replace(path=parts.path.replace(_PLACE, quote(secret, safe=_SEGMENT), 1))
    return urlunsplit(parts)


def _signatures(order: Order, url: str, fields: Fields, body: bytes, moment: Moment) -> Fields:
    """The fields of the provider's signature, and behind them those of the schemes that go along."""
    target = urlsplit(url)
    signed_url = urlunsplit(target._replace(path=target.path or "/"))
    if order.public_url is not None:
        came = Delivery("", url, [], b"", frozenset()).target
        signed_url = public_url_of(order.public_url, came.encode("ascii")).decode("utf-8")
    made = [
        one
        for provider in (order.provider, *(PROVIDERS[slug] for slug in sender_of(order.provider).also))
        for one in sign(
            provider,
            order.secret,
            url=signed_url,
            body=body,
            now=order.now,
            method=order.method.encode("ascii"),
            message_id=moment.delivery_id.encode("ascii"),
            headers=[(name.lower().encode("ascii"), value) for name, value in fields],
        )
    ]
    return [(spelt(name.decode("ascii")), value) for name, value in made]


def _usual(order: Order, moment: Moment) -> Fields:
    """The fields that the provider sends besides the proof."""
    provider, sample, sender = order.provider, order.sample, sender_of(order.provider)
    event = sample.header or sample.event
    texts = [("User-Agent", sender.agent), ("Content-Type", FORM if order.form else sample.content_type)]
    named = ((provider.event_header, event), (provider.delivery_header, moment.delivery_id))
    texts += [(spelt(name.decode("ascii")), value) for name, value in named if name is not None]
    texts += [(name, _filled(value, event, moment, name)) for name, value in (*sender.fields, *sample.fields)]
    present = {name.lower() for name, _ in (*texts, *order.extra)}
    signed = [slot.name.lower() for slot in _slots(provider, "header")]
    texts += [(spelt(name), moment.delivery_id) for name in signed if name not in present]
    return [(name, value.encode("latin-1")) for name, value in texts]


def _filled(value: str, event: str, moment: Moment, name: str) -> str:
    if "{" not in value:
        return value
    seconds = int(moment.now)
    return value.format(
        id=moment.delivery_id,
        uuid=moment.uuid(name),
        event=event,
        time=moment.rfc3339,
        s=seconds,
        ms=int(moment.now * 1000),
    )


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
