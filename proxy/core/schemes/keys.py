"""From the secret as a provider shows it to the key that is compared with.

Every mistake says how to mend it and never holds a character of the secret.
"""

from __future__ import annotations

import hashlib

from proxy.core.schemes.provider import Provider
from proxy.core.signing.encodings import decode_base64, decode_hex
from proxy.core.signing.extras import load_pubkey, needs_public_keys
from proxy.core.signing.scheme import Scheme, SecretForm
from proxy.errors import Mistake

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
