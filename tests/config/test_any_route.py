"""Any routes at all, every key of them drawn: what is refused is refused in words, and what is built guards."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from proxy.config.build import Build
from proxy.config.parse import Source, parse_tables
from proxy.config.problems import Problems
from proxy.config.schema import SECTIONS
from proxy.config.set_shelf import SetShelf
from proxy.core.addresses import Peer
from proxy.core.exchange import Admit, decide
from proxy.core.policy import Policy, RouteTable
from proxy.core.request_head import read_request_head
from proxy.errors import ConfigError
from proxy.reasons import Reason
from tests.config.loading import NOW
from tests.examples import examples
from tests.policies import HEAD_LIMITS

SECRET = st.sampled_from(["env:A", ["env:A", "env:B"], [{"from": "env:A", "name": "x"}]])
ENVIRON = {"A": "hunter2:x", "B": "hunter3"}
BODY = b"{}"
LISTED, STRANGER = Peer.of("192.0.2.1"), Peer.of("198.51.100.7")
TIMES = st.sampled_from(["5s", "30s", "2m", "0s"])
#: What a route asks for, mostly what may stand together.
PLACES = st.sampled_from(
    [
        {"query": "t"},
        {"header": "X-T"},
        {"bearer": True},
        {"basic": True},
        {"path": True},
        {"bearer": True, "query": "t"},
        {},
    ]
)
PROVIDERS = st.sampled_from(["github", "slack", "gitlab", "mailgun", "square", "meta", "dropbox", "sns", "nope"])
GUARDS = st.one_of(
    st.builds(lambda name, secrets: {"provider": name, "secrets": secrets}, PROVIDERS, SECRET),
    st.builds(lambda name, secrets: {"provider": name, "secrets": secrets, "events": "push"}, PROVIDERS, SECRET),
    st.builds(lambda place, secrets: {"token": {**place, "secrets": secrets}}, PLACES, SECRET),
    st.fixed_dictionaries({"allow": st.sampled_from(["10.0.0.0/8", ["192.0.2.1", "unix:"], "all"])}),
    st.sampled_from([{}, {"open": True}, {"provider": "github"}]),
)
MORE: dict[str, st.SearchStrategy[Any]] = {
    "allow": st.sampled_from(["10.0.0.0/8", ["192.0.2.1", "unix:"], "all"]),
    "body": st.sampled_from(["free", "tail", "hold"]),
    "body_timeout": TIMES,
    "burst": st.integers(0, 50),
    "client_names": st.just(["ci.example.com"]),
    "content_types": st.sampled_from(["application/json", ["application/json", "text/html; a=b"]]),
    "deny": st.sampled_from(["192.0.2.1", ["198.51.100.0/24", "unix:"], "10.0.0.0/8"]),
    "accepted_status": st.sampled_from([200, 202, 302]),
    "ambiguous": st.sampled_from(["refuse", "keep"]),
    "coalesce": st.just("ref"),
    "copies": st.sampled_from([[], ["http://127.0.0.1:9"]]),
    "concurrency": st.sampled_from([1, 9]),
    "deliver": st.sampled_from(["direct", "fallback", "queue"]),
    "keep_authorization": st.booleans(),
    "order": st.sampled_from(["none", "strict"]),
    "order_by": st.just("X-Repo"),
    "pace": st.sampled_from(["10/s", "100/m"]),
    "resign": st.booleans(),
    "retry": st.just({"first": "1s", "on": ["5xx", 404]}),
    "duplicates": st.sampled_from(["off", "in-flight", "refuse-delivered"]),
    "duplicates_by": st.sampled_from(["both", "id", "signature"]),
    "duplicates_window": TIMES,
    "events": st.sampled_from(["push", ["push", "ping"]]),
    "exact": st.booleans(),
    "handshake": st.sampled_from(["forward", "answer", "refuse"]),
    "hold": TIMES,
    "hold_window": st.sampled_from(["1KiB", "64KiB", "1GiB"]),
    "limits": st.just({"max_body": "2MiB"}),
    "max_body": st.sampled_from(["1MiB", "30MiB"]),
    "methods": st.sampled_from(["POST", ["POST", "PUT"], ["GET", "HEAD"]]),
    "mode": st.sampled_from(["enforce", "observe"]),
    "open": st.booleans(),
    "path": st.sampled_from(["/", "/a", "/a/b", "/a/{token}"]),
    "rate": st.sampled_from(["20/s", "100/m"]),
    "request_timeout": TIMES,
    "public_url": st.just("https://a.example"),
    "secrets": SECRET,
    "rewrite": st.sampled_from(["/", "/new", "/new/", "/a/../b"]),
    "send_proxy": st.booleans(),
    "tolerance": TIMES,
    "topics": st.just(["arn:aws:sns:eu-west-1:123456789012:A"]),
    "upstream": st.sampled_from(
        [
            "8001",
            "http://127.0.0.1:8001/base",
            ["8001", {"url": "http://127.0.0.1:8002", "weight": 2}],
            "https://a.test",
        ]
    ),
    "upstream_idle_timeout": TIMES,
    "upstream_timeout": TIMES,
    "upstream_tls": st.just({"server_name": "a.test"}),
    "verify": st.sampled_from(["here", "agent"]),
    "where": st.sampled_from([{"action": "opened"}, {"a": {"b": [1, "!x*"]}}, {"a..b": 1}, {}]),
    "undecided": st.sampled_from(["pass", "refuse"]),
    "verify_token": st.sampled_from(["env:A", "env:NONE"]),
}


@st.composite
def routes(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.sets(st.sampled_from(sorted(MORE)), max_size=draw(st.sampled_from([0, 1, 2, 4]))))
    route: dict[str, Any] = draw(GUARDS)
    return route | {name: draw(MORE[name]) for name in sorted(chosen)}


def loaded(tables: dict[str, Any]) -> Policy | None:
    """The policy, or None where the tables are refused, in words that tell no secret."""
    problems = Problems()
    tree = parse_tables(tables, Source("h.toml"), problems)
    try:
        policy = Build(tree, ENVIRON, SetShelf(), now=NOW).loaded().policy
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - raising nothing is as good
        assert "hunter" not in str(error)  # noqa: PT017
        return None
    assert "hunter" not in repr(policy)
    return policy


def bare(policy: Policy, peer: Peer, path: bytes) -> Admit | None:
    """What becomes of a request that proves nothing."""
    read = read_request_head(
        b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (path, len(BODY)), HEAD_LIMITS
    )
    assert read is not None
    decision = decide(read[0], peer, policy, RouteTable(policy.routes), float(NOW), trusted=False)
    return decision if isinstance(decision, Admit) else None


@examples(150)
@given(st.lists(routes(), max_size=2), st.sampled_from([False, False, True]))
def test_no_route_without_a_guard_and_none_that_lets_a_stranger_through(tables: list[dict[str, Any]], is_open: bool):
    named = {f"r{number}": {"path": f"/{number}"} | table for number, table in enumerate(tables)}
    policy = loaded({"listen": ":1", "upstream": "8000", "state_dir": "state", "open": is_open, "route": named})
    event("refused" if policy is None else f"built {len(tables)}")
    if policy is None:
        return
    for route, table in zip(policy.routes, tables, strict=bool(tables)):
        proof = route.signature or route.token
        assert proof or route.allow is not None or is_open or table.get("open")
        if "provider" in table:
            assert proof
            assert proof.secrets
        if "token" in table:
            assert route.token is not None
        for peer in (LISTED, STRANGER):
            admit = bare(policy, peer, route.path)
            if admit is not None and admit.route.allow is not None and not is_open:
                assert peer in admit.route.allow
            assert admit is None or not any(peer in denied for denied in admit.route.deny)
            if admit is None or admit.route.observe:
                continue
            assert admit.route.token is None, "a token is asked for, and there is none"
            if admit.route.signature is not None:
                assert admit.verification is not None
                assert isinstance(admit.verification.verify(BODY), Reason)


def test_every_key_of_a_route_is_drawn() -> None:
    assert MORE.keys() | {"provider", "token"} == {key.name for key in SECTIONS["route"].keys}
