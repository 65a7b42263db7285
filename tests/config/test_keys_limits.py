from __future__ import annotations

import pytest

from proxy.config.keys import LIMITS, TIGHTENED, Key
from proxy.core.policy import Limits, ServerLimits

#: The limits of the contract: default, and whether a route may tighten.
CONTRACT = {
    "max_body": ("25MiB", True),
    "max_target": ("8KiB", False),
    "max_head": ("16KiB", False),
    "max_fields": (100, False),
    "max_connections": (10000, False),
    "max_connections_per_address": (256, False),
    "reserved_share": (10, False),
    "max_requests_per_connection": (10000, False),
    "max_exchanges": (4096, False),
    "max_handshakes": (2000, False),
    "buffer_budget": ("256MiB", False),
    "hold_window": ("256KiB", True),
    "spill_budget": ("1GiB", False),
    "tls_timeout": ("10s", False),
    "head_timeout": ("10s", False),
    "body_min_rate": ("512B", False),
    "body_timeout": ("60s", True),
    "request_timeout": ("90s", True),
    "keepalive_timeout": ("15s", False),
    "connect_timeout": ("5s", False),
    "upstream_timeout": ("60s", True),
    "write_timeout": ("30s", False),
}


def test_the_limits_are_those_of_the_contract() -> None:
    assert {key.name: (key.default, key.tighten) for key in LIMITS} == CONTRACT


def test_every_limit_of_the_policy_is_a_key_and_the_other_way_round() -> None:
    fields = {name.removesuffix("_s") for kind in (Limits, ServerLimits) for name in kind.__dataclass_fields__}
    assert fields == set(CONTRACT)


@pytest.mark.parametrize("key", LIMITS, ids=lambda key: key.name)
def test_every_limit_says_its_range_and_what_happens_there(key: Key) -> None:
    low, default, high = (key.kind.read(value) for value in (key.minimum, key.default, key.maximum))
    assert low <= default <= high
    assert key.at_limit


def test_a_route_may_set_what_it_may_tighten() -> None:
    assert [key.name for key in TIGHTENED] == [key.name for key in LIMITS if key.tighten]
