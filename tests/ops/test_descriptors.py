"""The soft limit rises as far as it may and must; what is still missing is said."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest

from proxy.config.load import load
from proxy.ops import descriptors
from proxy.ops.descriptors import SPARE, make_room, needed

SERVER = load(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"], {}).policy.server
INFINITY = resource.RLIM_INFINITY


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is in force comes last."""
    states: list[tuple[int, int]] = []
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: states[-1])
    monkeypatch.setattr(descriptors.resource, "setrlimit", lambda _, pair: states.append(pair))
    return states


def test_an_exchange_may_need_two_more_than_its_connection() -> None:
    assert needed(replace(SERVER, max_connections=100, max_exchanges=10)) == 120 + SPARE
    assert needed(replace(SERVER, max_connections=100, max_exchanges=1000)) == 300 + SPARE


@pytest.mark.parametrize(
    ("before", "after", "warns"),
    [
        ((1024, 1_000_000), (18256, 1_000_000), False),
        ((1024, INFINITY), (18256, INFINITY), False),
        ((1024, 12_000), (12_000, 12_000), False),
        ((1024, 4096), (4096, 4096), True),
        ((4096, 4096), (4096, 4096), True),
        ((20_000, 20_000), (20_000, 20_000), False),
        ((INFINITY, INFINITY), (INFINITY, INFINITY), False),
    ],
)
def test_the_limit_rises(
    limit: list[tuple[int, int]], before: tuple[int, int], after: tuple[int, int], warns: bool
) -> None:
    limit.append(before)
    warnings = make_room(SERVER)
    assert limit[-1] == after
    assert [("LimitNOFILE=18256" in text, "max_connections" in text) for text in warnings] == [(True, True)] * warns
