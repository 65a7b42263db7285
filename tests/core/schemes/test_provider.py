"""The catalogue as a whole: names, links, and that every entry can be configured."""

from __future__ import annotations

import re

import pytest

from proxy.core.schemes import ALIASES, PROVIDERS, find
from proxy.core.signing.template import compile_template
from tests.deliveries import MAKERS


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda provider: provider.slug)
def test_every_provider_is_complete(provider):
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", provider.slug)
    assert provider.title
    assert provider.docs.startswith("https://")
    assert (provider.scheme is None) != (provider.token is None)
    for header in (provider.event_header, provider.delivery_header):
        assert header is None or header == header.lower()
    assert provider.refusal_status in (None, 401)
    if provider.scheme is not None:
        assert provider.slug in MAKERS, "a scheme without a delivery that proves it"
        assert all(header == header.lower() for header in provider.scheme.headers)
        compile_template(provider.scheme.signed)


def test_names_are_found_however_they_are_written():
    assert find("GitHub") is PROVIDERS["github"]
    assert find("Standard-Webhooks") is PROVIDERS["standard_webhooks"]
    assert find("hubspot") is PROVIDERS["hubspot_v3"]
    assert find("nobody") is None
    assert all(slug in PROVIDERS and alias not in PROVIDERS for alias, slug in ALIASES.items())


def test_slugs_are_not_given_twice():
    assert len(PROVIDERS) == len({provider.slug for provider in PROVIDERS.values()})
    assert all(slug == provider.slug for slug, provider in PROVIDERS.items())


def test_who_wants_401():
    assert {slug for slug, provider in PROVIDERS.items() if provider.refusal_status == 401} == {"discord", "xero"}


def test_every_provider_says_how_long_it_waits() -> None:
    assert all(3.0 <= provider.answer_s <= 100.0 for provider in PROVIDERS.values())
    waits = {slug: PROVIDERS[slug].answer_s for slug in ("slack", "standard_webhooks", "github")}
    assert waits == {"slack": 3.0, "standard_webhooks": 15.0, "github": 10.0}


def test_a_better_scheme_is_one_of_ours() -> None:
    better = {slug: provider.better for slug, provider in PROVIDERS.items() if provider.better}
    assert set(better.values()) <= set(PROVIDERS)
    assert better["hubspot_v1"] == "hubspot_v3"
    assert PROVIDERS["hubspot_v1"].advice.endswith("Prefer hubspot_v3.")
