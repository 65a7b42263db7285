"""What the tests of endpoint checks share: a route for a provider, heads as the provider sends them, and verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proxy.core.body import BodyGate
from proxy.core.policy import Route
from proxy.core.request_head import read_request_head
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import SignatureCheck, TokenCheck
from proxy.core.signing.scheme import Secret
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from tests import policies
from tests.policies import HEAD_LIMITS

NOW = 1_780_000_000.0
KEY = b"a consumer secret"
WORD = b"verify-4711"
URL = "https://hooks.example.com/in/here"
PATH = "/in/here"
#: Keys that are no HMAC key: any of the right form will do, because nothing here is verified with them.
PUBLIC = {"discord": bytes(32)}


@dataclass(frozen=True)
class Sent:
    """One unsigned check as the provider sends it, and the answer that it expects."""

    slug: str
    answer: bytes
    kind: bytes = b"text/plain"
    method: str = "GET"
    query: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        return PATH + (f"?{self.query}" if self.query else "")


def route(slug: str, mode: str = "forward", **changed: object) -> Route:
    """A route of the provider: /in/here, POST, one secret, no verify token."""
    provider = PROVIDERS[slug]
    secrets = (Secret("s1", KEY),)
    signature = token = None
    if provider.token is not None:
        token = TokenCheck(provider.token.kind, provider.token.name, secrets)
    elif slug not in {"ebay", "sns", "discord"}:
        assert provider.scheme is not None
        signature = SignatureCheck(provider.scheme, secrets, None, URL)
    fields: dict[str, Any] = {
        "name": slug,
        "path": PATH.encode(),
        "token": token,
        "signature": signature,
        "provider": slug,
        "endpoint_check": provider.handshake,
        "handshake": mode,
    }
    return policies.route(**fields | changed)


def head(method: str, target: str, fields: dict[str, str] | None = None, *, extra: tuple[str, ...] = ()) -> RequestHead:
    """The head of a request; POST has ``Content-Length: 0`` unless the fields say otherwise."""
    given = {"Host": "hooks.example.com", **(fields or {})}
    if method == "POST" and not {"Content-Length", "Transfer-Encoding"} & given.keys():
        given["Content-Length"] = "0"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), *extra, "", ""]
    read = read_request_head("\r\n".join(lines).encode("latin-1"), HEAD_LIMITS)
    assert read is not None
    return read[0]


def judge_whole(gate: BodyGate, body: bytes) -> str | Reason | None:
    """The verdict on a body that came in one piece."""
    gate.keep(body)
    return gate.finish()
