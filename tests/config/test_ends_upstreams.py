from __future__ import annotations

import pytest

from proxy.config.problems import rule_of
from proxy.core.policy import Endpoint, HealthCheck
from tests.config.loading import Workplace

LISTEN = 'listen = "127.0.0.1:8443"\nopen = true\n'


def test_entries_are_urls_or_tables(place: Workplace) -> None:
    text = """upstream = [
      "http://127.0.0.1:8000",
      { url = "127.0.0.1:8001", weight = 2, health = { path = "/healthz", interval = "1s" } },
      { url = "127.0.0.1:8002", drain = true },
      { url = "127.0.0.1:8003", health = "/up" },
    ]"""
    [route] = place.load(LISTEN + text).policy.routes
    assert [str(one) for one in route.upstream] == [f"http://127.0.0.1:800{n}" for n in (0, 1, 3)]
    assert [one.weight for one in route.upstream] == [1, 2, 1]
    health = HealthCheck("/healthz", 1.0, 2.0), HealthCheck("/up", 5.0, 2.0)
    assert tuple(one.health for one in route.upstream) == (None, *health)
    assert route.drained == (Endpoint("127.0.0.1", 8002),)


def test_a_table_of_its_own_is_the_same(place: Workplace) -> None:
    text = '[[upstream]]\nurl = "127.0.0.1:1"\n[[upstream]]\nurl = "127.0.0.1:2"\nweight = 3\n'
    [route] = place.load(LISTEN + text).policy.routes
    assert [(one.port, one.weight) for one in route.upstream] == [(1, 1), (2, 3)]


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ('{ url = "127.0.0.1:1", wieght = 2 }', "unknown key"),
        ('{ url = "127.0.0.1:1", weight = 0 }', "0 is below"),
        ('{ url = "127.0.0.1:1", drain = "yes" }', "is neither"),
        ('{ url = "127.0.0.1:1", drain = true }', "every upstream is drained"),
        ('{ url = "127.0.0.1:1", health = { interval = "5s" } }', "`path` is missing"),
        ('{ url = "127.0.0.1:1", health = { path = "/", interval = "1ms" } }', "1ms is below"),
        ('{ url = "127.0.0.1:1", health = { path = "up" } }', "'up' is not a path"),
        ("{ weight = 2 }", "does not say where it is"),
        ('[{ url = "127.0.0.1:1", weight = 2 }, "127.0.0.1:1"]', "names the same upstream twice"),
    ],
)
def test_what_is_wrong_is_said(place: Workplace, entry: str, what: str) -> None:
    [problem] = place.problems(f"{LISTEN}upstream = {entry}")
    assert what in problem.what
    assert "upstream" in problem.where


def test_all_mistakes_of_all_entries_are_told(place: Workplace) -> None:
    text = """
    upstream = ["127.0.0.1:x", { url = "y:1", weight = 0, drain = 1 }, { url = "y:2", health = { interval = 1 } }]
    """
    assert place.places(LISTEN + text) == [
        "hookward.toml:4: upstream[0]",
        "hookward.toml:4: upstream[1].weight",
        "hookward.toml:4: upstream[1].drain",
        "hookward.toml:4: upstream[2].health.interval",
        "hookward.toml:4: upstream[2].health",
    ]


def test_a_hold_that_leaves_no_time_is_cut_and_warned_of(place: Workplace) -> None:
    place.secret("slack.secret", b"8f742231b10e8888abcd99yyyzzz85a5")
    route = '[route.s]\npath = "/s"\nprovider = "slack"\nsecrets = ["file:slack.secret"]\nhold = '
    ends = 'listen = "127.0.0.1:1"\nupstream = "127.0.0.1:8000"\n'
    loaded = place.load(f'{ends}{route}"8s"')
    [warning] = [one for one in loaded.settings.warnings if rule_of(one) == "H405"]
    assert "cut from 8s to 2s" in warning
    assert loaded.policy.routes[0].hold_s == 2.0
    loaded = place.load(f'{ends}{route}"2s"')
    assert not any(rule_of(one) == "H405" for one in loaded.settings.warnings)
    assert (loaded.policy.routes[0].answer_s, loaded.policy.routes[0].hold_s) == (3.0, 2.0)


def test_how_long_a_connection_may_be_idle_is_the_routes_or_the_top_levels_word(place: Workplace) -> None:
    ends = 'listen = "127.0.0.1:1"\nupstream = "127.0.0.1:8000"\n'
    routes = '[route.a]\npath = "/a"\nopen = true\n[route.b]\npath = "/b"\nopen = true\nupstream_idle_timeout = "0s"\n'

    def times(text: str) -> list[float]:
        return [route.upstream[0].idle_timeout_s for route in place.load(text + routes).policy.routes]

    assert times(ends) == [4.0, 0.0]
    assert times('upstream_idle_timeout = "1s"\n' + ends) == [1.0, 0.0]
    [problem] = place.problems(ends + routes.replace("0s", "2h"))
    assert "above the most" in problem.what
