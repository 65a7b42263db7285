"""Providers that sign nothing."""

from __future__ import annotations

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.core.schemes.keys_and_tokens import TOKEN_ONLY
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret


@pytest.mark.parametrize("provider", TOKEN_ONLY, ids=lambda provider: provider.slug)
def test_every_token_can_be_checked(provider):
    token = provider.token
    assert token is not None
    value = b"user:word" if token.kind is TokenKind.BASIC else b"word"
    assert TokenCheck(token.kind, token.name, (Secret("a", value),))


@pytest.mark.parametrize(
    ("slug", "kind", "name"),
    [
        ("gitlab", TokenKind.HEADER, b"x-gitlab-token"),
        ("telegram", TokenKind.HEADER, b"x-telegram-bot-api-secret-token"),
        ("buildkite_token", TokenKind.HEADER, b"x-buildkite-token"),
        ("deepgram", TokenKind.HEADER, b"dg-token"),
        ("okta", TokenKind.HEADER, b"authorization"),
        ("chargebee", TokenKind.BASIC, b""),
        ("vmware", TokenKind.BASIC, b""),
        ("flexdeploy", TokenKind.QUERY, b"token"),
    ],
)
def test_where_it_is(slug, kind, name):
    token = PROVIDERS[slug].token
    assert (token.kind, token.name) == (kind, name)
