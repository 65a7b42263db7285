"""Providers whose HMAC covers the raw body and nothing else: the body is fed as it comes."""

from __future__ import annotations

from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme

PROVIDERS = (
    Provider(
        "github",
        "GitHub",
        "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        Scheme((b"x-hub-signature-256",), prefix=b"sha256="),
        event_header=b"x-github-event",
        delivery_header=b"x-github-delivery",
        address_set="github",
    ),
    Provider(
        "bitbucket",
        "Bitbucket Cloud",
        "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/",
        Scheme((b"x-hub-signature",), prefix=b"sha256="),
        event_header=b"x-event-key",
        delivery_header=b"x-request-uuid",
        address_set="atlassian",
    ),
)
