"""The sender's side of schemes whose signature stands in the body: a body with the signature that it needs.

For trying out one's own set-up (the ``send`` command), as ``signer``, and never for verifying. The body is parsed, its
signature is put where the provider writes it, and it is written again.
"""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import urlencode

from proxy.core.schemes.provider import Provider
from proxy.core.signing.documents import JsonPart, Part, read_json, walk
from proxy.core.signing.encodings import encode
from proxy.core.signing.extras import needs_public_keys
from proxy.core.signing.mac import KeyedHash
from proxy.core.signing.scheme import Document, Method, Scheme
from proxy.core.signing.template import Slot, compile_template
from proxy.core.signing.times import write_time

Node = dict[str, object]


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
    try:
        tree = json.loads(body)
    except ValueError:
        tree = None
    if not isinstance(tree, dict):
        raise ValueError(f"{provider.title} sends a JSON object: give one")  # noqa: TRY004  of its content
    for element in _elements(tree, document):
        _sign_element(scheme, document, element, secret, now=now, message_id=message_id)
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _elements(tree: Node, document: Document) -> list[Node]:
    if document.items is None:
        return [tree]
    outer, _, inner = document.items.partition("[]")
    found = walk(tree, outer)
    items = [walk(one, inner.lstrip(".")) for one in found] if isinstance(found, list) else []
    elements = [one for one in items if isinstance(one, dict)]
    if not elements:
        raise ValueError(f"the body has no {document.items}: there is nothing to sign")
    return elements


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
    key = KeyedHash(scheme.split_key(secret)[1], scheme.algorithm, scheme.method)
    return scheme.prefix + encode(scheme.encoding, key.digest(b"".join(out)))


def _signed_form(scheme: Scheme, document: Document, secret: bytes, body: bytes) -> bytes:
    """Two fields: what is carried, in base64, and the list with its signature."""
    payload = next(one.name for one in compile_template(scheme.signed) if isinstance(one, Slot))
    carried = b64encode(body) + b"\n"
    key_id, key = scheme.split_key(secret)
    text = encode(scheme.encoding, KeyedHash(key, scheme.algorithm, scheme.method).digest(carried))
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
