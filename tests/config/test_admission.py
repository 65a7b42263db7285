"""``allow`` and ``deny`` of all routes together: what may connect is what one of them would take, no more, no less."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.admission import EVERYBODY, admitted_by, callers, reserved_for, shut
from proxy.config.load import load
from proxy.config.set_shelf import FEEDS, Copy, SetShelf, with_current_sets
from proxy.core.addresses import AddressSet, Peer
from proxy.core.ip_sets import listing_of
from proxy.core.policy import Exposure
from tests.config.loading import ENDS, Workplace
from tests.policies import route

NETWORKS = ["192.0.2.0/24", "192.0.2.128/25", "192.0.2.7", "198.51.100.0/24", "2001:db8::/32", "2001:db8::7", "unix:"]
LISTS = st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=3).map(AddressSet.parse)
PEERS = [Peer.of(text) for text in ("192.0.2.1", "192.0.2.7", "192.0.2.200", "198.51.100.9", "2001:db8::7", "::1")]
PEERS.append(Peer.unix())


@given(st.lists(st.tuples(st.none() | LISTS, st.lists(LISTS, max_size=2)), min_size=1, max_size=3))
def test_what_may_connect_is_what_some_route_would_take(lists: list[tuple[AddressSet | None, list[AddressSet]]]):
    routes = [route(allow=allow, deny=tuple(deny)) for allow, deny in lists]
    admitted = admitted_by(Exposure.ROUTES, routes)
    for peer in PEERS:
        taken = any((a is None or peer in a) and not any(peer in d for d in deny) for a, deny in lists)
        assert (admitted is None or peer in admitted) == taken


def test_lists_that_deny_different_addresses_are_open_to_all():
    one, other = (route(deny=(AddressSet.parse([text]),)) for text in ("192.0.2.1", "192.0.2.2"))
    assert admitted_by(Exposure.ROUTES, [one]) == EVERYBODY.without(AddressSet.parse(["192.0.2.1"]))
    assert admitted_by(Exposure.ROUTES, [one, other]) is None
    assert admitted_by(Exposure.ROUTES, [one, route()]) is None


def test_a_share_is_kept_for_the_listed_and_not_for_all_that_are_not_denied():
    listed = route(allow=AddressSet.parse(["192.0.2.0/24"]), deny=(AddressSet.parse(["192.0.2.7"]),))
    denying = route(deny=(AddressSet.parse(["198.51.100.1"]),))
    kept = reserved_for(None, [listed, denying, route()], AddressSet.empty())
    assert kept == callers(listed.allow, listed.deny)
    assert not reserved_for(None, [denying, route()], AddressSet.empty())


def test_a_route_that_lets_in_none_is_found():
    shared = AddressSet.parse(["192.0.2.0/24"])
    closed = [route(name=name, allow=shared, deny=(AddressSet.parse(["192.0.0.0/16"]),)) for name in "ab"]
    assert shut([*closed, route(allow=shared), route()]) == closed


TOKEN = 'token = { query = "t", secrets = "file:token" }'


def test_deny_adds_up_and_wins(place: Workplace):
    text = (
        f'deny = "192.0.2.1"\n{ENDS}[route.a]\npath = "/a"\nallow = "192.0.2.0/24"\ndeny = ["192.0.2.2", "unix:"]\n'
        f'[route.b]\npath = "/b"\n{TOKEN}\n'
        '[tcp.ssh]\nlisten = ":2222"\nupstream = "127.0.0.1:22"\ndeny = "10.0.0.0/8"\n'
    )
    loaded = place.load(text)
    admission = loaded.policy.admission
    assert admission is not None
    assert [Peer.of(one) in admission for one in ("192.0.2.1", "192.0.2.2", "203.0.113.1")] == [False, True, True]
    a, b = loaded.policy.routes
    assert a.deny[0] is b.deny[0]
    assert [Peer.of("192.0.2.2") in one for one in a.deny] == [False, True]
    [forward] = loaded.settings.tcp
    lets_in = callers(forward.allow, forward.deny)
    assert lets_in is not None
    assert [Peer.of(one) in lets_in for one in ("10.1.1.1", "192.0.2.1", "192.0.2.2")] == [False, False, True]


def test_deny_alone_guards_nothing(place: Workplace):
    loaded = place.load(f'deny = "192.0.2.1"\n{ENDS}')
    assert loaded.policy.exposure is Exposure.LOCAL
    assert loaded.policy.admission is not None
    assert Peer.of("192.0.2.1") not in loaded.policy.admission
    [problem] = place.problems(f'{ENDS}[route.a]\ndeny = "192.0.2.1"\n')
    assert "nothing guards this route" in problem.what


@pytest.mark.parametrize(("top", "own"), [("", 'deny = "192.0.0.0/16"\n'), ('deny = "192.0.0.0/16"\n', "")])
def test_a_list_that_denies_all_that_is_allowed_is_a_mistake(place: Workplace, top: str, own: str):
    [problem] = place.problems(f'{top}{ENDS}[route.a]\nallow = "192.0.2.0/24"\n{own}')
    assert "denies every address that may call route 'a'" in problem.what
    assert str(problem.place).endswith("deny")


def test_a_flag_denies(place: Workplace):
    loaded = place.load(None, "--listen", ":1", "--upstream", "8000", "--allow", "10.0.0.0/8", "--deny", "10.0.0.1")
    assert loaded.policy.admission == AddressSet.parse(["10.0.0.0/8"]).without(AddressSet.parse(["10.0.0.1"]))


def test_a_published_list_that_is_missing_denies_all_until_it_is_here(tmp_path: Path):
    path = tmp_path / "hookward.toml"
    path.write_text(f'{ENDS}[ip_set.bad]\nurl = "https://x.example/bad"\n[route.a]\nopen = true\ndeny = "set:bad"\n')
    shelf = SetShelf()
    loaded = load(["--config", str(path)], {}, shelf=shelf)
    assert any("every address is denied until" in one for one in loaded.settings.warnings)
    assert loaded.policy.admission == AddressSet.empty()
    [feed] = loaded.sets.missing
    assert feed.name not in FEEDS
    shelf.put(feed, Copy(listing_of({(): ["192.0.2.0/24"]}), 1.0, "feed"))
    fresh = with_current_sets(loaded, 2)
    assert fresh.policy.admission is not None
    assert [Peer.of(one) in fresh.policy.admission for one in ("192.0.2.1", "198.51.100.1")] == [False, True]
