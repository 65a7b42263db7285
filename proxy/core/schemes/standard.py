"""The Standard Webhooks family: ``{id}.{timestamp}.{body}``, and a blank-separated list of ``v1,base64``.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import Encoding, Listing, SecretForm, Timestamp

_SPEC = "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"

STANDARD = Scheme(
    (b"webhook-signature",),
    signed="{id}.{timestamp}.{body}",
    encoding=Encoding.BASE64,
    listing=Listing(b" ", b",", b"v1"),
    timestamp=Timestamp(b"webhook-timestamp"),
    identity=b"webhook-id",
    secret=SecretForm.WHSEC,
)

PROVIDERS = (Provider("standard_webhooks", "Standard Webhooks", _SPEC, STANDARD, delivery_header=b"webhook-id"),)
