"""Providers that sign nothing and send a token: decided on the head alone."""

from __future__ import annotations

from proxy.core.schemes.provider import Provider, TokenSpec
from proxy.core.tokens import TokenKind

PROVIDERS = (
    Provider(
        "gitlab",
        "GitLab",
        "https://docs.gitlab.com/user/project/integrations/webhooks/",
        token=TokenSpec(TokenKind.HEADER, b"x-gitlab-token"),
        event_header=b"x-gitlab-event",
        delivery_header=b"x-gitlab-event-uuid",
        address_set="gitlab",
    ),
)
