from __future__ import annotations

import dataclasses

import pytest

from proxy.config.load import load
from proxy.config.problems import rule_of
from proxy.config.route import LEAST_BURST, USUAL_METHODS
from proxy.config.schema import SECTIONS
from proxy.core.addresses import Peer
from proxy.core.budget import RateRule
from proxy.core.grammar import PathMap
from proxy.core.policy import BodyMode, Endpoint, UpstreamTls
from proxy.core.signing.proof import TokenKind
from tests.config.loading import ALLOW, ENDS, FLAG_ENDS, GITHUB, Workplace, route

TOKEN = 'token = { query = "t", secrets = "file:token" }\n'


def test_a_route_with_nothing_said_but_a_guard(place: Workplace) -> None:
    one = place.routes(route(ALLOW))["a"]
    assert (one.path, one.exact, one.methods) == (b"/", False, frozenset({b"POST"}))
    assert (one.body, one.observe, one.hold_s, one.handshake) == (BodyMode.FREE, False, 0.0, "forward")
    assert (one.provider, one.events, one.verify_token) == ("", None, None)
    assert one.upstream == (Endpoint("127.0.0.1", 8000),)
    assert one.limits == place.load(route(ALLOW)).policy.limits


def test_a_route_that_says_everything(place: Workplace) -> None:
    text = GITHUB + ALLOW + TOKEN
    text += 'path = "/a"\nexact = true\nmethods = ["POST", "PUT"]\nevents = ["push"]\nbody = "hold"\nmode = "observe"\n'
    text += 'hold = "30s"\nupstream = ["http://127.0.0.1:9000", "unix:/run/app.sock"]\nmax_body = "1MiB"\n'
    one = place.routes(route(text))["a"]
    assert (one.path, one.exact, one.methods) == (b"/a", True, frozenset({b"POST", b"PUT"}))
    assert (one.body, one.observe, one.hold_s, one.provider) == (BodyMode.HOLD, True, 9.0, "github")
    assert one.events == frozenset({"push"})
    assert one.upstream == (Endpoint("127.0.0.1", 9000), Endpoint("", 0, "/run/app.sock"))
    assert one.limits.max_body == 1 << 20


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (GITHUB, BodyMode.TAIL),
        (GITHUB + 'body = "hold"\n', BodyMode.HOLD),
        (ALLOW, BodyMode.FREE),
        (ALLOW + 'body = "hold"\n', BodyMode.HOLD),
        (TOKEN + 'body = "tail"\n', BodyMode.TAIL),
        ('provider = "mailgun"\nsecrets = "file:token"\n', BodyMode.HOLD),
        ('provider = "mailgun"\nsecrets = "file:token"\nbody = "tail"\n', BodyMode.HOLD),
    ],
)
def test_body_modes(place: Workplace, text: str, mode: BodyMode) -> None:
    loaded = place.load(route(text))
    assert loaded.policy.routes[0].body is mode
    told = [one for one in loaded.settings.warnings if rule_of(one) == "H323"]
    assert len(told) == ("tail" in text and mode is BodyMode.HOLD)


def test_limits_are_tightened_by_key_or_table(place: Workplace) -> None:
    text = (
        ALLOW
        + 'max_body = "1MiB"\nbody_timeout = "5s"\n[route.a.limits]\nrequest_timeout = "10s"\nhold_window = "1KiB"\n'
    )
    limits = place.routes(route(text))["a"].limits
    assert (limits.max_body, limits.body_timeout_s, limits.request_timeout_s, limits.hold_window) == (
        1 << 20,
        5,
        10,
        1024,
    )
    assert limits.max_head == 16384


def test_the_same_is_not_looser(place: Workplace) -> None:
    assert place.routes(route(ALLOW + 'max_body = "25MiB"\n'))["a"].limits.max_body == 25 << 20


MAILGUN = 'provider = "mailgun"\nsecrets = "file:token"\n'


@pytest.mark.parametrize(
    ("head", "text", "most"),
    [
        ("", MAILGUN, 1 << 20),
        ("", MAILGUN + 'max_body = "2MiB"\n', 2 << 20),
        ("", MAILGUN + 'limits = { max_body = "2MiB" }\n', 2 << 20),
        ("[limits]\nmax_body = '30MiB'\n", MAILGUN, 1 << 20),
        ("[limits]\nmax_body = '5KiB'\n", MAILGUN, 5 << 10),
        ("", GITHUB + 'body = "hold"\n', 25 << 20),
        ("[limits]\nbuffer_budget = '8MiB'\n", MAILGUN, (4 << 20) // 10),
    ],
)
def test_a_scheme_that_needs_the_whole_body_takes_a_small_one(
    place: Workplace, head: str, text: str, most: int
) -> None:
    assert place.routes(ENDS + head + "[route.a]\n" + text)["a"].limits.max_body == most


def test_no_body_takes_more_than_half_of_the_budget_to_verify(place: Workplace) -> None:
    loaded = place.load(ENDS + "[route.a]\n" + MAILGUN + 'max_body = "25MiB"\n')
    assert loaded.policy.routes[0].limits.max_body == (128 << 20) // 10
    assert [text for text in loaded.settings.warnings if "buffer_budget" in text]
    enough = place.load(ENDS + "[limits]\nbuffer_budget = '500MiB'\n[route.a]\n" + MAILGUN + 'max_body = "25MiB"\n')
    assert enough.policy.routes[0].limits.max_body == 25 << 20
    assert not [text for text in enough.settings.warnings if "buffer_budget" in text]


def test_with_flags_there_is_one_route_and_one_largest_body(place: Workplace) -> None:
    flags = [
        "--listen",
        ":1",
        "--upstream",
        "127.0.0.1:2",
        "--provider",
        "mailgun",
        "--secret-file",
        str(place.folder / "token"),
    ]
    for more, most in ([], 1 << 20), (["--max-body", "2MiB"], 2 << 20):
        assert load([*flags, *more], {}).policy.routes[0].limits.max_body == most


def test_upstreams_with_tls(place: Workplace) -> None:
    (place.folder / "ca.pem").write_text("x")
    text = 'listen = ":1"\nupstream = ["https://app:8443", "http://127.0.0.1:1234"]\n[upstream_tls]\nca = "ca.pem"\n'
    text += "[route.a]\n" + ALLOW + "[route.b]\n" + ALLOW + '[route.b.upstream_tls]\nserver_name = "inner"\n'
    routes = place.routes(text)
    tls = UpstreamTls(ca_file=f"{place.folder}/ca.pem")
    assert routes["a"].upstream == (Endpoint("app", 8443, tls=tls), Endpoint("127.0.0.1", 1234))
    assert routes["b"].upstream[0].tls == UpstreamTls(server_name="inner")


def test_where_a_route_goes(place: Workplace) -> None:
    text = 'listen = ":1"\nupstream = "https://app.test/base/"\n[route.a]\npath = "/a"\n' + ALLOW
    text += f'[route.b]\npath = "/b"\nrewrite = "/new"\nupstream = "unix:/run/app.sock:/in"\n{ALLOW}'
    text += f'[route.c]\npath = "/c"\nupstream = "http://127.0.0.1:8000/"\n{ALLOW}'
    found = place.routes(text)
    assert found["a"].path_map == PathMap(b"/a", b"/base/a")
    assert found["b"].path_map == PathMap(b"/b", b"/in/new")
    assert found["b"].upstream == (Endpoint("", 0, "/run/app.sock"),)
    assert found["c"].path_map is None


def test_a_health_check_asks_for_its_own_path(place: Workplace) -> None:
    upstream = '{ url = "http://127.0.0.1:8000/base", health = "/healthz" }'
    found = place.routes(f'listen = ":1"\nupstream = {upstream}\n[route.a]\nrewrite = "/new"\n{ALLOW}')
    [endpoint] = found["a"].upstream
    assert endpoint.health is not None
    assert endpoint.health.path == "/healthz"
    assert found["a"].path_map == PathMap(b"/", b"/base/new")


IN_PATH = 'token = { path = true, secrets = ["file:token"] }\n'


def test_a_token_in_the_path(place: Workplace) -> None:
    one = place.routes(route(f'path = "/hooks/{{token}}"\n{IN_PATH}'))["a"]
    assert one.token is not None
    assert (one.path, one.token.kind, one.token.name, one.provider) == (b"/hooks/", TokenKind.PATH, b"/hooks/", "token")
    assert one.path_map == PathMap(b"/hooks/", b"/hooks", has_token=True)
    assert one.shown_path == "/hooks/{token}"
    by_flags = place.routes(
        None, *FLAG_ENDS, "--path", "/in/{token}", "--token-path", "--token-file", str(place.folder / "token")
    )
    assert by_flags["default"].shown_path == "/in/{token}"


@pytest.mark.parametrize(
    ("text", "where", "what", "mend"),
    [
        (IN_PATH, "4: route.a.token.path", "does not say where the token is", "/hooks/{token}"),
        (
            'path = "/x/{token}"\ntoken = { path = true, secrets = ["file:slashed"] }\n',
            "5: route.a.token",
            "no segment of a path may have",
            "gen-secret",
        ),
        (
            f'path = "/x/{{token}}"\n{IN_PATH}[route.b]\npath = "/x/"\n{ALLOW}',
            "7: route.b.path",
            "would show its token",
            "another path",
        ),
    ],
)
def test_mistakes_of_a_token_in_the_path(place: Workplace, text: str, where: str, what: str, mend: str) -> None:
    place.secret("slashed", b"a/b0123456789abcdef")
    [problem] = place.problems(route(text))
    assert problem.where == f"hookward.toml:{where}"
    assert what in problem.what
    assert mend in problem.mend
    assert "a/b0" not in str(problem)


OPEN_HINT = "`open = true`"
BAD = [
    ('path = "/a"', "3: route.a", "nothing guards", OPEN_HINT),
    ("", "3: route.a", "nothing guards", "--allow"),
    (GITHUB + 'body = "free"', "6: route.a.body", "before its signature is checked", '"tail" or "hold"'),
    (ALLOW + 'events = ["push"]', "5: route.a.events", "no header that names the event", "where = {"),
    ('provider = "lob"\nsecrets = "file:token"\nevents = ["x"]', "6: route.a.events", "no header", "where = {"),
    (
        ALLOW + 'max_body = "26MiB"',
        "5: route.a.max_body",
        "26MiB would loosen limits.max_body, which is 25MiB",
        "at most 25MiB",
    ),
    (ALLOW + 'body_timeout = "2m"', "5: route.a.body_timeout", "120s would loosen", "at most 60s"),
    (ALLOW + 'limits = { max_body = "26MiB" }', "5: route.a.limits.max_body", "would loosen", "25MiB"),
    (ALLOW + "max_body = 5\nlimits = { max_body = 5 }", "6: route.a.limits.max_body", "set twice", "remove one"),
    (ALLOW + 'head_timeout = "1s"', "5: route.a.head_timeout", "unknown key", "did you mean"),
    (ALLOW + 'handshake = "answer"', "5: route.a.handshake", "only a provider's", "`provider`"),
    (ALLOW + 'upstream = ["127.0.0.1:1", "http://127.0.0.1:1"]', "5: route.a.upstream", "twice", "remove"),
    (ALLOW + 'upstream = "http://127.0.0.1:1/x?y"', "5: route.a.upstream", "no query", "passed on"),
    (
        ALLOW + 'upstream = ["http://127.0.0.1:1/x", "http://127.0.0.1:2"]',
        "5: route.a.upstream",
        "different paths",
        "several routes",
    ),
    (ALLOW + 'rewrite = "new"', "5: route.a.rewrite", "not a path", "'/new'"),
    (ALLOW + 'rewrite = "/a/../b"', "5: route.a.rewrite", "ever admitted", "neither empty"),
    (ALLOW + 'rewrite = "/{token}"', "5: route.a.rewrite", "no wildcards", "name the folder"),
    (ALLOW + 'path = "/a/{token}"', "5: route.a.path", "no token is asked for there", "token = { path = true"),
    (ALLOW + 'path = "/{token}/a"', "5: route.a.path", "no wildcards", "at its end"),
    (ALLOW + 'path = "/a{token}"', "5: route.a.path", "no wildcards", "at its end"),
    (ALLOW + 'upstream_tls = { ca = "none.pem" }', "5: route.a.upstream_tls.ca", "no file none.pem", "mend the path"),
    (ALLOW + 'upstream_tls = { key = "token" }', "5: route.a.upstream_tls.key", "without its certificate", "`cert`"),
    (ALLOW + 'methods = ["POST", "get"]', "5: route.a.methods[1]", "'get' is not a method", "'GET'"),
    (ALLOW + 'mode = "observ"', "5: route.a.mode", "none of", "'observe'"),
]


@pytest.mark.parametrize(("text", "where", "what", "mend"), BAD, ids=[f"{i}-{b[1]}" for i, b in enumerate(BAD)])
def test_mistakes(place: Workplace, text: str, where: str, what: str, mend: str) -> None:
    [problem] = place.problems(route(text))
    assert problem.where == f"hookward.toml:{where}"
    assert what in problem.what
    assert mend in problem.mend


def test_an_open_route_is_open_on_purpose_and_said(place: Workplace) -> None:
    for text in (route("open = true"), "open = true\n" + route("")):
        loaded = place.load(text)
        assert loaded.policy.routes[0].allow is None
        assert any("is open: it forwards without any check" in warning for warning in loaded.settings.warnings)


def test_an_observing_route_is_said(place: Workplace) -> None:
    warnings = place.load(route(ALLOW + 'mode = "observe"')).settings.warnings
    assert any("only observes" in warning for warning in warnings)


def test_a_guard_that_could_not_be_read_is_not_said_to_be_missing(place: Workplace) -> None:
    assert place.places(route('tokn = "x"')) == ["hookward.toml:4: route.a.tokn"]
    assert place.places(route("provider = 5")) == ["hookward.toml:4: route.a.provider"]


def test_the_built_in_route_has_no_guard(place: Workplace) -> None:
    [one] = place.load(ENDS).policy.routes
    assert (one.methods, one.path, one.body, one.allow) == (USUAL_METHODS, b"/", BodyMode.FREE, None)
    assert not {b"CONNECT", b"TRACE"} & one.methods


@pytest.mark.parametrize("key", SECTIONS["limits"].keys, ids=lambda key: key.name)
def test_every_limit_can_be_shown(key: object, place: Workplace) -> None:
    policy = place.load(ENDS).policy
    values = {**dataclasses.asdict(policy.limits), **dataclasses.asdict(policy.server)}
    assert key.kind.read(key.default) == values[key.attribute]  # type: ignore[attr-defined]
    assert key.show(values[key.attribute]) in {str(key.default), "5s"}  # type: ignore[attr-defined]


class TestRate:
    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("", None),
            ('rate = "20/s"', RateRule(20.0, 40)),
            ('rate = "20/s"\nburst = 3', RateRule(20.0, 3)),
            ('rate = "6/m"', RateRule(0.1, LEAST_BURST)),
        ],
    )
    def test_read(self, place: Workplace, text: str, rule: RateRule | None) -> None:
        assert place.routes(ENDS + f"[route.a]\nopen = true\n{text}\n")["a"].rate == rule

    def test_a_burst_of_no_rate(self, place: Workplace) -> None:
        assert place.places(ENDS + "[route.a]\nopen = true\nburst = 3\n") == ["hookward.toml:5: route.a.burst"]


class TestClientNames:
    TLS = '[tls]\ncert = "token"\nclient_ca = "github.secret"\n'

    def test_they_guard_a_route(self, place: Workplace) -> None:
        text = ENDS + self.TLS + '[route.a]\nclient_names = ["CI.example.com", "ops@example.com"]\n'
        assert place.routes(text)["a"].client_names == frozenset({"ci.example.com", "ops@example.com"})

    def test_nobody_is_asked_for_one(self, place: Workplace) -> None:
        [problem] = place.problems(ENDS + '[route.a]\nclient_names = ["ci"]\n')
        assert "none could pass" in problem.what
        assert "client_ca" in problem.mend


class TestReserved:
    def test_listed_addresses_where_strangers_may_come_too(self, place: Workplace) -> None:
        text = ENDS + '[route.a]\npath = "/a"\nallow = ["192.0.2.0/24"]\n[route.b]\npath = "/b"\nopen = true\n'
        policy = place.load(text).policy
        assert Peer.of("192.0.2.1") in policy.reserved_for
        assert Peer.of("198.51.100.1") not in policy.reserved_for

    @pytest.mark.parametrize("text", ['[route.a]\nallow = ["192.0.2.0/24"]\n', "[route.a]\nopen = true\n"])
    def test_nobody_where_all_are_alike(self, place: Workplace, text: str) -> None:
        assert not place.load(ENDS + text).policy.reserved_for
