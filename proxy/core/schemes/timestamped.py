"""Providers whose HMAC covers a timestamp and the raw body: what stands before the body is known from the head."""

from __future__ import annotations

from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import Timestamp

PROVIDERS = (
    Provider(
        "slack",
        "Slack",
        "https://docs.slack.dev/authentication/verifying-requests-from-slack/",
        Scheme(
            (b"x-slack-signature",),
            signed="v0:{timestamp}:{body}",
            prefix=b"v0=",
            timestamp=Timestamp(b"x-slack-request-timestamp"),
        ),
    ),
)
