"""Meta's products differ in name and payload, and in nothing that proves a delivery."""

from __future__ import annotations

from proxy.core.schemes import meta


def test_they_are_signed_and_checked_alike() -> None:
    assert {provider.slug for provider in meta.PROVIDERS} == {
        "facebook_graph_api",
        "facebook_messenger",
        "instagram",
        "whatsapp",
    }
    first = meta.PROVIDERS[0]
    assert all((one.scheme, one.handshake) == (first.scheme, first.handshake) for one in meta.PROVIDERS)
    assert first.scheme is not None
    assert first.scheme.opening == b"{", "a signed cookie of a browser is no delivery"
