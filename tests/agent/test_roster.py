"""Which agent a route reaches: a property over random agents, keys, routes and what becomes of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.agent.keys import KeyShelf
from proxy.agent.roster import MAX_PROCESSES, AgentRoster
from proxy.agent.session import Session, SessionTerms
from proxy.config.settings import AgentRule, AgentSettings, Loaded
from proxy.core.addresses import AddressSet, Peer
from proxy.core.policy import Endpoint
from tests import policies
from tests.net.dialogue import World

NAMES = ["a", "b", "c"]


class Wire(asyncio.Transport):
    """A transport that takes everything."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self

    def setsockopt(self, *_: object) -> None: ...
    def write(self, data: object) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False


PEER = Peer.of("192.0.2.1")


@dataclass
class House:
    """A relay whose agents come, go and are revoked."""

    world: World = field(default_factory=World)
    keys: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roster = AgentRoster(self.world.site, KeyShelf(lambda: 0.0))
        vars(self.roster.shelf)["key"] = self.keys.get  # no files here
        self.sessions: list[Session] = []

    def use(self, routes: dict[str, list[str]], *, verifies: bool = False, allow: AddressSet | None = None) -> None:
        made = [
            policies.route(name=name, upstream=tuple(Endpoint("", 0, agent=one, verifies=verifies) for one in agents))
            for name, agents in routes.items()
        ]
        rules = {
            one: AgentRule(one, "x", b"", frozenset(name for name, agents in routes.items() if one in agents), allow)
            for one in NAMES
        }
        settings: Any = type("Settings", (), {"agents": AgentSettings(rules=rules)})
        self.routes = {route.name: route.upstream for route in made}
        self.roster.use(Loaded(policies.policy(*made), settings))

    def come(self, name: str, number: int, *, guards: bool = False) -> Session:
        key = self.keys.setdefault(name, name.encode() * 32)
        session = Session(self.roster, SessionTerms(name, key, f"{name}-{number}", guards, PEER, 4, 8), 0.0)
        session.connection_made(Wire())
        self.sessions.append(session)
        return session


ROUTES = st.dictionaries(st.sampled_from("xyz"), st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
STEPS = st.one_of(
    st.tuples(st.just("come"), st.sampled_from(NAMES), st.integers(0, 3)),
    st.tuples(st.just("go"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("revoke"), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("routes"), ROUTES, st.just(0)),
)


@given(st.lists(STEPS, max_size=25))
def test_a_route_reaches_only_agents_that_it_names_and_that_have_their_key(steps: list[Any]) -> None:
    house = House()
    house.use({"x": ["a"], "y": ["b"], "z": ["a", "c"]})
    for what, which, number in steps:
        if what == "come":
            house.come(which, number)
        elif what == "go" and house.sessions:
            house.sessions[which % len(house.sessions)].end("closed")
        elif what == "revoke":
            house.keys.pop(which, None)
            house.roster.deadline_passed(0.0)
        elif what == "routes" and which:
            house.use(which)
        for upstream in house.routes.values():
            listed = {endpoint.agent for endpoint in upstream}
            there = house.roster.among(upstream)
            assert {endpoint.agent for endpoint in there} <= listed
            for endpoint in there:
                session = house.roster.session(endpoint.agent, endpoint.host)
                assert session is not None
                assert not session.gone
                assert session.terms.key == house.keys.get(endpoint.agent)


def test_what_nobody_judged_goes_only_where_it_is_judged() -> None:
    house = House()
    house.use({"x": ["a"]}, verifies=True)
    house.come("a", 1)
    assert house.roster.among(house.routes["x"]) == ()
    house.come("a", 2, guards=True)
    assert [endpoint.host for endpoint in house.roster.among(house.routes["x"])] == ["a-2"]


def test_routes_of_one_agent_do_not_share_who_may_serve_them() -> None:
    """Nor their weights: the endpoints are equal, for they lead to the same connections."""
    house = House()
    house.use({"x": ["a"]})
    house.come("a", 1)
    house.come("a", 2, guards=True)
    judged, unjudged = Endpoint("", 0, agent="a"), Endpoint("", 0, agent="a", verifies=True, weight=3)
    assert judged == unjudged
    assert [one.host for one in house.roster.among((judged,))] == ["a-1", "a-2"]
    assert [(one.host, one.weight) for one in house.roster.among((unjudged,))] == [("a-2", 3)]
    assert [(one.host, one.weight) for one in house.roster.among((judged,))] == [("a-1", 1), ("a-2", 1)]


def test_other_upstreams_stay_what_they_are() -> None:
    house = House()
    house.use({"x": ["a"]})
    mixed = (Endpoint("", 0, agent="a", weight=3), policies.APP)
    assert house.roster.among(mixed) == (policies.APP,)
    house.come("a", 1)
    [agent, app] = house.roster.among(mixed)
    assert (agent.host, agent.weight, app) == ("a-1", 3, policies.APP)


def test_a_reload_that_no_longer_lists_its_address_cuts_it() -> None:
    """As a key that is gone does: a connection that lasts for months would never be judged again."""
    house = House()
    house.use({"x": ["a"]}, allow=AddressSet.parse(["192.0.2.0/24"]))
    session = house.come("a", 1)
    assert house.roster.among(house.routes["x"])
    house.use({"x": ["a"]}, allow=AddressSet.parse(["198.51.100.1"]))
    assert session.gone
    assert house.roster.among(house.routes["x"]) == ()


def test_a_process_that_comes_again_takes_the_place_of_itself() -> None:
    house = House()
    house.use({"x": ["a"]})
    first = house.come("a", 1)
    house.come("a", 1)
    assert first.gone
    assert len(house.roster.among(house.routes["x"])) == 1


def test_so_many_processes_and_no_more() -> None:
    house = House()
    house.use({"x": ["a"]})
    for number in range(MAX_PROCESSES + 3):
        house.come("a", number)
    found = house.roster.among(house.routes["x"])
    assert [endpoint.host for endpoint in found] == [f"a-{n}" for n in range(3, MAX_PROCESSES + 3)]


def test_a_silent_agent_is_cut_within_ten_seconds() -> None:
    house = House()
    house.use({"x": ["a"]})
    session = house.come("a", 1)
    begun = house.world.site.clock.now()
    for _ in range(200):
        house.world.later(0.1)
        if session.gone:
            break
    assert session.gone
    assert house.world.site.clock.now() - begun <= 10.0
