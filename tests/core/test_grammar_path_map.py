"""Where mapped requests go: by whole segments, never out of their place, and never into the place of another route."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Peer
from proxy.core.exchange import Admit, Reject, decide, forwarded_target
from proxy.core.grammar import PathMap, Target, parse_target
from proxy.core.policy import Endpoint, Policy, Route, RouteTable
from proxy.core.record import ExchangeRecord, note_decision, shown_path
from proxy.core.request_head import read_request_head
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.errors import ProtocolError
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from tests import policies
from tests.policies import APP, HEAD_LIMITS

OTHER_APP = Endpoint("127.0.0.1", 8001)
WORD = b"a-token_of+22=chars"


@pytest.mark.parametrize(
    ("prefix", "place", "target", "sent"),
    [
        ("/hooks", "/new", "/hooks", "/new"),
        ("/hooks", "/new", "/hooks/", "/new/"),
        ("/hooks", "/new", "/hooks/a/b?x=/hooks", "/new/a/b?x=/hooks"),
        ("/hooks", "/", "/hooks", "/"),
        ("/hooks", "/", "/hooks/a", "/a"),
        ("/hooks", "/new/", "/hooks", "/new/"),
        ("/hooks", "/new/", "/hooks/a", "/new/a"),
        ("/hooks/", "/new", "/hooks/", "/new"),
        ("/hooks/", "/new", "/hooks/a", "/new/a"),
        ("/", "/new", "/", "/new"),
        ("/", "/new", "/a", "/new/a"),
        ("/", "/", "/a?", "/a?"),
    ],
)
def test_by_whole_segments(prefix: str, place: str, target: str, sent: str) -> None:
    assert PathMap(prefix.encode(), place.encode()).of(target.encode()) == sent.encode()


@pytest.mark.parametrize(
    ("prefix", "place", "target", "sent", "shown"),
    [
        ("/hooks/", "/hooks", "/hooks/T0KEN", "/hooks", "/hooks/{token}"),
        ("/hooks/", "/hooks", "/hooks/T0KEN/", "/hooks/", "/hooks/{token}/"),
        ("/hooks/", "/hooks", "/hooks/T0KEN/github?a=T", "/hooks/github?a=T", "/hooks/{token}/github"),
        ("/hooks/", "/new", "/hooks/T0KEN/github", "/new/github", "/hooks/{token}/github"),
        ("/hooks/", "/hooks", "/hooks/", "/hooks", "/hooks/"),
        ("/", "/", "/T0KEN", "/", "/{token}"),
        ("/", "/", "/T0KEN/a", "/a", "/{token}/a"),
    ],
)
def test_a_token_is_left_out_and_not_shown(prefix: str, place: str, target: str, sent: str, shown: str) -> None:
    mapped = PathMap(prefix.encode(), place.encode(), has_token=True)
    assert mapped.of(target.encode()) == sent.encode()
    path = target.partition("?")[0].encode()
    assert mapped.shown(path, proved=True) == shown.encode()
    assert mapped.shown(path, proved=False) == shown.partition("}")[0].encode() + b"}" * ("{" in shown)


def taken(target: bytes) -> Target | None:
    try:
        return parse_target(b"POST", target, b"h.example")
    except ProtocolError:
        return None


SEGMENTS = st.sampled_from([b"a", b"b", b"ab", b".x", b"%C3%A9", b"a%20b", b"~+=", b"x.y", b"%5B"])
PATHS = st.lists(SEGMENTS, max_size=3).map(lambda parts: b"/" + b"/".join(parts))
#: What attackers write, among what the grammar takes.
WILD = st.from_regex(rb"(/(a|b|\.|%2e|%2f|;|%5c|\\|%c0%af|%e2%81%84|%C3|%A9|//?|\?){0,3}){1,4}", fullmatch=True)
QUERIES = st.sampled_from([b"", b"?", b"?a=/../b&c=%2f", b"?x?y"])


@given(st.one_of(PATHS, WILD), QUERIES, PATHS, PATHS, st.booleans())
def test_what_is_sent_is_a_target_that_we_would_take_and_lies_at_its_place(
    path: bytes, query: bytes, prefix: bytes, place: bytes, has_token: bool
) -> None:
    prefix = prefix.rstrip(b"/") + b"/" if has_token else prefix
    asked = taken(prefix.rstrip(b"/") + path + query)
    assume(asked is not None and taken(place) is not None and taken(prefix) is not None)
    assert asked is not None
    mapped = PathMap(prefix, place, has_token)
    sent = taken(mapped.of(asked.target))
    assert sent is not None, "its own grammar takes it"
    assert sent.query == asked.query
    assert RouteTable([policies.route(path=place)]).candidates(sent.path), "it lies at its place"
    assert asked.path.endswith(sent.path[len(place.rstrip(b"/")) :] if sent.path != place else b"")
    event("deep" if mapped.rest(asked.path) else "at its end")


def head(target: bytes, fields: bytes = b"") -> RequestHead:
    read = read_request_head(
        b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n%b\r\n" % (target, fields), HEAD_LIMITS
    )
    assert read is not None
    return read[0]


def ask(target: bytes, *routes: Route, **more: Any) -> Admit | Reject:
    policy: Policy = policies.policy(*routes, **more)
    trusted = "trusted_proxies" in more
    return decide(head(target), Peer.of("192.0.2.7"), policy, policy.table, 0.0, trusted=trusted)


def sent(target: bytes, *routes: Route) -> bytes:
    answer = ask(target, *routes)
    assert isinstance(answer, Admit), answer
    return answer.target


def refused(target: bytes, *routes: Route) -> tuple[Reason, str]:
    answer = ask(target, *routes)
    assert isinstance(answer, Reject), answer
    return answer.reason, answer.detail


def path_token(path: bytes = b"/hooks/", **more: Any) -> Route:
    check = TokenCheck(TokenKind.PATH, path, (Secret("url", WORD), Secret("old", b"older", not_after=-1.0)))
    return policies.route(name="by-token", path=path, token=check, **more)


@pytest.mark.parametrize(
    ("changed", "target", "forwarded"),
    [
        ({"rewrite": b"/new"}, b"/hook/a?b=c", b"/new/a?b=c"),
        ({"base": b"/base"}, b"/hook/a?b=c", b"/base/hook/a?b=c"),
        ({"base": b"/base", "rewrite": b"/"}, b"/hook/a", b"/base/a"),
        ({"base": b"/base", "rewrite": b"/"}, b"/hook", b"/base/"),
        ({"path": b"/", "base": b"/base"}, b"/x?y", b"/base/x?y"),
        ({"exact": True, "rewrite": b"/new/"}, b"/hook?a", b"/new/?a"),
        ({}, b"/hook/a", b"/hook/a"),
    ],
)
def test_what_is_forwarded(changed: dict[str, Any], target: bytes, forwarded: bytes) -> None:
    assert sent(target, policies.route(**changed)) == forwarded


def test_what_is_not_the_routes_own_stays_where_it_is() -> None:
    """A replay may name any target."""
    mapped = policies.route(rewrite=b"/new")
    assert forwarded_target(mapped, b"/hook/a?b") == b"/new/a?b"
    for target in (b"/hooks/a", b"/", b"/x/hook"):
        assert forwarded_target(mapped, target) == target


def test_a_query_token_is_left_out_as_well() -> None:
    token = TokenCheck(TokenKind.QUERY, b"t", (Secret("url", b"word"),))
    assert sent(b"/hook/a?x=1&t=word", policies.route(token=token, rewrite=b"/new")) == b"/new/a?x=1"


class TestTokenInThePath:
    @pytest.mark.parametrize(
        ("target", "forwarded"),
        [(b"/hooks/a-token_of+22=chars", b"/hooks"), (b"/hooks/a-token_of%2B22%3Dchars/github?x", b"/hooks/github?x")],
    )
    def test_it_proves_the_sender(self, target: bytes, forwarded: bytes) -> None:
        answer = ask(target, path_token())
        assert isinstance(answer, Admit)
        assert (answer.target, answer.secret_name) == (forwarded, "url")

    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            (b"/hooks/", Reason.TOKEN_MISSING),
            (b"/hooks/a-token_of+22=char", Reason.TOKEN_MISMATCH),
            (b"/hooks/a-token_of+22=charsx", Reason.TOKEN_MISMATCH),
            (b"/hooks/A-token_of+22=chars", Reason.TOKEN_MISMATCH),
            (b"/hooks/older", Reason.TOKEN_MISMATCH),
            (b"/hooks/x/a-token_of+22=chars", Reason.TOKEN_MISMATCH),
            (b"/hooks", Reason.PATH_NOT_MATCHED),
            (b"/hook/a-token_of+22=chars", Reason.PATH_NOT_MATCHED),
        ],
    )
    def test_nothing_else_does(self, target: bytes, reason: Reason) -> None:
        assert refused(target, path_token()) == (reason, "")

    def test_an_exact_route_owns_nothing_behind_it(self) -> None:
        one = path_token(exact=True, rewrite=b"/in")
        assert sent(b"/hooks/" + WORD + b"?a", one) == b"/in?a"
        for more in (b"/", b"/x"):
            assert refused(b"/hooks/" + WORD + more, one) == (Reason.PATH_NOT_MATCHED, "mapped_path")

    def test_a_longer_path_decides_alone(self) -> None:
        fixed = policies.route(name="fixed", path=b"/hooks/fixed")
        answer = ask(b"/hooks/fixed/x", path_token(), fixed)
        assert isinstance(answer, Admit)
        assert answer.route is fixed

    @pytest.mark.parametrize("fault", ["", "address", "proxy", "method", "token", "exact"])
    def test_it_is_never_shown(self, fault: str) -> None:
        """Whatever refuses the request, the record has the path without it, and so has the log."""
        office = AddressSet.parse(["198.51.100.0/24"])
        one = path_token(
            allow=office if fault == "address" else None,
            methods=frozenset({b"PUT" if fault == "method" else b"POST"}),
            exact=fault == "exact",
        )
        more = {"trusted_proxies": AddressSet.parse(["192.0.2.7"]), "allow": office} if fault == "proxy" else {}
        target = b"/hooks/" + (b"wrong" if fault == "token" else WORD) + b"/github"
        answer = ask(target, one, **more)
        assert isinstance(answer, Reject if fault else Admit)
        record = ExchangeRecord("id", 0.0, "192.0.2.7", "192.0.2.7")
        note_decision(record, head(target), answer)
        assert record.path == ("/hooks/{token}" if fault else "/hooks/{token}/github")
        assert shown_path(head(target), answer) == record.path.encode()
        assert WORD.decode() not in repr(answer)


SIGNED = policies.route(name="admin", path=b"/new/admin", allow=AddressSet.parse(["198.51.100.0/24"]))


class TestTheWayPastAPathRule:
    """What another route guards at the upstream, no mapped one leads to."""

    @pytest.mark.parametrize("target", [b"/hook/admin", b"/hook/admin/", b"/hook/admin/x?y", b"/hook/admin/a%20b"])
    def test_a_rewrite(self, target: bytes) -> None:
        mapped = policies.route(rewrite=b"/new")
        assert refused(target, mapped, SIGNED) == (Reason.PATH_NOT_MATCHED, "mapped_path")
        assert sent(b"/hook/other", mapped, SIGNED) == b"/new/other"
        assert sent(b"/hook/administrator", mapped, SIGNED) == b"/new/administrator"

    def test_a_base(self) -> None:
        based = policies.route(path=b"/", base=b"/new")
        assert refused(b"/admin", based, SIGNED)[1] == "mapped_path"

    def test_a_token_that_is_left_out(self) -> None:
        guarded = replace(SIGNED, path=b"/hooks/admin")
        target = b"/hooks/" + WORD + b"/admin"
        assert refused(target, path_token(), guarded)[1] == "mapped_path"

    def test_the_place_of_another_mapped_route(self) -> None:
        mapped = policies.route(rewrite=b"/new")
        guarded = replace(SIGNED, path=b"/x", rewrite=b"/new/inner")
        assert refused(b"/hook/inner/a", mapped, guarded)[1] == "mapped_path"

    def test_another_application_is_another_place(self) -> None:
        mapped = policies.route(rewrite=b"/new")
        assert sent(b"/hook/admin", mapped, replace(SIGNED, upstream=(OTHER_APP,))) == b"/new/admin"
        both = replace(mapped, upstream=(APP, OTHER_APP))
        assert refused(b"/hook/admin", both, replace(SIGNED, upstream=(OTHER_APP,)))[1] == "mapped_path"

    def test_two_routes_may_have_one_place(self) -> None:
        one, two = (policies.route(name=name, path=f"/{name}".encode(), rewrite=b"/events") for name in "ab")
        assert sent(b"/a/x", one, two) == sent(b"/b/x", one, two) == b"/events/x"
        assert policies.policy(one, two).neighbours(one) == [two]


FEW = (b"/", b"/a", b"/b", b"/a/b")
ASKED = (b"/", b"/a", b"/b", b"/a/b", b"/b/a", b"/a/b/a", b"/a/a/b", b"/b/a/b")


@pytest.mark.parametrize("path", FEW)
@pytest.mark.parametrize("kind", ["rewrite", "base", "token"])
def test_no_mapped_request_reaches_the_place_of_another_route(kind: str, path: bytes) -> None:
    """All pairs of small routes, told in another way than the code does: no longer place owns what is sent."""
    word = TokenCheck(TokenKind.PATH, path.rstrip(b"/") + b"/", (Secret("url", b"a"),))
    by_token = policies.route(name="one", path=path.rstrip(b"/") + b"/", token=word)
    mapped = 0
    for place, other_path, other_place in product(FEW, FEW, (None, *FEW)):
        changed = {"base": place.rstrip(b"/")} if kind == "base" else {"rewrite": place}
        one = by_token if kind == "token" else policies.route(name="one", path=path, **changed)
        other = policies.route(name="other", path=other_path, rewrite=other_place)
        reached = other_path if other_place is None else other_place
        for target in ASKED:
            answer = ask(target, one, other)
            if isinstance(answer, Admit) and answer.route is one and one.path_map is not None:
                own = one.path_map.place.rstrip(b"/")
                owns = answer.target == reached or answer.target.startswith(reached.rstrip(b"/") + b"/")
                assert not owns or len(reached.rstrip(b"/")) <= len(own), (target, one, other)
                mapped += 1
    assert mapped > 50
