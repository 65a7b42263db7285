from __future__ import annotations

from proxy.core.schemes import PROVIDERS
from proxy.core.schemes.patience import ANSWER_S


def test_figures_are_of_providers_that_there_are() -> None:
    assert set(ANSWER_S) <= set(PROVIDERS)
    assert all(3.0 <= seconds <= 100.0 for seconds in ANSWER_S.values())


def test_every_provider_has_one() -> None:
    waits = {slug: PROVIDERS[slug].answer_s for slug in ("slack", "standard_webhooks", "github")}
    assert waits == {"slack": 3.0, "standard_webhooks": 15.0, "github": 10.0}
