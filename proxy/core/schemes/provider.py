"""A provider as data: how it signs, where its documents are, how long it waits, and what else is known of it."""

from __future__ import annotations

from proxy.core.schemes.handshake import Handshake
from proxy.core.signatures import Scheme
from proxy.core.tokens import TokenKind
from proxy.values import frozen

#: What most providers wait for an answer, in seconds, before they hang up and, most of them, send again. Others say
#: so in their documents, or their operators report it.
ANSWER_S = 10.0


@frozen
class TokenSpec:
    """Where a provider without signatures puts its token. ``name``: lower-case header, or query key; b"" for Basic."""

    kind: TokenKind
    name: bytes = b""


@frozen
class Provider:
    """A service that sends webhooks. ``docs`` is the page that describes the scheme; header names are lower case.

    ``refusal_status`` is what the provider demands instead of 403; ``address_set`` names the published list of its
    addresses, where there is one; ``note`` is what an operator should know, in a sentence; ``better`` is the slug of a
    provider whose scheme is to be preferred; ``handshake`` is how it checks the endpoint; ``answer_s`` is how long it
    waits for an answer, in seconds. ``chosen``: the operator makes the secret and enters it there, else the provider
    shows one of its own; ``event_place`` is where the event type stands in the payload (``event.type``,
    ``[].subscriptionType``), where no header has it; ``events`` are the types that it publishes, where it lists them
    all; ``methods`` are those of its deliveries.
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
    better: str = ""
    chosen: bool = False
    event_place: str = ""
    events: frozenset[str] = frozenset()
    methods: tuple[str, ...] = ("POST",)

    @property
    def advice(self) -> str:
        """What an operator should know, and which scheme to prefer; "" where there is nothing to say."""
        return f"{self.note} Prefer {self.better}." if self.better else self.note
