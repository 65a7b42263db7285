"""The sender's side of a scheme: the header fields that a provider would add to a delivery, or the body that it would
send where the signature stands in the body.

For trying out one's own set-up (``send``), and where the operator has a delivery that was kept signed anew
(``sign_anew``), for an application that checks once more and finds it too old. What proves it is taken out and made
again with the newest secret of its route that is live: header fields, the query's token, or what stands in the body.
Everything else stays as it came. Nothing that a stranger chose is signed without its own proof having held, or the
operator's word. Never for verifying, which shares only the data. Where the provider signs with a private key, one of
one's own stands in for it, and the route is given its public half.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from urllib.parse import quote, urlencode, urlsplit

from proxy.core.policy import Route
from proxy.core.schemes import Provider, find
from proxy.core.schemes.provider import TokenSpec
from proxy.core.signing.documents import FormPart, JsonPart, Part, list_items, read_document, read_form, read_json
from proxy.core.signing.evidence import as_signed, public_url_of
from proxy.core.signing.mac import digest, keyed_hash
from proxy.core.signing.parsed import HMAC_DIGESTS
from proxy.core.signing.proof import PUBLIC_KEY_METHODS, Scheme, TokenKind, load_pubkey, needs_public_keys
from proxy.core.signing.scheme import Claims, Document, Listing, Method, encode, encode_base64url, write_time
from proxy.core.signing.template import DOCUMENT_SLOTS, Context, Slot, compile_template, make_transform
from proxy.http1 import Framing, RequestHead
from proxy.reasons import Reason
from proxy.values import frozen

Fields = list[tuple[bytes, bytes]]
Node = dict[str, object]

_TOKEN_LIFE_S = 300
_IN_TARGET = frozenset({TokenKind.QUERY, TokenKind.PATH})


def sign(
    provider: Provider,
    secret: bytes,
    *,
    url: str,
    body: bytes,
    now: float,
    method: bytes = b"POST",
    message_id: bytes = b"msg_1",
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> Fields:
    """The fields that prove a delivery of ``body`` to ``url`` (as configured at the provider) at ``now``.

    ``secret`` is decoded (``decode_secret``). ``headers`` are fields of the delivery that may be signed too. Names are
    lower case. ValueError, with the reason, where the provider's side cannot be played.
    """
    if provider.scheme is None:
        assert provider.token is not None
        return token_fields(provider.token, secret)
    scheme = provider.scheme
    if scheme.document is not None and scheme.document.signature is not None:
        raise ValueError(f"{provider.title} writes its signature into the body: send a body that has it")
    if not plays_key(provider):
        raise ValueError(f"{provider.title} signs with a private key, which only the provider has")
    if scheme.claims is not None and not scheme.headers:
        raise ValueError("the token of this provider is the body itself")
    if scheme.claims is not None:
        return _claim_fields(scheme, scheme.claims, secret, url=url, body=body, now=now)
    return _Delivery(scheme, url, method, dict(headers)).sign(secret, body, now, message_id)


def plays_key(provider: Provider) -> bool:
    """Whether a secret, or a private key of one's own, can stand in for the provider's."""
    scheme = provider.scheme
    if scheme is None or not needs_public_keys(scheme):
        return True
    return scheme.method in PUBLIC_KEY_METHODS and scheme.document is None and scheme.envelope is None


def token_fields(token: TokenSpec, secret: bytes) -> Fields:
    """The field of a token. ValueError where the token stands in the URL."""
    if token.kind in _IN_TARGET:
        name = token.name.decode("latin-1")
        raise ValueError(f"the token goes into the URL: {f'?{name}=' if token.kind is TokenKind.QUERY else name}...")
    if token.kind is TokenKind.BASIC:
        return [(token.name or b"authorization", b"Basic " + b2a_base64(secret, newline=False))]
    prefix = b"Bearer " if token.kind is TokenKind.BEARER else b""
    return [(token.name or b"authorization", prefix + secret)]


class _Delivery:
    """One delivery on its way to be signed."""

    def __init__(self, scheme: Scheme, url: str, method: bytes, given: dict[bytes, bytes]) -> None:
        self._scheme = scheme
        self._url = url.encode("utf-8")
        self._method = method
        self._given = {name.lower(): value for name, value in given.items()}
        self._added: dict[bytes, bytes] = dict(scheme.required)

    def sign(self, secret: bytes, body: bytes, now: float, message_id: bytes) -> Fields:
        scheme = self._scheme
        stamp = b"" if scheme.timestamp is None else write_time(scheme.timestamp.format, now)
        if scheme.timestamp is not None and scheme.timestamp.header is not None:
            self._added[scheme.timestamp.header] = stamp
        for name in (scheme.identity, scheme.nonce):
            if name is not None:
                self._added[name] = message_id
        if scheme.signed_headers is not None:
            self._added[scheme.signed_headers] = b",".join(sorted([*self._added, scheme.signed_headers]))
        items = dict.fromkeys(scheme.listing.needed if scheme.listing else (), b"master")
        key_id, key = scheme.split_key(secret)
        text = encode(scheme.encoding, _made(scheme, key, self._signed(body, stamp, items, key_id)))
        value = _write_value(scheme, text, stamp, items)
        return [(scheme.headers[0], value), *self._added.items()]

    def _signed(self, body: bytes, stamp: bytes, items: dict[bytes, bytes], key_id: bytes) -> bytes:
        context = Context(self._head(), self._scheme, as_signed(self._scheme, self._url), stamp, items)
        context.key_id = key_id
        parts = compile_template(self._scheme.signed)
        context.document = self._read(parts, body)
        out: list[bytes] = []
        for one in parts:
            if isinstance(one, Slot) and one.kind == "body":
                transform = make_transform(self._scheme.body_forms[0])
                out.append(body if transform is None else transform.feed(body) + transform.finish())
                continue
            value = context.render((one,))
            if isinstance(value, Reason):
                wanted = self._scheme.signed
                raise ValueError(f"the delivery has not all that is signed: {wanted!r}")  # noqa: TRY004  of its content
            out.append(value)
        return b"".join(out)

    def _read(self, parts: Sequence[bytes | Slot], body: bytes) -> dict[tuple[str, str], bytes]:
        """What of a form is signed."""
        document = self._scheme.document
        if document is None:
            return {}
        part = FormPart(read_form(body) or [], document)
        slots = [slot for slot in parts if isinstance(slot, Slot) and slot.kind in DOCUMENT_SLOTS]
        return {(slot.kind, slot.name): part.slot(slot, self._url) or b"" for slot in slots}

    def _head(self) -> RequestHead:
        parts = urlsplit(self._url)
        path, query = parts.path or b"/", parts.query
        values = self._given | self._added
        return RequestHead(
            method=self._method,
            target=path + (b"?" + query if query else b""),
            minor=1,
            names=[name.lower() for name in values],
            lines=[b"%b: %b" % pair for pair in values.items()],
            path=path,
            query=query or None,
            host=parts.netloc,
            framing=Framing.NONE,
            content_length=None,
            keep_alive=True,
            expect_continue=False,
            values=values,
        )


def _made(scheme: Scheme, key: bytes, message: bytes) -> bytes:
    """The signature of ``message``: of the shared secret, or of a private key."""
    if scheme.method not in PUBLIC_KEY_METHODS:
        return digest(keyed_hash(key, scheme.algorithm, scheme.method), message)
    signature: bytes = load_pubkey().sign_message(key, scheme.method, scheme.algorithm, message)
    return signature


def _write_value(scheme: Scheme, text: bytes, stamp: bytes, items: dict[bytes, bytes]) -> bytes:
    signature = scheme.prefix + (text.upper() if scheme.writes_upper else text)
    listing = scheme.listing
    if listing is None:
        return signature
    separator = listing.separator + b" " if listing.blanks else listing.separator
    return separator.join(_list_items(listing, signature, stamp, items))


def _list_items(listing: Listing, signature: bytes, stamp: bytes, items: dict[bytes, bytes]) -> list[bytes]:
    if listing.pair is None:
        return [stamp, signature] if listing.timestamp_first else [signature]
    times = [(listing.timestamp, stamp)] if listing.timestamp is not None else []
    signatures = [(listing.signature or b"key", signature)]
    pairs = [*signatures, *items.items(), *times] if listing.needed else [*times, *signatures]
    return [key + listing.pair + value for key, value in pairs]


def _claim_fields(scheme: Scheme, claims: Claims, secret: bytes, *, url: str, body: bytes, now: float) -> Fields:
    key_id, key = scheme.split_key(secret)
    content: Node = {"iat": int(now), "nbf": int(now), "exp": int(now) + _TOKEN_LIFE_S}
    if claims.body is not None and (body or not claims.body_optional):
        content[claims.body] = encode(claims.body_encoding, hashlib.sha256(body).digest()).decode("ascii")
    if claims.url is not None:
        content[claims.url] = hashlib.sha256(url.encode("utf-8")).hexdigest()
    if claims.issuer_is_key_id or claims.issuer is not None:
        content["iss"] = claims.issuer or key_id.decode("utf-8")
    if claims.audience_is_url:
        content["aud"] = url
    algorithm = claims.algorithms[0]
    signed = _write_part({"alg": algorithm, "typ": "JWT"}) + b"." + _write_part(content)
    signature = digest(keyed_hash(key, HMAC_DIGESTS[algorithm]), signed)
    return [(scheme.headers[0], scheme.prefix + signed + b"." + encode_base64url(signature))]


def _write_part(value: dict[str, object]) -> bytes:
    return encode_base64url(json.dumps(value, separators=(",", ":")).encode("utf-8"))


def signs_inside(provider: Provider) -> bool:
    """Whether the provider writes its signature into the body."""
    scheme = provider.scheme
    return scheme is not None and scheme.document is not None and scheme.document.signature is not None


def sign_inside(provider: Provider, secret: bytes, body: bytes, now: float, message_id: str = "msg_1") -> bytes:
    """``body`` with its signature for ``now`` (seconds since the epoch). ``secret`` is decoded (``decode_secret``).

    A JSON object is signed in its places; for a form, ``body`` is what it carries. ValueError, with the reason, where
    the provider's side cannot be played.
    """
    scheme = provider.scheme
    assert scheme is not None
    document = scheme.document
    if document is None or document.signature is None:
        raise ValueError(f"{provider.title} writes no signature into the body")
    if needs_public_keys(scheme):
        raise ValueError(f"{provider.title} signs with a private key, which only the provider has")
    if document.kind == "form":
        return _signed_form(scheme, document, secret, body)
    tree = read_document(body)
    if not isinstance(tree, dict):
        raise ValueError(f"{provider.title} sends a JSON object: give one, in which no key stands twice")  # noqa: TRY004  of its content
    elements = [tree] if document.items is None else list_items(tree, document.items)
    if not elements:
        raise ValueError(f"the body has no {document.items}: there is nothing to sign")
    for element in elements:
        _sign_element(scheme, document, element, secret, now=now, message_id=message_id)
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _sign_element(
    scheme: Scheme, document: Document, element: Node, secret: bytes, *, now: float, message_id: str
) -> None:
    assert document.signature is not None
    if document.timestamp is not None and scheme.timestamp is not None:
        _put(element, document.timestamp, write_time(scheme.timestamp.format, now).decode("ascii"))
    folder = document.signature.rpartition(".")[0]
    token = f"{folder}.token".lstrip(".")
    if f"{{field:{token}}}" in scheme.signed:
        _put(element, token, message_id)
    if scheme.method is Method.EQUAL:
        _put(element, document.signature, secret.decode("utf-8"))
        return
    part = JsonPart(read_json(json.dumps(element).encode("utf-8")) or {}, document)
    _put(element, document.signature, _signature(scheme, part, secret).decode("ascii"))


def _signature(scheme: Scheme, part: Part, secret: bytes) -> bytes:
    out = []
    for one in compile_template(scheme.signed):
        value = part.slot(one, b"") if isinstance(one, Slot) else one
        if value is None:
            raise ValueError(f"the body has not all that is signed: {scheme.signed!r}")
        out.append(value)
    key = keyed_hash(scheme.split_key(secret)[1], scheme.algorithm, scheme.method)
    return scheme.prefix + encode(scheme.encoding, digest(key, b"".join(out)))


def _signed_form(scheme: Scheme, document: Document, secret: bytes, body: bytes) -> bytes:
    """Two fields: what is carried, in base64, and the list with its signature."""
    payload = next(one.name for one in compile_template(scheme.signed) if isinstance(one, Slot))
    carried = b64encode(body) + b"\n"
    key_id, key = scheme.split_key(secret)
    text = encode(scheme.encoding, digest(keyed_hash(key, scheme.algorithm, scheme.method), carried))
    pair = scheme.listing.pair if scheme.listing is not None else None
    signature = text if pair is None else key_id + pair + text
    return urlencode({document.signature or "": signature, payload: carried}).encode("ascii")


def _put(tree: Node, path: str, value: str) -> None:
    """Set the text at the dotted ``path``."""
    *folders, name = path.split(".")
    for folder in folders:
        below = tree.setdefault(folder, {})
        if not isinstance(below, dict):
            raise ValueError(f"{path} cannot be set: there is something else at {folder}")  # noqa: TRY004  of its content
        tree = below
    tree[name] = value


@frozen
class Signed:
    """What is to be sent instead; ``secret`` is the name of the one that it was signed with."""

    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]  # (name, value), in the order in which they came
    body: bytes
    secret: str


def sign_anew(
    route: Route, *, method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]], body: bytes, now: float
) -> Signed:
    """The delivery, signed by ``route`` as of ``now``. ValueError, with the reason, where we cannot sign so."""
    provider, guard = _provider(route), route.signature or route.token
    live = next((secret for secret in guard.secrets if secret.live(now)), None) if guard is not None else None
    if live is None:
        raise ValueError(f"the route {route.name} has no secret that is live")
    given = list(fields)
    message_id = _message_id(provider, given)
    if signs_inside(provider):
        made = sign_inside(provider, live.value, body, now, message_id.decode("latin-1"))
        return Signed(target, tuple(given), made, live.name)
    if provider.token is not None and provider.token.kind in _IN_TARGET:
        return Signed(_with_token(route, target, live.value), tuple(given), body, live.name)
    proof = sign(
        provider,
        live.value,
        url=_url(route, target, given),
        body=body,
        now=now,
        method=method,
        message_id=message_id,
        headers=[(name.lower(), value) for name, value in given],
    )
    return Signed(target, tuple(_replaced(given, proof)), body, live.name)


def _provider(route: Route) -> Provider:
    """The route's provider; of one that is configured or a token of its own, as much as signing asks for."""
    known = find(route.provider)
    if route.signature is not None:
        if known is not None and known.scheme == route.signature.scheme:
            return known
        return Provider(route.provider, "", title=route.provider, scheme=route.signature.scheme)
    if route.token is None:
        raise ValueError(f"the route {route.name} has neither a signature nor a token")
    return Provider(route.provider, "", title=route.provider, token=TokenSpec(route.token.kind, route.token.name))


def _message_id(provider: Provider, fields: Fields) -> bytes:
    """The id that the delivery has, which is signed along by some."""
    scheme = provider.scheme
    names = {provider.delivery_header, None if scheme is None else scheme.identity} - {None}
    return next((value for name, value in fields if name.lower() in names), b"msg_1")


def _url(route: Route, target: bytes, fields: Fields) -> str:
    public = None if route.signature is None else route.signature.public_url
    if public is not None:
        return public_url_of(public, target).decode("utf-8", "replace")
    host = next((value for name, value in fields if name.lower() == b"host"), b"localhost")
    return f"https://{host.decode('latin-1')}{target.decode('latin-1')}"


def _replaced(fields: Fields, proof: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The fields with the proof in the places of the old one; what has no place comes last."""
    fresh = dict(proof)
    names = frozenset(fresh)
    placed = []
    for name, value in fields:
        lower = name.lower()
        if lower not in names:
            placed.append((name, value))
        elif lower in fresh:
            placed.append((name, fresh.pop(lower)))
    return placed + list(fresh.items())


def _with_token(route: Route, target: bytes, value: bytes) -> bytes:
    """``target`` with this token in the place of the one that it has, if any."""
    assert route.token is not None
    token = quote(value, safe="").encode("ascii")
    if route.token.kind is TokenKind.QUERY:
        bare = route.token.strip(target)
        return b"%b%b%b=%b" % (bare, b"&" if b"?" in bare else b"?", route.token.name, token)
    path, mark, query = target.partition(b"?")
    mapped = route.path_map
    if mapped is None or not mapped.owns(path):
        raise ValueError("the path is not one of this route's")
    return mapped.prefix + token + mapped.rest(path) + mark + query
