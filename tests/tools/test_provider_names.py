"""Unknown names are answered with the name that was probably meant."""

from __future__ import annotations

import pytest

from proxy.tools.provider_names import near_provider


@pytest.mark.parametrize(
    ("name", "said"),
    [("githob", "'github'"), ("Standard-Webhook", "'standard_webhooks'"), ("zzzzzz", "hookward providers")],
)
def test_what_was_meant(name: str, said: str):
    assert said in near_provider(name)
