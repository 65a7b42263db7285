"""A provider as data: how it signs, where its documents are, how long it waits, and what else is known of it.

``decode_secret`` makes of a secret, as the provider shows it, the key that is compared with. Every mistake says how to
mend it and never holds a character of the secret.
"""

from __future__ import annotations

import hashlib

from proxy.core.schemes.handshake import Handshake
from proxy.core.signatures import Scheme, load_pubkey, needs_public_keys
from proxy.core.signing.encodings import decode_base64, decode_hex
from proxy.core.signing.scheme import SecretForm
from proxy.core.tokens import TokenKind
from proxy.errors import Mistake
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


COPY_AGAIN = "copy it from the provider again"
_WHSEC = b"whsec_"
_VERSION = b"v1,"  # as Supabase shows it


def decode_secret(provider: Provider, raw: bytes) -> bytes:
    """The key for ``provider`` from the text of a secret (no newline at its end). Mistake where it is none."""
    if not raw:
        raise Mistake("the secret is empty", COPY_AGAIN)
    scheme = provider.scheme
    if scheme is None:
        return raw
    if not scheme.two_part:
        return _decode(scheme, provider.title, raw)
    key_id, colon, key = raw.partition(b":")
    if not colon or not key_id or not key:
        raise Mistake(f"{provider.title} needs both parts of the secret in one text, written first:second", COPY_AGAIN)
    return key_id + b":" + _decode(scheme, provider.title, key)


def _decode(scheme: Scheme, title: str, raw: bytes) -> bytes:
    if needs_public_keys(scheme):
        decoded: bytes = load_pubkey().decode_public_key(scheme.secret, scheme.method, raw)
        return decoded
    form = scheme.secret
    key: bytes | None = raw
    if form is SecretForm.HEX:
        key = decode_hex(raw)
    elif form is SecretForm.BASE64:
        key = decode_base64(raw)
    elif form is SecretForm.WHSEC or (form is SecretForm.WHSEC_OR_RAW and raw.startswith(_WHSEC)):
        key = decode_base64(raw.removeprefix(_VERSION).removeprefix(_WHSEC))
    if key is None:
        raise Mistake(f"the secret of {title} is not written in {_WORDS[form]}", COPY_AGAIN)
    if scheme.key_digest is not None:
        return hashlib.new(scheme.key_digest, key).digest()
    return key


_WORDS = {
    SecretForm.HEX: "hex (an even number of 0-9, a-f)",
    SecretForm.BASE64: "base64 (with its padding)",
    SecretForm.WHSEC: 'base64, with or without "whsec_" before it',
    SecretForm.WHSEC_OR_RAW: 'base64 after "whsec_"',
}
