"""``send``: what arrives, what is printed, and the exit codes."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from proxy.errors import FlagError
from proxy.tools import send

SECRET = "a secret of the tests of send"


class Receiver:
    """An application that takes what comes."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        receiver = self
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = 200

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(
                    (self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                )
                self.send_response(receiver.status)
                self.end_headers()
                self.wfile.write(b"taken \x1b[2J")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


def test_a_signed_delivery_arrives(receiver: Receiver, secret: Path, capsys: pytest.CaptureFixture[str]):
    url = f"http://127.0.0.1:{receiver.port}/hooks?x=1"
    assert send.main(["github", "ping", "--url", url, "--secret-file", str(secret)]) == 0
    [(method, path, fields, body)] = receiver.requests
    assert (method, path, fields["x-github-event"]) == ("POST", "/hooks?x=1", "ping")
    mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert fields["x-hub-signature-256"] == f"sha256={mac}"
    captured = capsys.readouterr()
    assert "200 OK" in captured.out
    assert "taken" in captured.out
    assert "\x1b" not in captured.out
    assert mac not in captured.out + captured.err
    assert SECRET not in captured.out + captured.err


def test_another_status_is_a_failure(receiver: Receiver, secret: Path):
    receiver.status = 403
    url = f"http://127.0.0.1:{receiver.port}/"
    assert send.main(["github", "--url", url, "--secret-file", str(secret), "--tamper", "signature"]) == 1


def test_own_body_and_headers(receiver: Receiver, secret: Path, tmp_path: Path):
    (tmp_path / "body").write_bytes(b"\x00own")
    flags = ["--body", str(tmp_path / "body"), "--header", "X-GitHub-Event: my own", "--method", "POST"]
    url = f"http://127.0.0.1:{receiver.port}"
    assert send.main(["github", "--url", url, "--secret-file", str(secret), *flags]) == 0
    [(_, path, fields, body)] = receiver.requests
    assert (path, body, fields["x-github-event"]) == ("/", b"\x00own", "my own")


def test_a_token_of_the_query_is_not_printed(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TOKEN_OF_TEST", "hush+hush")
    url = f"http://127.0.0.1:{receiver.port}/deploy"
    assert send.main(["flexdeploy", "--url", url, "--secret-env", "TOKEN_OF_TEST"]) == 0
    assert receiver.requests[0][1] == "/deploy?token=hush%2Bhush"
    assert "hush" not in capsys.readouterr().out


def test_saved_instead_of_sent(secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "push.http"
    argv = ["github", "--url", "https://hooks.example.com/github", "--secret-file", str(secret), "--save", str(path)]
    assert send.main(argv) == 0
    data = path.read_bytes()
    assert data.startswith(b"POST /github HTTP/1.1\r\nHost: hooks.example.com\r\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert send.main([*argv[:-1], str(tmp_path / "no" / "such")]) == 1
    assert "sha256=" not in capsys.readouterr().out


def test_tls(secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    receiver = Receiver(context)
    try:
        argv = ["github", "--url", f"https://localhost:{receiver.port}/", "--secret-file", str(secret)]
        assert send.main(argv) == 1
        assert "the certificate does not hold" in capsys.readouterr().err
        assert send.main([*argv, "--cafile", str(tmp_path / "ca.pem")]) == 0
        assert send.main([*argv, "--insecure"]) == 0
    finally:
        receiver.close()


def tls_files(folder: Path, name: str, authority: trustme.CA) -> tuple[Path, ssl.SSLContext]:
    """The file of a certificate for ``name`` with its key and its authority's, and a server's context of it."""
    issued = authority.issue_cert(name)
    path = folder / f"{name}.pem"
    path.write_bytes(issued.private_key_and_cert_chain_pem.bytes() + authority.cert_pem.bytes())
    path.chmod(0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


def test_our_own_listener_is_known_by_its_certificate(secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Under the public name, which is not called here; not by its authority, which has certified others too."""
    authority = trustme.CA()
    own, context = tls_files(tmp_path, "hooks.example.com", authority)
    other, _ = tls_files(tmp_path, "other.example.com", authority)
    receiver = Receiver(context)
    secret.chmod(0o600)
    try:
        for cert, code in ((own, 0), (other, 1)):
            config = tmp_path / "hookward.toml"
            config.write_text(
                f'listen = ["127.0.0.1:{receiver.port}"]\nupstream = "http://127.0.0.1:9"\n[tls]\ncert = "{cert}"\n'
                f'[route.code]\npath = "/code"\nprovider = "github"\nsecrets = ["file:{secret}"]\n'
            )
            assert send.main(["github", "--config", str(config)]) == code
        assert "the certificate does not hold" in capsys.readouterr().err
        assert [path for _, path, _, _ in receiver.requests] == ["/code"]
    finally:
        receiver.close()


def test_nobody_is_there(receiver: Receiver, secret: Path, capsys: pytest.CaptureFixture[str]):
    receiver.server.socket.close()
    url = f"http://127.0.0.1:{receiver.port}/"
    receiver.server.server_close()
    assert send.main(["github", "--url", url, "--secret-file", str(secret)]) == 1
    assert "no answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "places"),
    [
        (["githob", "--url", "http://x/"], ["PROVIDER"]),
        (["github", "pusch", "--url", "ftp://x"], ["EVENT", "--url"]),
        (["github", "--url", "http://x/ y", "--header", "no"], ["--header", "--url"]),
        (["github", "--url", "http://[", "--method", "post"], ["--url", "--method"]),
        (["github", "--url", "http://x", "--body", "/no/such/file"], ["--body"]),
        (["github"], ["--url"]),
        ([], ["PROVIDER"]),
        (["--route", "x"], ["--route"]),
        (["gitlab", "--form", "--url", "http://x"], ["--form"]),
    ],
)
def test_bad_flags_are_told_together(argv: list[str], places: list[str], secret: Path):
    with pytest.raises(FlagError) as caught:
        send.main([*argv, "--secret-file", str(secret)])
    assert sorted(problem.where for problem in caught.value.problems) == sorted(places)


def test_what_cannot_be_spoilt_is_said(secret: Path, capsys: pytest.CaptureFixture[str]):
    argv = ["mailgun", "--url", "http://x/", "--secret-file", str(secret), "--tamper", "header"]
    assert send.main(argv) == 1
    assert "in its body" in capsys.readouterr().err


def test_help_lists_the_ways(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        send.main(["--help"])
    assert caught.value.code == 0
    assert "reencode" in capsys.readouterr().out
