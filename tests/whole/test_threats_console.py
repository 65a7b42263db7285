"""What is let into the console, and what a page of another site or a reader's token can do there: nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.whole.conftest import SECRET, Certificates
from tests.whole.console import Reply, Visitor, entered, link, private_socket
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import github, once, request

Start = Callable[..., Hookward]
READ, ACT = "r" * 20, "a" * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("console")
    for name, value in (("read", READ), ("act", ACT), ("github", SECRET.decode())):
        (made / name).write_text(value)
        (made / name).chmod(0o600)
    return made


def config(folder: Path, upstream: RecordingUpstream, console: str) -> Path:
    path = folder / "hookward.toml"
    path.write_text(
        f'listen = "127.0.0.1:0"\nupstream = "{upstream.url}"\nstate_dir = "{folder}"\n[console]\n{console}\n'
        f'[route.github]\npath = "/hooks"\nprovider = "github"\nsecrets = "file:{folder}/github"\n'
    )
    return path


TOKENS = 'read_token = "file:read"\nact_token = "file:act"\n'


@pytest.fixture(scope="module")
def hookward(start_once: Start, lasting_upstream: RecordingUpstream, folder: Path) -> Hookward:
    path = config(folder, lasting_upstream, f'listen = "127.0.0.1:0"\n{TOKENS}')
    found = start_once("-c", path, listeners=2)
    once(found.address, request("POST", "/hooks", github(SECRET, b"{}"), b"{}"))
    return found


@pytest.fixture
def place(hookward: Hookward) -> tuple[str, int]:
    found = hookward.addresses[1]
    assert isinstance(found, tuple)
    return found


def targets(place: tuple[str, int]) -> list[tuple[str, str]]:
    """Every path of the API's document, and the files of the page."""
    document = Visitor(place, Authorization=f"Bearer {READ}").get("openapi.json")
    doors = {("POST", "/api/v1/session"), ("DELETE", "/api/v1/session")}
    found = [
        (method.upper(), "/api/v1" + re.sub(r"\{\w+\}", "x", path))
        for path, methods in document["paths"].items()
        for method in methods
    ]
    return [("GET", "/"), ("GET", "/index.html"), ("GET", "/nothing"), *(one for one in found if one not in doors)]


def test_k2_every_path_asks_for_a_credential(place: tuple[str, int]) -> None:
    all_targets = targets(place)
    assert len(all_targets) > 15
    for method, target in all_targets:
        for fields in (
            {},
            {"Authorization": "Bearer wrong-wrong-wrong-wrong"},
            {"Authorization": f"Basic {ACT}"},
            {"Cookie": "hookward_console=act.9999999999.x.0000"},
            {"Cookie": "hookward_console=;;="},
        ):
            reply = Visitor(place, **fields).ask(method, target, {} if method == "POST" else None)
            assert reply.status == 401, (method, target, fields)
            assert b"hooks" not in reply.content
    assert Visitor(place).ask("POST", "/api/v1/session", {"token": "wrong"}).status == 401


def test_k2_a_link_lets_in_once_and_its_cookie_is_not_to_be_forged(
    hookward: Hookward, folder: Path, place: tuple[str, int]
) -> None:
    once_only = link(folder, hookward)
    assert Visitor(place).ask("GET", once_only).status == 303
    assert Visitor(place).ask("GET", once_only).status == 401
    reader = entered(folder, hookward, place, "read")
    assert reader.get("status")["visitor"]["may_act"] is False
    forged = reader.fields["Cookie"].replace("=read.", "=act.")
    assert Visitor(place, Cookie=forged).ask("GET", "/api/v1/status").status == 401
    later = re.sub(r"\.\d{10}\.", ".9999999999.", reader.fields["Cookie"])
    assert Visitor(place, Cookie=later).ask("GET", "/api/v1/status").status == 401
    assert (folder / "hookward-console.key").stat().st_mode & 0o777 == 0o600


def test_k3_who_reads_cannot_act(place: tuple[str, int]) -> None:
    reader = Visitor(place, Authorization=f"Bearer {READ}")
    for method, target in targets(place):
        if method == "POST":
            assert reader.ask(method, target, {}).status == 403, target
    assert reader.get("status")["visitor"]["may_act"] is False


def test_k3_a_token_becomes_a_cookie_of_its_own_scope(place: tuple[str, int]) -> None:
    reply = Visitor(place).ask("POST", "/api/v1/session", {"token": READ})
    assert reply.json == {"scope": "read"}
    cookie = str(reply.headers["Set-Cookie"]).partition(";")[0]
    assert Visitor(place, Cookie=cookie).get("status")["visitor"]["may_act"] is False


@pytest.mark.parametrize(
    "fields",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:4041"},
        {"Host": "localhost.evil.example"},
        {"Host": "192.0.2.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "else"},
    ],
    ids=lambda fields: "-".join(*fields.items()),
)
def test_k4_other_hosts_and_origins_get_nothing(place: tuple[str, int], fields: dict[str, str]) -> None:
    visitor = Visitor(place, Authorization=f"Bearer {ACT}")
    for method, target in (("GET", "/"), ("GET", "/api/v1/deliveries"), ("POST", "/api/v1/reload"), ("GET", "/enter")):
        reply = visitor.ask(method, target, {} if method == "POST" else None, **fields)
        assert reply.status == 403
        assert reply.content in {b"host_refused\n", b"origin_refused\n"}
    assert Visitor(place).ask("POST", "/api/v1/session", {"token": ACT}, **fields).status == 403


def test_k4_what_a_form_of_another_site_can_send_acts_nothing(place: tuple[str, int]) -> None:
    visitor = Visitor(place, Authorization=f"Bearer {ACT}")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        connection = visitor.connect()
        connection.request("POST", "/api/v1/deliveries/x/replay", "{}", {**visitor.fields, "Content-Type": kind})
        assert Reply(connection.getresponse()).status == 415
        connection.close()


def test_k5_every_answer_forbids_scripts_frames_and_guessing(place: tuple[str, int]) -> None:
    visitor = Visitor(place, Authorization=f"Bearer {READ}")
    for target in ("/", "/api/v1/deliveries", "/api/v1/deliveries/x", "/nothing", "/api/v1/openapi.json"):
        for asked in (visitor, Visitor(place)):
            headers = asked.ask("GET", target).headers
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "require-trusted-types-for 'script'" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Cache-Control"] == "no-store"
            assert headers["Access-Control-Allow-Origin"] is None


def test_k6_each_act_and_each_sight_of_a_body_is_a_line(hookward: Hookward, place: tuple[str, int]) -> None:
    visitor = Visitor(place, Authorization=f"Bearer {ACT}")
    [row] = visitor.get("deliveries?q=route:github")["deliveries"][:1]
    visitor.get(f"deliveries/{row['id']}")
    visitor.get(f"deliveries/{row['id']}/export?as=raw")
    visitor.post(f"deliveries/{row['id']}/replay", {"to": "application"})
    visitor.post("routes/github/pause")
    Visitor(place, Authorization=f"Bearer {READ}").post("reload")
    for text in (
        f"audit: act token from 127.0.0.1 saw the delivery {row['id']}",
        f"audit: act token from 127.0.0.1 exported as raw the delivery {row['id']}",
        f"audit: act token from 127.0.0.1 replayed the delivery {row['id']}: delivered 200",
        "audit: act token from 127.0.0.1 paused the route github",
        "audit: read token from 127.0.0.1 may not POST /api/v1/reload: refused",
    ):
        assert hookward.said(text), text


def test_k6_the_audit_log_does_not_follow_the_level(start: Start, upstream: RecordingUpstream, folder: Path) -> None:
    hookward = start("-c", config(folder, upstream, 'listen = "127.0.0.1:0"'), "--log-level", "error", listeners=2)
    entered(folder, hookward, hookward.addresses[1])
    assert hookward.said("entered by a link (act): let in")


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("console", "says"),
    [
        ('listen = "0.0.0.0:0"', "add [tls]"),
        ('listen = "0.0.0.0:0"', "no token guards it"),
        ('listen = "[::]:0"\n' + TOKENS, "add [tls]"),
        ('listen = "fd:console"', "add [tls]"),
        ('listen = "127.0.0.1:0"\nread_token = "file:act"\nact_token = "file:act"', "the same as read_token"),
        ('listen = "0.0.0.0:0"\nread_token = "file:short"', "too short to be safe"),
        ('listen = "127.0.0.1:0"\nread_token = "file:missing"', "does not exist"),
    ],
)
def test_k7_what_other_hosts_reach_needs_tls_and_a_token(
    folder: Path, lasting_upstream: RecordingUpstream, command: str, console: str, says: str, tmp_path: Path
) -> None:
    for name, value in (("read", READ), ("act", ACT), ("github", "g" * 20), ("short", "abc")):
        (tmp_path / name).write_text(value)
        (tmp_path / name).chmod(0o600)
    path = config(tmp_path, lasting_upstream, console)
    found = subprocess.run(
        [sys.executable, "-m", "proxy", command, "-c", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 78
    assert says in found.stderr + found.stdout


def test_k7_with_tls_and_a_token_it_serves_them(
    start: Start, upstream: RecordingUpstream, folder: Path, certificates: Certificates
) -> None:
    path = config(folder, upstream, f'listen = "0.0.0.0:0"\n{TOKENS}')
    path.write_text(path.read_text() + f'[tls]\ncert = "{certificates.cert}"\nkey = "{certificates.key}"\n')
    hookward = start("-c", path, listeners=2)
    port = hookward.addresses[1][1]
    for name, status in (("localhost", 200), ("127.0.0.1", 200)):
        connection = HTTPSConnection(name, port, context=certificates.client, timeout=20)
        connection.request("GET", "/api/v1/status", headers={"Authorization": f"Bearer {READ}"})
        assert Reply(connection.getresponse()).status == status
        connection.request("POST", "/api/v1/session", f'{{"token": "{ACT}"}}', {"Content-Type": "application/json"})
        assert "; Secure" in str(connection.getresponse().headers["Set-Cookie"])
        connection.close()


def test_k8_a_unix_socket_is_for_its_own_user(start: Start, upstream: RecordingUpstream, folder: Path) -> None:
    path = config(folder, upstream, f'listen = "unix:{folder}/console.sock"\n{TOKENS}')
    hookward = start("-c", path, listeners=2)
    assert Visitor(str(folder / "console.sock")).get("status")["visitor"]["may_act"] is True
    hookward.signal(signal.SIGTERM)
    assert hookward.wait() == 0
    assert not (folder / "console.sock").exists()


def test_k9_looking_on_has_a_bound_and_a_stuck_one_holds_up_nothing(
    start: Start, upstream: RecordingUpstream, folder: Path
) -> None:
    hookward = start("-c", config(folder, upstream, f'listen = "127.0.0.1:0"\n{TOKENS}'), listeners=2)
    visitor = Visitor(hookward.addresses[1], Authorization=f"Bearer {READ}")
    stuck = []
    for _ in range(8):
        connection = visitor.connect()
        connection.request("GET", "/api/v1/stream", headers=visitor.fields)
        answer = connection.getresponse()
        assert answer.status == 200  # and nothing more is read
        stuck.append((connection, answer))
    for number in range(300):
        content = b"x" * 200
        assert (
            once(hookward.address, request("POST", "/hooks", github(SECRET, content, "e" * 60), content)).status == 200
        ), number
    counts = visitor.get("deliveries?limit=1")["counts"]
    assert counts["viewers"] == 8
    assert counts["seen"] == 300
    for connection, answer in stuck:
        answer.close()
        connection.close()


def test_private_places_are_not_the_consoles(hookward: Hookward, folder: Path, place: tuple[str, int]) -> None:
    visitor = Visitor(place, Authorization=f"Bearer {ACT}")
    assert visitor.ask("POST", "/console/link", {}).status == 404
    assert visitor.ask("POST", "/console/ask/delivery", {}).status == 404
    assert Visitor(private_socket(folder, hookward.pid)).ask("GET", "/").status == 200
