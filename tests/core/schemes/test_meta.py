"""Meta's products differ in name and payload, and in nothing that proves a delivery."""

from __future__ import annotations

from proxy.core.schemes import PROVIDERS


def test_they_are_signed_and_checked_alike() -> None:
    slugs = ("facebook_graph_api", "facebook_messenger", "instagram", "whatsapp")
    first, *others = [PROVIDERS[slug] for slug in slugs]
    assert all((one.scheme, one.handshake) == (first.scheme, first.handshake) for one in others)
    assert first.scheme is not None
    assert first.scheme.opening == b"{", "a signed cookie of a browser is no delivery"
