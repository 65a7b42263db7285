"""A provider as data: who signs how, where its documents are, and which headers name event and delivery."""

from __future__ import annotations

from proxy.core.schemes.handshake import Handshake
from proxy.core.signatures import Scheme
from proxy.core.tokens import TokenKind
from proxy.values import frozen

#: What most providers wait for an answer, in seconds; ``patience`` knows the others.
ANSWER_S = 10.0


@frozen
class TokenSpec:
    """Where a provider without signatures puts its token. ``name``: lower-case header, or query key; b"" for Basic."""

    kind: TokenKind
    name: bytes = b""


@frozen
class Provider:
    """One sender of webhooks. ``docs`` is the page that describes the scheme; header names are lower case.

    ``refusal_status`` is what the provider demands instead of 403; ``address_set`` names the published list of its
    addresses, where there is one; ``note`` is what an operator should know, in a sentence; ``handshake`` is how it
    checks the endpoint; ``answer_s`` is how long it waits for an answer, in seconds.
    """

    slug: str
    title: str
    docs: str
    scheme: Scheme | None = None
    token: TokenSpec | None = None
    event_header: bytes | None = None
    delivery_header: bytes | None = None
    refusal_status: int | None = None
    address_set: str | None = None
    note: str = ""
    handshake: Handshake | None = None
    answer_s: float = ANSWER_S
