"""One delivery as a provider would make it: a sample or one's own content, signed with the sender's side of the scheme
(``core.signing.signer``), with the fields that the provider puts around it; which route of a configuration it is for,
with its secret and its address; and how it is sent.
"""

from __future__ import annotations

import argparse
import http.client
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from proxy.config.guards import slug_of
from proxy.config.host import visible
from proxy.config.load import load_namespace, parse_flags
from proxy.config.problems import suggestion
from proxy.config.settings import Settings
from proxy.core.policy import Route
from proxy.core.schemes import PROVIDERS, Provider, TokenSpec, find
from proxy.core.signing.evidence import public_url_of
from proxy.core.signing.proof import TokenKind, needs_public_keys
from proxy.core.signing.scheme import Secret
from proxy.core.signing.signer import sign, sign_inside, signs_inside, token_fields
from proxy.core.signing.template import Slot, compile_template
from proxy.errors import FlagError
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
    url, shown_path, tokens = _with_tokens(order)
    signed = provider.scheme is not None and not signs_inside(provider)
    proof = [*(_signatures(order, url, fields, body, moment) if signed else ()), *tokens]
    names = frozenset(name.lower() for name, _ in proof)
    kept = [one for one in fields if one[0].lower() not in names]
    return Delivery(order.method, url, kept + proof, body, names, shown_path)


def _moment(order: Order) -> Moment:
    moment = Moment(order.now, str(uuid.uuid4()))
    has_own_form = sender_of(order.provider).message_ids
    return Moment(order.now, "msg_" + moment.letters("message", 27)) if has_own_form else moment


def _tokens(order: Order) -> list[tuple[TokenSpec, bytes]]:
    own = [] if order.token is None else [(order.token.spec, order.token.secret)]
    return own if order.provider.token is None else [*own, (order.provider.token, order.secret)]


def _with_tokens(order: Order) -> tuple[str, str, Fields]:
    """The URL with the parameters and the token that belong there, its path without the token, and the fields."""
    url, fields, in_path = _with_params(order), [], b""
    for spec, secret in _tokens(order):
        if spec.kind is TokenKind.QUERY:
            url = _with_query(url, f"{spec.name.decode('ascii')}={quote(secret, safe='')}")
        elif spec.kind is TokenKind.PATH:
            url, in_path = _with_place(url, spec.name.decode("ascii")), secret
        else:
            fields += [(spelt(name.decode("ascii")), value) for name, value in token_fields(spec, secret)]
    parts = urlsplit(url)
    path = parts.path.replace(_PLACE, quote(in_path, safe=_SEGMENT), 1) if in_path else parts.path
    return urlunsplit(parts._replace(path=path)), parts.path or "/", fields


def _with_place(url: str, before: str) -> str:
    """``url`` with ``{token}`` behind ``before``, unless it is there."""
    parts = urlsplit(url)
    if _PLACE in parts.path:
        return url
    rest = parts.path.removeprefix(before.rstrip("/")).rstrip("/")
    return urlunsplit(parts._replace(path=f"{before}{_PLACE}{rest}"))


def _signatures(order: Order, url: str, fields: Fields, body: bytes, moment: Moment) -> Fields:
    """The fields of the provider's signature, and behind them those of the schemes that go along."""
    target = urlsplit(url)
    signed_url = urlunsplit(target._replace(path=target.path or "/"))
    if order.public_url is not None:
        came = Delivery("", url, [], b"", frozenset()).target
        signed_url = public_url_of(order.public_url, came.encode("ascii")).decode("utf-8")
    signed = partial(
        sign,
        url=signed_url,
        body=body,
        now=order.now,
        method=order.method.encode("ascii"),
        message_id=moment.delivery_id.encode("ascii"),
        headers=[(name.lower().encode("ascii"), value) for name, value in fields],
    )
    signers = (order.provider, *(PROVIDERS[slug] for slug in sender_of(order.provider).also))
    made = [one for provider in signers for one in signed(provider, order.secret)]
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
    times = {"time": moment.rfc3339, "s": int(moment.now), "ms": int(moment.now * 1000)}
    return value.format(id=moment.delivery_id, uuid=moment.uuid(name), event=event, **times)


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


# -- what takes a delivery

_GIVE_URL = "give --url http://HOST:PORT/PATH"


@frozen
class RouteTarget:
    """What takes a delivery. ``secret`` is decoded; b"" where nothing is proved; None where it is not known, or cannot
    sign: a public key. Where ``url`` leads to our own listener, ``certificate`` is its certificate (a path).
    """

    provider: Provider
    secret: bytes | None = field(repr=False)
    url: str
    token: OwnToken | None = None
    certificate: str | None = None
    public_url: str | None = None
    method: str = "POST"
    events: frozenset[str] | None = None  # those that the route takes, where it chooses


def read_route(
    config: str, route: str | None, provider: str | None, environ: Mapping[str, str], now: float, *, url: str | None
) -> RouteTarget:
    """The route called ``route`` of the file ``config``, or the one that takes the deliveries of ``provider``.

    ``now`` is in seconds since the epoch: secrets that are over are not used. ``url`` is where to, if that is known.
    FlagError where no route, or more than one, is meant, or nothing listens that could be called; ConfigError where the
    configuration is wrong.
    """
    loaded = load_namespace(parse_flags(["--config", config]), environ, now=now)
    chosen = _choose(loaded.policy.routes, route, provider)
    known, secret, token = _proof(chosen, now)
    method = "POST" if b"POST" in chosen.methods else min(chosen.methods).decode("ascii")
    return RouteTarget(
        provider=known,
        secret=secret,
        token=token,
        url=_url(loaded.settings, chosen) if url is None else url,
        certificate=loaded.settings.tls[0].cert if loaded.settings.tls and url is None else None,
        public_url=chosen.signature.public_url if chosen.signature is not None else None,
        method=method,
        events=chosen.events or (chosen.payload.events if chosen.payload is not None else None),
    )


def _choose(routes: Sequence[Route], name: str | None, provider: str | None) -> Route:
    if name is not None:
        for route in routes:
            if route.name == name:
                return route
        names = [route.name for route in routes]
        mend = suggestion(name, names, otherwise=f"the routes are {', '.join(names)}")
        raise FlagError.of("--route", f"there is no route {name[:64]!r}", mend)
    fits = [route for route in routes if provider is None or _takes(route, provider)]
    if len(fits) == 1:
        return fits[0]
    mend = f"choose one of them: --route {(fits or routes)[0].name}"
    if not fits:
        assert provider is not None
        what = f"no route takes the deliveries of {provider[:64]!r}; there are {_list(routes)}"
        raise FlagError.of("PROVIDER", what, mend)
    raise FlagError.of("--route", f"several routes could be meant: {_list(fits)}", mend)


def _takes(route: Route, provider: str) -> bool:
    known = find(provider)
    return route.provider in {slug_of(provider), known.slug if known is not None else ""}


def _list(routes: Sequence[Route]) -> str:
    return ", ".join(f"{route.name} ({route.provider or 'nothing proved'})" for route in routes)


def _proof(route: Route, now: float) -> tuple[Provider, bytes | None, OwnToken | None]:
    """Whose deliveries a route takes, the secret that proves them, and the token besides."""
    signature, token = route.signature, route.token
    if signature is not None:
        known = find(route.provider) or Provider(
            slug=route.provider,
            title=route.provider,
            docs="",
            scheme=signature.scheme,
            event_header=route.event_header,
            event_place=_event_place(route),
            delivery_header=route.delivery_header,
        )
        own = None if token is None else OwnToken(TokenSpec(token.kind, token.name), _live(token.secrets, now))
        secret = None if needs_public_keys(signature.scheme) else _live(signature.secrets, now)
        return known, secret, own
    if token is None:
        return Provider(slug="generic", title="the route", docs=""), b"", None
    spec = TokenSpec(token.kind, token.name)
    return find(route.provider) or Provider("token", "", title="the route", token=spec), _live(token.secrets, now), None


def _event_place(route: Route) -> str:
    place = route.payload.event_place if route.payload is not None else None
    return "" if place is None else place.text


def _live(secrets: Sequence[Secret], now: float) -> bytes:
    """The newest that counts. The loader has seen to it that there is one."""
    return next(secret.value for secret in secrets if secret.live(now))


def _url(settings: Settings, route: Route) -> str:
    """Where our own listener takes what is for ``route``."""
    ours = [address for address in settings.listen if address.is_tcp]
    if not ours:
        raise FlagError.of("--url", "hookward listens on no address that could be called", _GIVE_URL)
    if settings.proxy_protocol == "require":
        what = "the listener wants a PROXY header first, which only your balancer sends"
        raise FlagError.of("--url", what, "give the URL of the balancer: --url https://HOST/PATH")
    address = ours[0]
    if address.port == 0:
        raise FlagError.of("--url", "the kernel chooses the port of the listener", _GIVE_URL)
    host = address.host or "127.0.0.1"
    if ip_address(host).is_unspecified:
        host = "127.0.0.1" if ip_address(host).version == 4 else "::1"
    where = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls else 'http'}://{where}:{address.port}{route.path.decode('ascii')}"


# -- over the network

TIMEOUT_S = 60.0
MAX_SHOWN = 4096  # bytes of the answer's content


def exchange(
    delivery: Delivery, arguments: argparse.Namespace, certificate: str | None
) -> tuple[int, str, list[tuple[str, str]], bytes]:
    """Status, phrase, fields and content of the answer. Raises OSError and HTTPException."""
    parts, context = urlsplit(delivery.url), _context(delivery, arguments, certificate)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    if context is not None:
        connection = http.client.HTTPSConnection(connection.host, parts.port, timeout=TIMEOUT_S, context=context)
    try:
        own_host = any(name.lower() == "host" for name, _ in delivery.fields)
        connection.putrequest(delivery.method, delivery.target, skip_accept_encoding=True, skip_host=own_host)
        for name, value in delivery.fields:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(delivery.body)))
        connection.endheaders(delivery.body)
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.getheaders(), answer.read(MAX_SHOWN + 1)
    finally:
        connection.close()


def _context(delivery: Delivery, arguments: argparse.Namespace, certificate: str | None) -> ssl.SSLContext | None:
    """How the other end is verified; None without TLS. Our own listener has ``certificate``, whatever its name."""
    if urlsplit(delivery.url).scheme != "https":
        return None
    if arguments.cafile is None and certificate is not None:
        # The first one alone: whom its authority has certified besides is not us.
        context = ssl.create_default_context(cadata=_first(Path(certificate).read_text("ascii", "replace")))
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context = ssl.create_default_context(cafile=arguments.cafile)
    if arguments.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _first(pem: str) -> str:
    """The first certificate of a file."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return f"{begin}{pem.partition(begin)[2].partition(end)[0]}{end}\n"


def why_none(error: Exception) -> str:
    """Why there is no answer, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate does not hold ({error.verify_message}); --cafile names other CAs"
    if isinstance(error, ConnectionResetError | http.client.RemoteDisconnected):
        return "the connection was closed or reset: so does hookward with an address that is not allowed"
    return visible(str(error)) or type(error).__name__
