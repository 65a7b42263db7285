"""Fields that cross, H1 to H9 of docs/threat-model.md: what a sender may not fake, shadow, remove or inject."""

from __future__ import annotations

import re

import pytest

from tests.whole.scripted import CLOSE
from tests.whole.stage import KEY, TOKEN, TRUSTED, Stage, delivery
from tests.whole.wire import Client, github, request

SPOOFED = (
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix"),
    *("X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-User", "X-Forwarded-Client-Cert"),
    *(
        "X-Forwarded-Uri",
        "X-Forwarded-Path",
        "X-Forwarded-Anything-At-All",
        "X-Forwarded",
        "Forwarded",
        "Forwarded-For",
    ),
    *("X-Real-IP", "X-Client-IP", "Client-IP", "True-Client-IP", "X-Cluster-Client-IP", "X-Originating-IP"),
    *("X-Remote-IP", "X-Remote-Addr", "CF-Connecting-IP", "CF-Connecting-IPv6", "Fastly-Client-IP", "Via"),
    *("X-Original-Forwarded-For", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method"),
    *("X-Method-Override", "Webhook-Verified", "X-Request-Id"),
)
OURS = {
    b"x-forwarded-for": [b"127.0.0.1"],
    b"x-forwarded-proto": [b"http"],
    b"x-forwarded-host": [b"hooks.example.com"],
    b"webhook-verified": [b"github; secret=secret-1; id=d-1"],
}


def variants(name: str) -> list[str]:
    odd = [name.replace("-", "_"), name.replace("-", "_", 1), f"_{name}", name.replace("-", "."), f"{name}."]
    return [name, name.lower(), name.upper(), *odd]


@pytest.mark.parametrize("name", SPOOFED)
def test_h1_nobody_says_who_or_what_it_is(stage: Stage, name: str) -> None:
    for variant in variants(name):
        got = stage.passes(delivery(target="/github") if not variant else spoofed(variant))
        assert b"spoofed" not in got.head, variant
        for ours, values in OURS.items():
            assert got.get_all(ours) == values, variant
        [request_id] = got.get_all(b"X-Request-Id")
        assert re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", request_id)


def spoofed(name: str, value: str = "spoofed") -> bytes:
    return request("POST", "/github", [*github(KEY, b"{}").items(), (name, value), (name, value)], b"{}")


def test_h1_a_trusted_proxy_is_extended_and_no_more(stage: Stage) -> None:
    fields = github(KEY, b"{}") | {
        "X-Forwarded-For": "203.0.113.9, 198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "public.example.com",
        "X-Real-IP": "203.0.113.9",
        "Webhook-Verified": "spoofed",
        "X-Request-Id": "from-the-proxy.1",
        "X-Original-URL": "/spoofed",
        "X_Forwarded_For": "spoofed",
    }
    stage.upstream.forget()
    with stage.client(source=TRUSTED) as client:
        answer = client.ask(request("POST", "/github", fields, b"{}"))
        assert answer.status == 200
    [got] = stage.upstream.seen
    assert got.get_all(b"X-Forwarded-For") == [b"203.0.113.9, 198.51.100.7, 127.0.0.9"]
    assert got.get_all(b"X-Forwarded-Proto") == [b"https"]
    assert got.get_all(b"X-Forwarded-Host") == [b"public.example.com"]
    assert got.get_all(b"X-Request-Id") == [b"from-the-proxy.1"]
    assert got.get_all(b"Webhook-Verified") == [b"github; secret=secret-1; id=d-1"]
    assert b"spoofed" not in got.head
    [line] = stage.hookward.logged({"http.request.id": "from-the-proxy.1"})
    assert (line["client.address"], line["network.peer.address"]) == ("198.51.100.7", TRUSTED)


@pytest.mark.parametrize("name", ["Proxy", "proxy", "PROXY", "_Proxy", "Proxy_"])
def test_h2_httpoxy(stage: Stage, name: str) -> None:
    assert b"spoofed" not in stage.passes(spoofed(name)).head


UNDERSCORED = (
    *(
        "X_Hub_Signature_256",
        "X-Hub_Signature-256",
        "X_GitHub_Event",
        "X_GitHub_Delivery",
        "Content_Type",
        "User_Agent",
    ),
    *(
        "X_Forwarded_For",
        "Webhook_Verified",
        "X_Request_Id",
        "Content_Encoding",
        "Authorization_",
        "_Cookie",
        "X_",
        "_",
    ),
    *("Connection_", "Expect_", "Trailer_", "__proto__", "HTTP_HOST", "REMOTE_ADDR", "Remote_User"),
)


@pytest.mark.parametrize("name", UNDERSCORED)
def test_h3_names_with_underscores_shadow_nothing(stage: Stage, name: str) -> None:
    got = stage.passes(spoofed(name))
    assert b"spoofed" not in got.head
    assert not [field for field, _ in got.fields if b"_" in field]


@pytest.mark.parametrize("mark", list("!#$%&'*+.^`|~"))
def test_h3_names_with_other_marks_shadow_nothing(stage: Stage, mark: str) -> None:
    """lighttpd gives its applications "_" for each of them, PHP for the dot: one field would stand for another."""
    for name in ("X-Hub-Signature-256", "X-Real-IP", "Content-Type", "Webhook-Verified", "X-GitHub-Event"):
        got = stage.passes(spoofed(name.replace("-", mark)))
        assert b"spoofed" not in got.head
    stage.refuses(spoofed(f"Content{mark}Length", "5"), 400, "bad_request", "bad_field_name")


@pytest.mark.parametrize(
    "name", ["Content_Length", "Transfer_Encoding", "Host_", "_Host", "CONTENT_LENGTH", "content-length_"]
)
def test_h3_names_with_underscores_that_would_frame_or_route(stage: Stage, name: str) -> None:
    stage.refuses(spoofed(name, "5"), 400, "bad_request", "underscore_name")


HOP_BY_HOP = (
    *("Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info", "Proxy-Connection", "TE"),
    *("Trailer", "Upgrade", "HTTP2-Settings", "Expect"),
)


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_h4_hop_by_hop_fields_stay_here(stage: Stage, name: str) -> None:
    value = "100-continue" if name == "Expect" else "spoofed"
    data = request("POST", "/github", github(KEY, b"{}") | {name: value, "Connection": f"keep-alive, {name}"}, b"{}")
    got = stage.passes(data)
    assert got.get(name.encode()) is None
    assert got.get(b"Connection") is None


def test_h4_what_connection_lists_stays_here(stage: Stage) -> None:
    fields = [*github(KEY, b"{}").items(), ("X-Own", "spoofed"), ("x-own", "spoofed"), ("X-Other", "kept")]
    listed = [("Connection", "close , x-OWN"), ("Connection", "TE"), ("TE", "spoofed")]
    got = stage.passes(request("POST", "/github", fields + listed, b"{}"))
    assert b"spoofed" not in got.head
    assert got.get_all(b"X-Other") == [b"kept"]
    assert got.get(b"Connection") is None


UPGRADES = (
    {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__", "Connection": "Upgrade, HTTP2-Settings"},
    {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__", "Connection": "Upgrade"},
    {"Upgrade": "h2c"},
    {"upgrade": "H2C, websocket", "connection": "upgrade"},
    {"Upgrade": "TLS/1.0", "Connection": "Upgrade"},
)


@pytest.mark.parametrize("fields", UPGRADES, ids=["rfc", "settings_not_listed", "not_listed", "list", "tls"])
def test_h5_no_upgrade_to_http_2(stage: Stage, fields: dict[str, str]) -> None:
    got = stage.passes(request("POST", "/github", github(KEY, b"{}") | fields, b"{}"))
    assert not {b"upgrade", b"http2-settings", b"connection"} & {name.lower() for name, _ in got.fields}
    with stage.client() as client:
        assert client.ask(request("GET", "/open", fields)).status == 200
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.answer().status in {400, 505}
        assert client.ended() == b""


@pytest.mark.parametrize("version", ["13", "12", "1337", ""])
def test_h6_no_websocket_tunnel(stage: Stage, version: str) -> None:
    stage.scripted.play(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello"
    )
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": version,
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with stage.nothing_arrives(), stage.client() as client:
        answer = client.ask(request("GET", "/scripted", fields))
        assert (answer.status, answer.word, answer.get(b"Upgrade")) == (502, "upstream_invalid", None)
        assert stage.line_of(answer)["webhook.detail"] == "switching_protocols"
    assert b"Upgrade" not in stage.scripted.seen[0].head


BAD_HOSTS = (
    *("a b", "a/b", "a@b", "user@hooks.example.com", "a,b", "a:x", "a:", "a:80:80", "a:99999", "", " ", "a\\b", "a?b"),
    *("a#b", "http://a", "a%2eb", "[::1", "::1", "[::1]x", "[127.0.0.1", "[v1.a]", "[::g]", "a..b", ".a", "é", "a\xa0"),
    *("hooks.example.com hooks.example.com", "a;b", "a'b", '"a"', "(a)", "a<b>", "a" * 300, "a:80/..", "%00", "*"),
)


@pytest.mark.parametrize("value", BAD_HOSTS, ids=lambda value: ascii(value[:20]))
def test_h7_hosts_that_are_none(stage: Stage, value: str) -> None:
    fields = [("Host", value), *github(KEY, b"{}").items()]
    stage.refuses(request("POST", "/github", fields, b"{}", host=""), 400, "bad_request", "bad_host")


@pytest.mark.parametrize(
    ("target", "hosts", "detail"),
    [
        pytest.param("/github", [], "host_missing", id="none"),
        pytest.param("/github", ["a", "b"], "host_repeated", id="two"),
        pytest.param("/github", ["a", "a"], "host_repeated", id="two_equal"),
        pytest.param("/github", ["", "a"], "host_repeated", id="empty_and_one"),
        pytest.param("http://a/github", [], "host_missing", id="absolute_form_alone"),
        pytest.param("http://a/github", ["b"], "host_conflict", id="absolute_form_of_another"),
        pytest.param("http://a:80/github", ["a"], "host_conflict", id="absolute_form_with_a_port"),
        pytest.param("http://a@b/github", ["b"], "bad_host", id="userinfo"),
        pytest.param("http:///github", ["a"], "bad_host", id="absolute_form_without_authority"),
        pytest.param("http://a\\b/github", ["a"], "bad_host", id="backslash"),
        pytest.param("ftp://a/github", ["a"], "target_form", id="another_scheme"),
        pytest.param("a:443", ["a:443"], "target_form", id="authority_form"),
        pytest.param("*", ["a"], "target_form", id="asterisk"),
        pytest.param("github", ["a"], "target_form", id="no_slash"),
        pytest.param("?x", ["a"], "target_form", id="query_alone"),
    ],
)
def test_h7_hosts_in_conflict(stage: Stage, target: str, hosts: list[str], detail: str) -> None:
    fields = [*[("Host", host) for host in hosts], *github(KEY, b"{}").items()]
    stage.refuses(request("POST", target, fields, b"{}", host=""), 400, "bad_request", detail)


def test_h7_the_validated_host_goes_on(stage: Stage) -> None:
    for target, host in (
        ("/github", "Hooks.Example.com:8443"),
        ("http://A.b/github", "a.B"),
        ("/github", "[2001:DB8::1]:443"),
    ):
        got = stage.passes(request("POST", target, github(KEY, b"{}"), b"{}", host=host))
        assert (got.target, got.get_all(b"Host")) == (b"/github", [host.encode()])


INJECTIONS = ("%0d%0aX-Injected:%20spoofed", "%0aX-Injected", "%0D", "%00", "%7f", "%e5%98%8a", "%E5%98%8D%E5%98%8A")


@pytest.mark.parametrize("text", INJECTIONS[:5])
def test_h8_line_breaks_in_the_path(stage: Stage, text: str) -> None:
    stage.refuses(request("POST", f"/github/{text}", github(KEY, b"{}"), b"{}"), 400, "bad_request", "path_form")


@pytest.mark.parametrize("text", INJECTIONS)
def test_h8_nothing_is_decoded_on_its_way(stage: Stage, text: str) -> None:
    got = stage.passes(request("POST", f"/github?{text}", github(KEY, b"{}"), b"{}"))
    assert got.target == f"/github?{text}".encode()
    stripped = stage.passes(request("POST", f"/query?a={text}&token={TOKEN.decode()}", {}, b"{}"))
    assert stripped.target == f"/query?a={text}".encode()
    for one in (got, stripped):
        assert b"X-Injected" not in [name for name, _ in one.fields]


@pytest.mark.parametrize(
    "value", ["a b", "a; secret=root", "a\tb", "é", "a" * 200, "", "%0d%0a", '"', "a,b"], ids=ascii
)
def test_h8_a_delivery_id_that_is_none_is_not_vouched_for(stage: Stage, value: str) -> None:
    got = stage.passes(request("POST", "/github", github(KEY, b"{}", delivery=value), b"{}"))
    assert got.get_all(b"Webhook-Verified") == [b"github; secret=secret-1"]


@pytest.mark.parametrize("value", ["a b", "a" * 65, "", "a;b", "<script>", "é", "a/b", "${jndi}", "%0d%0a"], ids=ascii)
@pytest.mark.parametrize("source", [None, TRUSTED], ids=["stranger", "trusted"])
def test_h9_a_request_id_that_is_none(stage: Stage, source: str | None, value: str) -> None:
    stage.upstream.forget()
    with Client(stage.hookward.address, source=source) as client:
        answer = client.ask(request("POST", "/github", github(KEY, b"{}") | {"X-Request-Id": value}, b"{}"))
    assert answer.status == 200
    [got] = stage.upstream.seen
    [request_id] = got.get_all(b"X-Request-Id")
    assert request_id != value.encode()
    assert re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", request_id)
    stage.hookward.logged({"http.request.id": request_id.decode()})


def test_h9_a_stranger_chooses_no_request_id(stage: Stage) -> None:
    got = stage.passes(request("POST", "/github", github(KEY, b"{}") | {"X-Request-Id": "chosen"}, b"{}"))
    assert got.get(b"X-Request-Id") != b"chosen"


def test_answers_lose_what_is_between_two_alone(stage: Stage) -> None:
    stage.scripted.play(b"HTTP/1.1 200 OK\r\nConnection: close, X-Own\r\nX-Own: 1\r\nKeep-Alive: 5\r\n\r\nbody", CLOSE)
    answer = stage.ask(request("GET", "/scripted"))
    assert (answer.status, answer.content) == (200, b"body")
    assert not {b"x-own", b"keep-alive"} & {name.lower() for name, _ in answer.fields}
