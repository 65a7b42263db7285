from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.build import Build
from proxy.config.parse import Source, parse_tables
from proxy.config.problems import Problems
from proxy.config.set_shelf import SetShelf
from proxy.core.addresses import AddressSet, Peer
from proxy.core.policy import Exposure, RouteTable
from proxy.errors import ConfigError
from tests.config.loading import ENDS, NOW, Workplace
from tests.config.test_parse import VALUES, WORDS


def admits(addresses: AddressSet | None, text: str) -> bool:
    return addresses is None or Peer.of(text) in addresses


def test_nothing_configured_is_local_only(place: Workplace) -> None:
    policy = place.load(ENDS).policy
    assert policy.exposure is Exposure.LOCAL
    assert policy.admission is None
    assert policy.allow is None
    assert [route.name for route in policy.routes] == ["local"]


def test_open_forwards_everything_and_says_so(place: Workplace) -> None:
    loaded = place.load("open = true\n" + ENDS)
    assert loaded.policy.exposure is Exposure.OPEN
    assert [route.name for route in loaded.policy.routes] == ["open"]
    assert any("without any check" in warning for warning in loaded.settings.warnings)


def test_open_with_a_list_lets_nobody_else_in(place: Workplace) -> None:
    policy = place.load('open = true\nallow = "10.0.0.0/8"\n' + ENDS).policy
    assert policy.exposure is Exposure.OPEN
    assert not admits(policy.admission, "192.0.2.1")
    assert policy.routes[0].allow == policy.allow


def test_a_list_alone_makes_a_route(place: Workplace) -> None:
    policy = place.load('allow = "10.0.0.0/8"\n' + ENDS).policy
    assert policy.exposure is Exposure.ROUTES
    assert [(route.name, route.path) for route in policy.routes] == [("default", b"/")]


ROUTE = '[route.{name}]\npath = "/{name}"\n{rest}\n'
OWN = 'allow = "192.0.2.0/24"'
TOKEN = 'token = { query = "t", secrets = "file:token" }'


@pytest.mark.parametrize(
    ("top", "first", "second", "admitted", "refused"),
    [
        ("", OWN, 'allow = "198.51.100.0/24"', ["192.0.2.1", "198.51.100.1"], ["203.0.113.1"]),
        ("", OWN, TOKEN, ["192.0.2.1", "203.0.113.1"], []),
        ('allow = "10.0.0.0/8"', OWN, TOKEN, ["192.0.2.1", "10.0.0.1"], ["203.0.113.1"]),
        ('allow = "10.0.0.0/8"', OWN, OWN, ["192.0.2.1"], ["10.0.0.1"]),
        ("", OWN, 'allow = "198.51.100.0/24"\nmode = "observe"', ["198.51.100.1"], ["203.0.113.1"]),
    ],
    ids=["union", "one-without", "top-level-for-the-rest", "own-replaces-top-level", "observing-keeps-its-list"],
)
def test_who_is_admitted_at_accept(
    place: Workplace, top: str, first: str, second: str, admitted: list[str], refused: list[str]
) -> None:
    text = f"{top}\n{ENDS}" + ROUTE.format(name="a", rest=first) + ROUTE.format(name="b", rest=second)
    policy = place.load(text).policy
    assert all(admits(policy.admission, one) for one in admitted)
    assert not any(admits(policy.admission, one) for one in refused)


def test_trusted_proxies_may_connect_but_are_no_clients(place: Workplace) -> None:
    policy = place.load('trusted_proxies = "10.0.0.0/8"\n' + ENDS + ROUTE.format(name="a", rest=OWN)).policy
    assert admits(policy.admission, "10.0.0.1")
    assert not admits(policy.allow, "10.0.0.1")
    assert Peer.of("10.0.0.1") in policy.trusted_proxies


def test_routes_keep_the_order_of_the_file(place: Workplace) -> None:
    text = ENDS + "".join(ROUTE.format(name=name, rest=OWN) for name in ("c", "a", "b"))
    policy = place.load(text).policy
    assert [route.name for route in policy.routes] == ["c", "a", "b"]
    assert [route.name for route in RouteTable(policy.routes).candidates(b"/a/x")] == ["a"]


def test_settings(place: Workplace) -> None:
    text = """
    workers = "auto"
    admin = "127.0.0.1:4040"
    proxy_protocol = "require"
    trusted_proxies = "10.0.0.1"
    drain = "5s"
    log_format = "json"
    log_level = "debug"
    access_log = "access.log"
    state_dir = "/var/lib/hookward"
    """
    settings = place.load(text + ENDS).settings
    assert (settings.workers, str(settings.admin), settings.proxy_protocol) == ("auto", "127.0.0.1:4040", "require")
    assert (settings.drain_s, settings.log_format, settings.log_level) == (5.0, "json", "debug")
    assert (settings.access_log, settings.state_dir) == (f"{place.folder}/access.log", "/var/lib/hookward")
    assert settings.config_path == str(place.config)
    assert str(settings.sources[("drain",)]).endswith("hookward.toml:6: drain")


def test_defaults(place: Workplace) -> None:
    settings = place.load(ENDS).settings
    assert (settings.workers, settings.admin, settings.tls, settings.tcp) == (1, None, (), ())
    assert (settings.drain_s, settings.log_format, settings.log_level) == (30.0, "auto", "info")
    assert (settings.access_log, settings.state_dir, settings.proxy_protocol) == ("-", None, "off")
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("text", "where", "what", "mend"),
    [
        ('upstream = "8000"', "listen", "nothing listens", "--listen"),
        ('listen = ":1"', "upstream", "nothing says where", "--upstream"),
        (f'listen = ":1"\n[route.a]\n{OWN}', "2: route.a", "does not say where", "--upstream"),
        (ENDS + 'proxy_protocol = "require"', "3: proxy_protocol", "none could connect", "--trusted-proxy"),
        (ENDS + '[limits]\nhold_window = "2MiB"\nbuffer_budget = "1MiB"', "4: limits.hold_window", "whole", "smaller"),
        (ENDS + '[limits]\nbuffer_budget = "128KiB"', "4: limits.buffer_budget", "whole", "larger"),
    ],
)
def test_mistakes(place: Workplace, text: str, where: str, what: str, mend: str) -> None:
    [problem] = place.problems(text)
    assert problem.where in {f"hookward.toml:{where}", f"hookward.toml: {where}"}
    assert what in problem.what
    assert mend in problem.mend


def test_a_misspelt_key_is_not_said_to_be_missing_too(place: Workplace) -> None:
    assert place.places('listn = ":1"\nupstrem = "8000"') == ["hookward.toml:1: listn", "hookward.toml:2: upstrem"]


def test_warnings(place: Workplace) -> None:
    text = f'listen = "unix:/run/h.sock"\nupstream = "8000"\ntrusted_proxies = "0.0.0.0/0"\n[route.a]\n{OWN}'
    warnings = "\n".join(place.load(text).settings.warnings)
    assert "every peer is trusted" in warnings
    assert "unix:/run/h.sock: no `allow` has 'unix:'" in warnings
    both = text.replace(OWN, 'allow = ["unix:", "192.0.2.0/24"]')
    assert not any("unix:" in warning for warning in place.load(both).settings.warnings)


@given(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=6))
def test_any_tables_raise_config_errors_only(tables: dict[str, object]) -> None:
    problems = Problems()
    tree = parse_tables({"listen": ":1", "upstream": "8000", **tables}, Source("h.toml"), problems)
    try:
        Build(tree, {}, SetShelf(), now=NOW).loaded()
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - raising nothing is as good
