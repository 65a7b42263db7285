"""The lists of event types that providers publish."""

from __future__ import annotations

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.core.schemes import provider as module

LISTED = [provider for provider in PROVIDERS.values() if provider.events]


@pytest.mark.parametrize("provider", LISTED, ids=lambda provider: provider.slug)
def test_a_list_is_of_a_provider_that_names_its_events(provider: object) -> None:
    assert provider in PROVIDERS.values()
    assert getattr(provider, "event_header", None) is not None


def test_every_list_is_some_providers() -> None:
    lists = {name: value for name, value in vars(module).items() if name.endswith("_EVENTS")}
    assert all(value in [provider.events for provider in LISTED] for value in lists.values())
    assert all(word == word.strip() and word.isprintable() for value in lists.values() for word in value)
    assert {"push", "ping"} < module.GITHUB_EVENTS
    assert "Push Hook" in module.GITLAB_EVENTS
