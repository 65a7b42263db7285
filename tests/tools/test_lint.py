"""Lints: each rule speaks of its fault, once, and of nothing else; a good configuration is silent."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from proxy.config.problems import rule_of
from proxy.errors import dotted
from proxy.tools.lint import lint
from tests.config.loading import NOW, Workplace

SECRET = "file:good"
ROUTE = f'[route.a]\npath = "/a"\nprovider = "github"\nsecrets = ["{SECRET}"]\n'
LOCAL = 'listen = "127.0.0.1:8443"\nupstream = "http://127.0.0.1:8000"\n'
PUBLIC = 'listen = "0.0.0.0:8443"\nupstream = "http://127.0.0.1:8000"\n'
TOKEN = f'[route.t]\npath = "/t"\ntoken = {{ query = "token", secrets = ["{SECRET}"] }}\n'
SAME = ROUTE.replace("route.a", "route.b").replace('"/a"', '"/x"')


def with_secrets(listed: str) -> str:
    return ROUTE.replace(f'"{SECRET}"', listed)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    workplace = Workplace(tmp_path)
    workplace.secret("good", b"0123456789abcdef-good")
    workplace.secret("other", b"0123456789abcdef-other")
    workplace.secret("short", b"too short")
    workplace.secret("api", b"sk_live_0123456789abcdef")
    workplace.secret("open", b"0123456789abcdef-open", 0o644)
    workplace.secret("newline", b"0123456789abcdef-newline\n")
    workplace.secret("blank", b" 0123456789abcdef-blank")
    return workplace


def said(place: Workplace, text: str) -> list[str]:
    """The ids of all that is said of a configuration."""
    loaded = place.load(text)
    return sorted(rule_of(one) for one in (*loaded.settings.warnings, *lint(loaded, NOW)))


def test_an_agent_is_not_reached_in_clear_and_may_check_the_proof(place: Workplace):
    trustme.CA().issue_cert("a.test").private_key_and_cert_chain_pem.write_to_path(str(place.secret("pem", b"")))
    agent = '[tls]\ncert = "pem"\nkey = "pem"\n[agent.ci]\nkey = "file:ci.key"\nroutes = ["a"]\n'
    assert said(place, PUBLIC + agent + ROUTE + 'upstream = "agent:ci"\n') == []
    there = ROUTE.replace(f'secrets = ["{SECRET}"]', 'verify = "agent"\nallow = ["192.0.2.0/24"]')
    assert said(place, PUBLIC + agent + there + 'upstream = "agent:ci"\n') == []


def test_a_good_configuration_is_silent(place: Workplace):
    assert said(place, LOCAL + ROUTE) == []
    assert said(place, PUBLIC + ROUTE) == [], "a signature needs no TLS to hold"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (LOCAL + ROUTE.replace("good", "open"), ["H101"]),
        (LOCAL + ROUTE.replace("good", "short"), ["H102"]),
        (LOCAL + ROUTE.replace("good", "api").replace("github", "stripe"), ["H103"]),
        (LOCAL + with_secrets(f'"{SECRET}", {{ from = "file:other", not_after = 2026-09-01 }}'), ["H104"]),
        (LOCAL + with_secrets(f'{{ from = "{SECRET}", not_after = 2026-10-07 }}'), ["H105"]),
        (LOCAL + with_secrets(f'"{SECRET}", {{ from = "file:other", not_before = 2027-01-01 }}'), ["H106"]),
        (LOCAL + ROUTE.replace("good", "blank"), ["H107"]),
        (LOCAL + ROUTE.replace("good", "newline"), ["H108"]),
        (LOCAL + ROUTE + TOKEN, ["H109"]),
        (LOCAL + ROUTE.replace("github", "gitlab"), ["H110"]),
        (LOCAL + ROUTE.replace("github", "github_sha1"), ["H110"]),
        (PUBLIC + TOKEN, ["H201"]),
        (LOCAL + TOKEN, []),
        (PUBLIC + TOKEN + '[route.t.limits]\nmax_body = "1KiB"\n', ["H201"]),
        ('trusted_proxies = ["10.0.0.0/8"]\n' + PUBLIC + TOKEN, []),
        (PUBLIC + '[route.b]\nallow = ["192.0.2.0/24"]\n', ["H202"]),
        (LOCAL + ROUTE + 'allow = ["0.0.0.0/0"]\n', ["H203"]),
        (LOCAL + ROUTE + 'allow = ["all"]\n', ["H203"]),
        (LOCAL + ROUTE + 'allow = ["0.0.0.0/1", "::/0"]\n', ["H203"]),
        (PUBLIC + ROUTE + 'allow = ["10.0.0.0/8", "2001:db8::/32"]\n', []),
        (LOCAL + ROUTE.replace("github", "slack") + 'tolerance = "2h"\n', ["H206"]),
        (LOCAL + ROUTE + ROUTE.replace("route.a", "route.b"), ["H301"]),
        (LOCAL + ROUTE + 'mode = "observe"\n', ["H302"]),
        (LOCAL + "[route.b]\nopen = true\n", ["H303"]),
        (LOCAL + ROUTE + '[tcp.x]\nlisten = "127.0.0.1:1"\nupstream = "127.0.0.1:2"\n', ["H304"]),
        (LOCAL + ROUTE + ROUTE.replace("route.a", "route.b").replace("good", "other"), ["H305"]),
        (LOCAL + ROUTE + "exact = true\n" + TOKEN.replace('"/t"', '"/"').replace("good", "other"), []),
        (PUBLIC + ROUTE + "exact = true\n" + '[route.b]\npath = "/"\nallow = ["192.0.2.0/24"]\n', ["H202"]),
        (LOCAL + ROUTE + "exact = true\n" + '[route.b]\npath = "/"\nopen = true\n', ["H303", "H306"]),
        (LOCAL + ROUTE + 'rewrite = "/x/in"\n[route.b]\npath = "/x"\nopen = true\n', ["H303", "H307"]),
        (LOCAL + ROUTE + 'rewrite = "/x/in"\n' + SAME, []),
        (LOCAL + ROUTE + 'allow = ["192.0.2.0/24"]\n', ["H310"]),
        (LOCAL + ROUTE + 'token = { header = "x-hub-signature-256", secrets = ["file:other"] }\n', ["H311"]),
        ('admin = "0.0.0.0:4040"\n' + LOCAL + ROUTE, ["H401"]),
        ('trusted_proxies = ["0.0.0.0/0"]\n' + LOCAL + ROUTE, ["H402"]),
        (LOCAL.replace("http://127.0.0.1", "http://app") + ROUTE, ["H403"]),
        (LOCAL.replace("http://127.0.0.1", "http://127.example.com") + ROUTE, ["H403"]),
        (LOCAL.replace("http://127.0.0.1", "https://app") + ROUTE, []),
        ('state_dir = "state"\n' + LOCAL + ROUTE + 'copies = ["http://staging"]\n', ["H403"]),
        ('state_dir = "state"\n' + LOCAL + ROUTE + 'copies = ["https://staging"]\n', []),
        (LOCAL.replace("http://127.0.0.1:8000", "unix:/run/app.sock") + ROUTE, []),
        (LOCAL.replace("127.0.0.1:8443", "unix:/run/h.sock") + ROUTE + 'allow = ["192.0.2.0/24"]\n', ["H404"]),
        ('upstream_idle_timeout = "5s"\n' + LOCAL + ROUTE, ["H406"]),
        ('upstream_idle_timeout = "60s"\n' + LOCAL + ROUTE + 'upstream_idle_timeout = "4900ms"\n', []),
        ("open = true\n" + LOCAL, [""]),
    ],
)
def test_every_rule_speaks_of_its_fault(place: Workplace, text: str, ids: list[str]):
    assert said(place, text) == ids


SIGNED = ROUTE.partition("\n")[2]
OTHER = SIGNED.replace("good", "other")
HEADER_TOKEN = 'token = { header = "X-Token", secrets = ["%s"] }\n'
JWT = 'path = "/a"\nprovider = "netlify"\nsecrets = ["%s"]\n'


@pytest.mark.parametrize(
    ("first", "second", "shadowed"),
    [
        (SIGNED, SIGNED, True),
        (SIGNED, SIGNED + "exact = true\n", True),
        (SIGNED + "exact = true\n", SIGNED, False),
        (SIGNED, SIGNED.replace('"/a"', '"/a/b"'), False),
        (SIGNED, SIGNED.replace("good", "other"), False),
        (SIGNED.replace(f'["{SECRET}"]', f'["{SECRET}", "file:other"]'), SIGNED, True),
        (SIGNED + 'allow = ["192.0.2.0/24"]\n', SIGNED, False),
        (SIGNED, SIGNED + 'allow = ["192.0.2.0/24"]\n', True),
        (SIGNED + 'allow = ["192.0.2.0/24"]\n', SIGNED + 'allow = ["192.0.2.7"]\n', True),
        (SIGNED + 'events = ["push"]\n', SIGNED, False),
        (SIGNED + 'events = ["push", "ping"]\n', SIGNED + 'events = ["push"]\n', True),
        (SIGNED, SIGNED + 'methods = ["GET"]\n', False),
        (SIGNED + 'max_body = "1KiB"\n', SIGNED, False),
        ('path = "/a"\nallow = ["192.0.2.0/24"]\n', SIGNED + 'allow = ["192.0.2.7"]\n', True),
        (SIGNED, 'path = "/a"\nallow = ["192.0.2.7"]\n', False),
        (SIGNED + 'mode = "observe"\n', 'path = "/a"\nallow = ["192.0.2.7"]\n', True),
        ('path = "/a"\ntoken = { header = "X", secrets = ["file:good"] }\n', SIGNED, False),
    ],
)
def test_a_route_that_never_gets_a_request(place: Workplace, first: str, second: str, shadowed: bool):
    found = said(place, LOCAL + f"[route.one]\n{first}[route.two]\n{second}")
    assert ("H301" in found) is shadowed


@pytest.mark.parametrize(
    ("first", "second", "never"),
    [
        (SIGNED, OTHER, True),
        (SIGNED, OTHER + "exact = true\n", True),
        (SIGNED + "exact = true\n", OTHER, False),
        (SIGNED, OTHER.replace('"/a"', '"/a/b"'), False),
        (SIGNED, OTHER.replace('"/a"', '"/b"'), False),
        (SIGNED, SIGNED, False),
        (SIGNED, OTHER.replace("github", "slack"), False),
        (SIGNED, OTHER + 'mode = "observe"\n', False),
        (SIGNED + 'rate = "1/s"\n', OTHER, False),
        (SIGNED + 'max_body = "1KiB"\n', OTHER, False),
        (SIGNED + 'events = ["push"]\n', OTHER, False),
        (SIGNED + 'events = ["push"]\n', OTHER + 'events = ["push"]\n', True),
        (SIGNED + 'allow = ["192.0.2.0/24"]\n', OTHER, False),
        (SIGNED, OTHER + 'allow = ["192.0.2.0/24"]\n', True),
        (SIGNED + 'methods = ["PUT"]\n', OTHER, False),
        (SIGNED.replace(f'"{SECRET}"', f'{{ from = "{SECRET}", not_after = 2099-01-01 }}'), OTHER, False),
        (SIGNED + HEADER_TOKEN % SECRET, OTHER, False),
        (SIGNED + HEADER_TOKEN % SECRET, OTHER + HEADER_TOKEN % SECRET, True),
        (SIGNED + HEADER_TOKEN % SECRET, OTHER + HEADER_TOKEN % "file:other", False),
        (JWT % SECRET, JWT % "file:other", False),
    ],
)
def test_a_route_that_never_admits_a_delivery(place: Workplace, first: str, second: str, never: bool):
    loaded = place.load(LOCAL + f"[route.one]\n{first}[route.two]\n{second}")
    found = [note for note in lint(loaded, NOW) if rule_of(note) == "H305"]
    assert bool(found) is never
    if never:
        assert "route two" in found[0]
        assert "route one takes every delivery before it" in found[0]
        assert "into one route" in found[0]


ABOVE = SIGNED.replace('"/a"', '"/"')
UNGUARDED = 'path = "/"\nopen = true\n'


@pytest.mark.parametrize(
    ("own", "above", "told"),
    [
        (SIGNED + "exact = true\n", UNGUARDED, True),
        (SIGNED.replace('"/a"', '"/a/"'), UNGUARDED, True),
        (SIGNED.replace('"/a"', '"/a/"'), UNGUARDED.replace('"/"', '"/a"'), True),
        (SIGNED, UNGUARDED, False),
        (SIGNED + "exact = true\n", ABOVE, False),
        (SIGNED + "exact = true\n", ABOVE + 'mode = "observe"\n', True),
        (SIGNED + 'exact = true\nmode = "observe"\n', ABOVE + 'mode = "observe"\n', False),
        (SIGNED + 'exact = true\nevents = ["push"]\n', ABOVE, True),
        (SIGNED + 'exact = true\nallow = ["192.0.2.7"]\n', ABOVE, True),
        (SIGNED + "exact = true\n", ABOVE + 'allow = ["192.0.2.7"]\n', False),
        (SIGNED + "exact = true\n", UNGUARDED + 'upstream = "http://127.0.0.1:9000"\n', False),
        (SIGNED + "exact = true\n", UNGUARDED.replace('"/"', '"/b"'), False),
    ],
)
def test_a_slash_that_leads_past_a_route(place: Workplace, own: str, above: str, told: bool):
    found = lint(place.load(LOCAL + f"[route.above]\n{above}[route.own]\n{own}"), NOW)
    notes = [note for note in found if rule_of(note) == "H306"]
    assert bool(notes) is told
    if told:
        assert "route own: /a" in notes[0]
        assert "is of route above" in notes[0]


def test_places_are_told_and_no_secret(place: Workplace):
    loaded = place.load(LOCAL + ROUTE.replace("good", "api"))
    [note] = lint(loaded, NOW)
    assert note.startswith(f"{place.config}:")
    assert "route a: the secret secret-1 looks like" in note
    assert "sk_live" not in note


def test_what_is_silenced_is_not_said(place: Workplace):
    assert said(place, 'silence = ["H102"]\n' + LOCAL + ROUTE.replace("good", "short")) == []


def test_stale_and_missing_sets_have_their_rules(place: Workplace):
    text = LOCAL + ROUTE + 'allow = ["set:own"]\n[ip_set.own]\nurl = "https://lists.example/own"\n'
    assert said(place, text) == ["H205"]


@pytest.mark.parametrize("names", [('"a.b"', "a"), ("a", '"a.b"')])
def test_a_route_is_not_taken_for_one_whose_name_begins_like_it(place: Workplace, names: tuple[str, str]):
    """Also where the key of one reads like the other's: route ``a.limits`` and the limits of route ``a``."""
    short = {"a": "short", '"a.b"': "good"}
    tables = [
        ROUTE.replace("route.a", f"route.{name}").replace("/a", f"/{name[1:2]}x").replace("good", short[name])
        for name in names
    ]
    text = LOCAL + "".join(tables)
    [said] = [one for one in lint(place.load(text), NOW) if rule_of(one) == "H102"]
    line = text[: text.index("[route.a]")].count("\n") + 2
    assert said.startswith(f"{place.config}:{line}: route a: ")


def test_keys_of_two_routes_are_told_apart(place: Workplace):
    more = '[route.a.limits]\nmax_body = "1KiB"\n[route."a.limits"]\npath = "/b"\nopen = true\n'
    text = LOCAL + ROUTE + more + '[route."a.limits".limits]\nmax_body = "2KiB"\n'
    sources = {dotted(path) for path in place.load(text).settings.sources}
    assert {"route.a.limits.max_body", 'route."a.limits".limits.max_body', 'route."a.limits".path'} <= sources
