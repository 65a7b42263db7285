"""Threats to mapped paths: the way past a path rule, and tokens in paths, which go no further and are shown nowhere."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.load.process import free_port
from tests.whole.conftest import Certificates
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.test_client_address import nginx, running
from tests.whole.wire import github, once, request

Configured = Callable[..., Hookward]
SECRET = b"a secret of the paths"
WORD = "t0ken.of-22~characters"
MAPPED = """
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
upstream = "{upstream}/base"

[route.mapped]
path = "/hooks"
rewrite = "/new"
open = true

[route.guarded]
path = "/new/admin"
provider = "github"
secrets = ["file:{folder}/secret"]

[route.token]
path = "/in/{{token}}"
token = {{ path = true, secrets = ["file:{folder}/token"] }}

[route.below]
path = "/in/admin"
provider = "github"
secrets = ["file:{folder}/secret"]

[route.dropbox]
path = "/check"
rewrite = "/app/check/"
provider = "dropbox"
secrets = ["file:{folder}/secret"]

[scheme.acme]
header = "X-Signature"
signed = "{{method}} {{url}}\\n{{body}}"

[route.signed]
path = "/signed"
rewrite = "/app"
provider = "acme"
secrets = ["file:{folder}/secret"]
public_url = "https://hooks.example.com"
"""


@pytest.fixture(scope="module")
def mapped(
    start_once: Callable[..., Hookward], lasting_upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Hookward:
    folder = tmp_path_factory.mktemp("paths")
    for name, value in (("secret", SECRET), ("token", WORD.encode())):
        (folder / name).write_bytes(value)
        (folder / name).chmod(0o600)
    config = folder / "hookward.toml"
    config.write_text(MAPPED.format(upstream=lasting_upstream.url, folder=folder))
    return start_once("--config", config, secrets=(SECRET, WORD.encode()), listeners=2)


def sent(hookward: Hookward, upstream: RecordingUpstream, data: bytes) -> str:
    """What the upstream was asked for, or the word of the refusal; then it was asked for nothing."""
    upstream.renew()
    answer = once(hookward.address, data)
    if answer.status == 200:
        return upstream.wait_complete()[0].target.decode()
    assert once(hookward.address, request(target="/hooks/fence", content=b"")).status == 200
    assert [one.target for one in upstream.complete] == [b"/base/new/fence"]
    return answer.word


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("/hooks", "/base/new"),
        ("/hooks/", "/base/new/"),
        ("/hooks/a/b?c=/../d&e=%2f", "/base/new/a/b?c=/../d&e=%2f"),
        ("/hooks/caf%C3%A9", "/base/new/caf%C3%A9"),
        ("/hooks/administrator", "/base/new/administrator"),
        ("/hooks/admin", "path_not_matched"),
        ("/hooks/admin/", "path_not_matched"),
        ("/hooks/admin/x?y", "path_not_matched"),
        ("/hooks//admin", "bad_request"),
        ("/hooks/./admin", "bad_request"),
        ("/hooks/x/../admin", "bad_request"),
        ("/hooks/%61dmin", "bad_request"),
        ("/hooks%2fadmin", "bad_request"),
        ("/hooks/..%2f..%2fbase", "bad_request"),
        ("/hooks/%2e%2e/admin", "bad_request"),
        ("/hooks/admin;x=1", "bad_request"),
        ("/hooks\\\\admin", "bad_request"),
        ("/hooksadmin", "path_not_matched"),
    ],
)
def test_g8_no_mapped_path_leads_past_a_rule(
    mapped: Hookward, lasting_upstream: RecordingUpstream, target: str, word: str
) -> None:
    assert sent(mapped, lasting_upstream, request(target=target, content=b"{}")) == word


def test_g8_the_guarded_path_asks_for_its_signature(mapped: Hookward, lasting_upstream: RecordingUpstream) -> None:
    data = request(target="/new/admin", content=b"{}", fields=github(SECRET, b"{}"))
    assert sent(mapped, lasting_upstream, data) == "/base/new/admin"
    assert sent(mapped, lasting_upstream, request(target="/new/admin", content=b"{}")) == "signature_missing"


@pytest.mark.parametrize(
    ("target", "word"),
    [
        (f"/in/{WORD}", "/base/in"),
        (f"/in/{WORD}/github?x=1", "/base/in/github?x=1"),
        (f"/in/{WORD}/admin", "path_not_matched"),
        (f"/in/{WORD}x", "token_mismatch"),
        (f"/in/{WORD[:-1]}", "token_mismatch"),
        (f"/in/wrong/{WORD}", "token_mismatch"),
        ("/in/", "token_missing"),
        ("/in", "path_not_matched"),
        (f"/in/{WORD}/..", "bad_request"),
        (f"/in/x/%2e%2e/{WORD}", "bad_request"),
        ("/in/admin", "signature_missing"),
    ],
)
def test_g9_a_token_in_the_path_is_judged_and_travels_no_further(
    mapped: Hookward, lasting_upstream: RecordingUpstream, target: str, word: str
) -> None:
    assert sent(mapped, lasting_upstream, request(target=target, content=b"{}")) == word
    for one in lasting_upstream.complete:
        assert WORD.encode() not in repr(one).encode()


def test_g9_a_token_in_the_path_is_shown_nowhere(mapped: Hookward) -> None:
    for target in (f"/in/{WORD}/shown", f"/in/{WORD}/admin", f"/in/{WORD}"):
        once(mapped.address, request(target=target, content=b"{}"))
    assert mapped.logged({"url.path": "/in/{token}/shown"})
    assert mapped.logged({"url.path": "/in/{token}", "webhook.detail": "mapped_path", "http.route": "token"})
    status = once(mapped.addresses[-1], request("GET", "/status", host="127.0.0.1"), method="GET").content.decode()
    assert "/in/{token}" in [one["path"] for one in json.loads(status)["routes"]]
    metrics = once(mapped.addresses[-1], request("GET", "/metrics", host="127.0.0.1"), method="GET").content.decode()
    assert WORD not in status + metrics + mapped.out.text + mapped.err.text


def test_what_is_signed_is_the_public_url(mapped: Hookward, lasting_upstream: RecordingUpstream) -> None:
    target, body = "/signed/a?b=%20c", b'{"a":1}'
    for url, word in (
        (f"https://hooks.example.com{target}", "/base/app/a?b=%20c"),
        ("https://hooks.example.com/base/app/a?b=%20c", "signature_mismatch"),
    ):
        mac = hmac.new(SECRET, f"POST {url}\n".encode() + body, hashlib.sha256).hexdigest()
        data = request(target=target, content=body, fields={"X-Signature": mac})
        assert sent(mapped, lasting_upstream, data) == word


def test_an_endpoint_check_goes_to_the_mapped_path(mapped: Hookward, lasting_upstream: RecordingUpstream) -> None:
    lasting_upstream.renew()
    assert once(mapped.address, request("GET", "/check?challenge=abc"), method="GET").status == 200
    assert lasting_upstream.wait_complete()[0].target == b"/base/app/check/?challenge=abc"


def test_on_a_unix_socket_and_under_tls(configured: Configured, certificates: Certificates, tmp_path: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.cert, certificates.key)
    with RecordingUpstream(tmp_path / "app.sock") as local, RecordingUpstream(tls=server) as remote:
        text = (
            f'listen = ["127.0.0.1:0"]\nupstream_tls = {{ ca = "{certificates.ca}" }}\n'
            f'[route.local]\npath = "/local"\nopen = true\nupstream = "{local.url}:/base"\nrewrite = "/"\n'
            f'[route.remote]\npath = "/remote"\nopen = true\nupstream = "{remote.url}/base/"\n'
        )
        hookward = configured(text)
        for target, upstream, asked in (("/local/a?b", local, b"/base/a?b"), ("/remote/a", remote, b"/base/remote/a")):
            assert once(hookward.address, request(target=target, content=b"{}")).status == 200
            assert [one.target for one in upstream.wait_complete()] == [asked]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_reads_what_was_meant(configured: Configured, tmp_path: Path) -> None:
    """A server that resolves dots and slashes by itself finds nothing to resolve."""
    port = free_port()
    inner = "location /base/new/admin { return 200 admin; } location /base/new { return 200 $request_uri; }"
    hookward = configured(
        f'listen = ["127.0.0.1:0"]\nupstream = "http://127.0.0.1:{port}/base"\n'
        '[route.mapped]\npath = "/hooks"\nrewrite = "/new"\nopen = true\n'
        '[route.guarded]\npath = "/new/admin"\nopen = true\nallow = ["192.0.2.1"]\n'
    )
    with running(nginx(tmp_path, f"server {{ listen 127.0.0.1:{port}; {inner} }}"), port):
        assert once(hookward.address, request(target="/hooks/a?b", content=b"{}")).content == b"/base/new/a?b"
        for target in ("/hooks/admin", "/hooks/admin/", "/hooks/x/../admin", "/hooks/%61dmin", "/hooks/./admin"):
            assert once(hookward.address, request(target=target, content=b"{}")).status in {400, 404}
