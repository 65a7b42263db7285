"""The catalogue of providers: pure data, grouped by family. Nothing here verifies.

A new provider is one more value in its family's file and a vector in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.schemes import body_only, standard, timestamped, token_only
from proxy.core.schemes.keys import decode_secret
from proxy.core.schemes.provider import Provider, TokenSpec

__all__ = ["ALIASES", "PROVIDERS", "Provider", "TokenSpec", "decode_secret", "find"]

_FAMILIES = (body_only, timestamped, standard, token_only)

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {provider.slug: provider for provider in sorted((p for f in _FAMILIES for p in f.PROVIDERS), key=lambda p: p.slug)}
)

#: Other names that people know a provider by.
ALIASES: Mapping[str, str] = MappingProxyType({})


def find(name: str) -> Provider | None:
    """The provider called ``name``: its slug or an alias, in any case, with "-" for "_"."""
    slug = name.lower().replace("-", "_")
    return PROVIDERS.get(ALIASES.get(slug, slug))
