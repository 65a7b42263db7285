"""Endpoint checks: recognised in a head or in a body that has had its verdict, and answered.

An unsigned check is the one request that passes a signed route without a signature. So nothing but the documented
shape is one: method, no content, exactly the provider's parameters, a challenge of few characters; and unless a token
proves the sender, it is passed on at the route's own path alone, not below it. What does not fit is judged like any
other request. Challenges are given back as text that no browser takes for markup; nothing here raises.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from proxy.core.policy import Route
from proxy.core.schemes.provider import PLAIN, Form, Handshake, Made
from proxy.core.signing.documents import read_claims, read_form, walk
from proxy.core.signing.evidence import public_url_of
from proxy.core.signing.proof import TokenKind
from proxy.core.signing.template import single_field
from proxy.http1 import Framing, RequestHead, phrase_of, write_response_head
from proxy.reasons import Reason
from proxy.values import frozen

#: A body that is larger is no check: it is not parsed.
MAX_BODY_BYTES = 64 * 1024

ANSWER = "answer"
REFUSE = "refuse"
_CONTENT_TYPES = {Form.TEXT: b"text/plain", Form.JSON: b"application/json"}


@frozen
class EndpointCheck:
    """An unsigned check as it was read from a head. ``verify`` is the verify token that came with it."""

    challenge: str
    verify: str = ""


@frozen
class HandshakeAnswer:
    """Our own answer to a check, or to a delivery that is not passed on; or a refusal that must have no content."""

    content: bytes
    content_type: bytes  # b"" where there is no content
    status: int = 200

    def write(self, request_id: bytes, date: bytes, *, close: bool, head_only: bool = False) -> bytes:
        """The whole answer; ``head_only`` for HEAD (RFC 9110 section 9.3.2)."""
        fields = [(b"Content-Type", self.content_type)] if self.content_type else []
        fields += [(b"X-Content-Type-Options", b"nosniff"), (b"Cache-Control", b"no-store"), (b"Date", date)]
        fields += [(b"X-Request-Id", request_id), (b"Content-Length", b"%d" % len(self.content))]
        if close:
            fields.append((b"Connection", b"close"))
        head = write_response_head(self.status, phrase_of(self.status), fields)
        return head if head_only else head + self.content


def find_check(route: Route, head: RequestHead) -> EndpointCheck | None:
    """The unsigned check of the route's provider that ``head`` is, or None where it is none."""
    handshake = route.endpoint_check
    if handshake is None or handshake.signed or head.method != handshake.method or route.handshake == REFUSE:
        return None
    given = _parameters(route, handshake, head) if _may_be_check(route, handshake, head) else None
    if given is None:
        return None
    challenge = given[handshake.query] if handshake.query else _only_value(head, handshake.header)
    if handshake.challenges and not handshake.shape.fullmatch(challenge):
        return None
    return EndpointCheck(challenge, given.get(handshake.verify, ""))


def _may_be_check(route: Route, handshake: Handshake, head: RequestHead) -> bool:
    """Whether what surrounds the query is that of a check: no content, and the path where checks are made."""
    if head.content_length or head.framing is Framing.CHUNKED or not _may_be_here(route, handshake, head):
        return False
    # $_REQUEST of PHP, without its php.ini, has the challenge of a cookie before that of the query.
    return not (handshake.needs_secret and b"cookie" in head.values)


def refuse_check(route: Route, check: EndpointCheck) -> Reason | None:
    """Why a check is refused: the route has a verify token, and the check another one. Else None."""
    handshake = route.endpoint_check
    if handshake is None or not handshake.verify or route.verify_token is None:
        return None
    if not check.verify:
        return Reason.TOKEN_MISSING
    # compare_digest takes time by its second argument: the length of the client's value, not of the token.
    same = hmac.compare_digest(route.verify_token, check.verify.encode("utf-8"))
    return None if same else Reason.TOKEN_MISMATCH


def head_answer(route: Route, head: RequestHead, check: EndpointCheck, now: float) -> HandshakeAnswer | Reason:
    """Our answer to a check that ``find_check`` found, at ``now`` (seconds since the epoch).

    A MAC is made with the first secret that is live, the newest; where none is, that is the reason.
    """
    assert route.endpoint_check is not None
    secrets = () if route.signature is None else route.signature.secrets
    key = next((secret.value for secret in secrets if secret.live(now)), None)
    if route.endpoint_check.needs_secret and key is None:
        return Reason.SIGNATURE_MISMATCH
    return _answer(route, route.endpoint_check, head, check.challenge, key or b"")


def body_answer(route: Route, head: RequestHead, body: bytes, secret_name: str) -> HandshakeAnswer | None:
    """Our answer to a signed check; None where ``body`` is none, and so a delivery like any other.

    To be asked after the verdict only: ``secret_name`` is the secret that matched, and a MAC is made with it.
    """
    handshake, challenge = route.endpoint_check, signed_challenge(route, head, body)
    if handshake is None or challenge is None or handshake.form is Form.NONE:
        return None
    secrets = () if route.signature is None else route.signature.secrets
    key = next((secret.value for secret in secrets if secret.name == secret_name), b"")
    return _answer(route, handshake, head, challenge, key)


def signed_challenge(route: Route, head: RequestHead, body: bytes) -> str | None:
    """The challenge of a signed check, "" where it has none; None where ``body`` is a delivery like any other."""
    handshake = route.endpoint_check
    if handshake is None or not handshake.signed or head.method != handshake.method:
        return None
    return _challenge_in(body, handshake) if _is_marked(handshake, head) else None


def _challenge_in(body: bytes, handshake: Handshake) -> str | None:
    """The challenge of a signed check, "" where it has none; None where ``body`` is no check."""
    tree = read_claims(body) if len(body) <= MAX_BODY_BYTES else None
    if tree is None or not all(_same(walk(tree, path), value) for path, value in handshake.marks):
        return None
    if not handshake.field:
        return ""
    challenge = walk(tree, handshake.field)
    return challenge if isinstance(challenge, str) and handshake.shape.fullmatch(challenge) else None


def _may_be_here(route: Route, handshake: Handshake, head: RequestHead) -> bool:
    """Whether the path may have a check. What is passed on unproved could otherwise read any page below the route."""
    if route.handshake == ANSWER or route.token is not None or (handshake.verify and route.verify_token is not None):
        return True
    return head.path.rstrip(b"/") == route.path.rstrip(b"/")


def _parameters(route: Route, handshake: Handshake, head: RequestHead) -> dict[str, str] | None:
    """The query, decoded; None where a parameter is missing, unknown, twice there, or has not its fixed value."""
    given = _decoded_query(route, head)
    if given is None:
        return None
    needed = {name for name in (handshake.query, handshake.verify) if name} | {name for name, _ in handshake.fixed}
    optional = handshake.optional & given.keys()
    known = given.keys() - optional == needed and all(given[name] == value for name, value in handshake.fixed)
    # Some readers end a parameter at ";" as well: what must not stand in the challenge must stand in none of them.
    return given if known and all(PLAIN.fullmatch(given[name]) for name in optional) else None


def _decoded_query(route: Route, head: RequestHead) -> dict[str, str] | None:
    """The query less the route's own token; None where it cannot be read, or a name comes twice."""
    own = route.token.name if route.token is not None and route.token.kind is TokenKind.QUERY else None
    form = read_form(head.query or b"")
    if form is None:
        return None
    pairs = [pair for pair in form if pair[0] != own]
    try:
        given = {name.decode("ascii"): value.decode("utf-8") for name, value in pairs}
    except UnicodeDecodeError:
        return None
    return given if len(given) == len(pairs) else None


def _only_value(head: RequestHead, name: bytes) -> str:
    return "" if name in head.repeated else head.values.get(name, b"").decode("latin-1")


def _is_marked(handshake: Handshake, head: RequestHead) -> bool:
    return handshake.marked_by is None or single_field(head, handshake.marked_by[0]) == handshake.marked_by[1]


def _same(found: object, wanted: object) -> bool:
    """Equal and of one kind: True is not 1."""
    return type(found) is type(wanted) and found == wanted


def _answer(route: Route, handshake: Handshake, head: RequestHead, challenge: str, key: bytes) -> HandshakeAnswer:
    if handshake.form is Form.EMPTY:
        return HandshakeAnswer(b"", b"")
    url = public_url_of((route.signature.public_url if route.signature else None) or "", head.path)
    secrets = (key, (route.verify_token or b"") + url)
    made = {name: _make(value, handshake.mac_prefix, challenge, *secrets) for name, value in handshake.values}
    text = json.dumps(made, separators=(",", ":")) if handshake.form is Form.JSON else str(made[""])
    return HandshakeAnswer(text.encode("utf-8"), _CONTENT_TYPES[handshake.form])


def _make(value: Made | int, prefix: str, challenge: str, key: bytes, suffix: bytes) -> str | int:
    if isinstance(value, int):
        return value
    message = challenge.encode("utf-8")
    if value is Made.HMAC_HEX:
        return prefix + hmac.digest(key, message, "sha256").hex()
    if value is Made.HMAC_BASE64:
        return prefix + base64.b64encode(hmac.digest(key, message, "sha256")).decode("ascii")
    return hashlib.sha256(message + suffix).hexdigest() if value is Made.DIGEST_HEX else challenge
