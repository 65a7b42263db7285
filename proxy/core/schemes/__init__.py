"""The catalogue of providers: pure data, grouped by family. Nothing here verifies.

A new provider is one more value in its family's file and a vector in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.schemes import body_only, body_only_other, keys_and_tokens, listed, parsed_body, timestamped
from proxy.core.schemes.provider import ANSWER_S, Provider, TokenSpec, decode_secret

__all__ = ["ALIASES", "ANSWER_S", "PROVIDERS", "Provider", "TokenSpec", "decode_secret", "find"]

_FAMILIES = (body_only, body_only_other, listed, timestamped, keys_and_tokens, parsed_body)

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {provider.slug: provider for provider in sorted((p for f in _FAMILIES for p in f.PROVIDERS), key=lambda p: p.slug)}
)

#: Other names that people know a provider by.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "adyen": "adyen_payments",
        "amazon_sns": "sns",
        "aws_sns": "sns",
        "coinbase_commerce": "coinbase",
        "facebook": "facebook_graph_api",
        "hubspot": "hubspot_v3",
        "hygraph": "graphcms",
        "mandrill": "mailchimp",
        "maxio": "chargify",
        "messenger": "facebook_messenger",
        "ms_teams": "microsoft_teams",
        "teams": "microsoft_teams",
        "x": "twitter",
    }
)


def find(name: str) -> Provider | None:
    """The provider called ``name``: its slug or an alias, in any case, with "-" for "_"."""
    slug = name.lower().replace("-", "_")
    return PROVIDERS.get(ALIASES.get(slug, slug))
