"""What a scanner of TLS looks for, asked with openssl's own client; and certificates of clients."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from fuzz import tls
from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Client, ClosedError, github, once, request, turned_away

OPENSSL = shutil.which("openssl")
NAME = "hooks.example.com"
BODY = b"{}"
CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"
[limits]
max_handshakes = 5
tls_timeout = "4s"
[[tls]]
cert = "{folder}/server.pem"
key = "{folder}/server.key"
client_ca = "{folder}/clients.pem"
client_cert = "optional"
[route.github]
path = "/github"
provider = "github"
secrets = ["file:{folder}/secret"]
[route.ci]
path = "/ci"
methods = ["POST"]
client_names = ["ci.example.com"]
"""


@dataclass
class Secured:
    hookward: Hookward
    folder: Path
    clients: trustme.CA
    trust: Callable[[], ssl.SSLContext]

    def ask(self, *flags: str, sent: str = "") -> tuple[int, str]:
        """``openssl s_client``: its exit code and all that it says."""
        host, port = self.hookward.address
        command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", NAME, *flags]
        done = subprocess.run(command, input=sent, capture_output=True, text=True, timeout=20, check=False)
        return done.returncode, done.stdout + done.stderr

    def with_certificate(self, name: str, authority: trustme.CA | None = None) -> ssl.SSLContext:
        context = self.trust()
        (authority or self.clients).issue_cert(name).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("secured")
    authority, clients = trustme.CA(), trustme.CA()
    issued = authority.issue_cert(NAME)
    (folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(folder / "server.key"))
    clients.cert_pem.write_to_path(str(folder / "clients.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "secret").write_bytes(SECRET)
    (folder / "secret").chmod(0o600)
    with RecordingUpstream() as upstream:
        config = folder / "hookward.toml"
        config.write_text(CONFIG.format(upstream=upstream.url, folder=folder))
        hookward = Hookward("--config", str(config), secrets=[SECRET])
        try:
            yield Secured(hookward, folder, clients, lambda: ssl.create_default_context(cafile=str(folder / "ca.pem")))
        finally:
            hookward.stop()


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(secured: Secured, version: str) -> None:
    code, said = secured.ask(version, "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0
    assert "Cipher is (NONE)" in said
    assert "no peer certificate available" in said


@pytest.mark.parametrize(("version", "name"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_both_living_versions_are_served(secured: Secured, version: str, name: str) -> None:
    code, said = secured.ask(version, "-CAfile", str(secured.folder / "ca.pem"), "-verify_return_error")
    assert code == 0
    assert f"New, {name}, Cipher is" in said
    assert "Compression: NONE" in said
    assert "Server Temp Key: X25519" in said, "forward secrecy"


@pytest.mark.parametrize(
    "ciphers",
    [
        "NULL",
        "aNULL",
        "EXPORT",
        "LOW",
        "3DES",
        "RC4",
        "MD5",
        "kRSA",
        "DHE+AES",
        "AES128-SHA",
        "ECDHE+AES+SHA256:!AESGCM",
    ],
)
def test_weak_ciphers_are_refused(secured: Secured, ciphers: str) -> None:
    code, said = secured.ask("-tls1_2", "-cipher", f"{ciphers}:@SECLEVEL=0")
    if "Error with command" in said or "no cipher match" in said:
        return  # this openssl cannot even offer it
    assert code != 0
    assert "Cipher is (NONE)" in said


def test_a_client_may_not_begin_anew(secured: Secured) -> None:
    """Renegotiation costs us a handshake and the client nothing. "R" on a line of its own asks for it."""
    code, said = secured.ask("-tls1_2", sent="R\n")
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said or code != 0
    assert "verify return:1\nread R BLOCK" not in said
    assert once(secured.hookward.address, signed(), tls=secured.trust()).status == 200


@pytest.mark.parametrize(("offered", "chosen"), [("h2,http/1.1", "http/1.1"), ("http/1.1", "http/1.1"), ("h2", None)])
def test_http_1_1_is_all_that_is_negotiated(secured: Secured, offered: str, chosen: str | None) -> None:
    _, said = secured.ask("-alpn", offered)
    assert (f"ALPN protocol: {chosen}" if chosen else "No ALPN negotiated") in said


@pytest.mark.parametrize(
    ("flags", "alert", "cause"),
    [
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "alert protocol version", "unsupported protocol"),
        (("-tls1_2", "-cipher", "AES128-SHA"), "alert handshake failure", "no shared cipher"),
    ],
)
def test_who_is_refused_is_told_why_and_so_is_the_journal(
    secured: Secured, flags: tuple[str, ...], alert: str, cause: str
) -> None:
    code, said = secured.ask(*flags)
    assert code != 0
    assert alert in said
    assert secured.hookward.said(f"TLS failed: {cause}")


def test_conversations_end_with_the_alert_that_is_due(tmp_path: Path) -> None:
    """All of ``make tls`` but those that wait for a deadline."""
    names = [name for name in [*tls.RAW, *tls.KEYED] if name not in {"half a hello", "nothing"}]
    assert tls.ACCEPTED.keys() <= set(names)
    with tls.staged(tmp_path) as stage:
        said = {name: stage.says(name) for name in names}
    assert said == {name: tls.due(name) for name in names}


def test_failures_without_number_are_a_line_a_minute(secured: Secured) -> None:
    for _ in range(50):
        with Client(secured.hookward.address) as client:
            client.send(b"SSH-2.0-OpenSSH_9.6\r\n").ended()
    assert once(secured.hookward.address, signed(), tls=secured.trust()).status == 200
    lines = [line for line in secured.hookward.err.lines if "TLS failed: wrong version number" in line]
    assert 1 <= len(lines) < 5, "a line a minute"
    assert not any("OpenSSH" in line for line in secured.hookward.err.lines)


def test_sessions_resume_by_ticket(secured: Secured) -> None:
    ticket = str(secured.folder / "session")
    _, first = secured.ask("-tls1_2", "-sess_out", ticket)
    assert "TLS session ticket:" in first
    _, second = secured.ask("-tls1_2", "-sess_in", ticket)
    assert "Reused, TLSv1.2" in second


def test_plain_http_on_the_port_has_one_answer_for_all(secured: Secured) -> None:
    for data in (signed(), signed() * 3, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"POST " + b"/" * 70_000):
        with Client(secured.hookward.address) as client:
            answer = client.send(data).ended()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.count(b"HTTP/1.1") == 1
        assert b"hookward" not in answer.lower()
    assert not any(line.get("url.path") == "/livez" for line in secured.hookward.log())


def test_noise_on_the_port_ends_without_an_answer(secured: Secured) -> None:
    for data in (b"\0" * 600, b"SSH-2.0-OpenSSH_9.6\r\n", b"get / HTTP/1.1\r\n\r\n"):
        with Client(secured.hookward.address) as client:
            # At most an alert of TLS comes back, nothing of HTTP.
            assert b"HTTP" not in client.send(data).ended()
    assert once(secured.hookward.address, signed(), tls=secured.trust()).status == 200


@pytest.mark.parametrize("name", [b"\xff\xfe.example.com", b"xn--\xc3\xa9", b"a\0b", b".", b"a" * 255])
def test_names_that_are_none_print_nothing(secured: Secured, name: bytes) -> None:
    """CPython cannot decode some, and says so in a traceback that any stranger could have as often as it likes."""
    with Client(secured.hookward.address) as client:
        client.send(hello(name)).ended()
    with Client(secured.hookward.address) as client:
        assert client.send(hello(NAME.encode())).reader.more(), "the rest of it is in order"
    assert once(secured.hookward.address, signed(), tls=secured.trust()).status == 200
    assert "Exception ignored" not in "\n".join(secured.hookward.err.lines)


def hello(name: bytes) -> bytes:
    """What a client of TLS 1.2 says first, with a name that no library would send (RFC 6066 section 3)."""
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    listed = len(entry).to_bytes(2, "big") + entry
    names = b"\0\0" + len(listed).to_bytes(2, "big") + listed
    groups = bytes.fromhex("000a00060004001d0017" + "000d00080006040308040401")
    extensions = names + groups
    suites = bytes.fromhex("0004c02bc02f0100")
    body = b"\3\3" + bytes(32) + b"\0" + suites + len(extensions).to_bytes(2, "big") + extensions
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(message).to_bytes(2, "big") + message


def test_handshakes_under_way_are_bounded_and_make_room_again(secured: Secured) -> None:
    host, port = secured.hookward.address
    silent = [socket.create_connection((host, port), timeout=10) for _ in range(5)]
    try:
        assert turned_away(secured.hookward.address, hello(NAME.encode())) in {"reset", "closed"}
        for one in silent:
            assert one.recv(1) == b"", "the deadline of the handshake"
    finally:
        for one in silent:
            one.close()
    assert once(secured.hookward.address, signed(), tls=secured.trust()).status == 200


class TestClientCertificates:
    def test_the_route_takes_who_has_the_name(self, secured: Secured) -> None:
        answer = once(secured.hookward.address, CI, tls=secured.with_certificate("ci.example.com"))
        assert answer.status == 200

    def test_another_name_or_none_is_refused_there_and_there_alone(self, secured: Secured) -> None:
        for context in (secured.trust(), secured.with_certificate("other.example.com")):
            refused = once(secured.hookward.address, CI, tls=context)
            assert (refused.status, refused.word) == (403, "client_certificate_refused")
            assert once(secured.hookward.address, signed(), tls=context).status == 200

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_a_certificate_of_somebody_else_ends_the_handshake(self, secured: Secured, version: ssl.TLSVersion) -> None:
        context = secured.with_certificate("ci.example.com", trustme.CA())
        context.minimum_version = context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError, ClosedError)):
            once(secured.hookward.address, CI, tls=context)

    def test_a_resumed_session_is_who_it_was(self, secured: Secured) -> None:
        context = secured.with_certificate("ci.example.com")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with Client(secured.hookward.address, tls=context) as first:
            assert first.ask(CI).status == 200
            session = first.sock.session  # type: ignore[attr-defined]
        raw = socket.create_connection(secured.hookward.address, timeout=10)
        with context.wrap_socket(raw, server_hostname=NAME, session=session) as again:
            assert again.session_reused
            again.sendall(CI)
            assert again.recv(65536).startswith(b"HTTP/1.1 200")


def signed() -> bytes:
    return request("POST", "/github", github(SECRET, BODY), BODY)


CI = request("POST", "/ci", {}, BODY)
