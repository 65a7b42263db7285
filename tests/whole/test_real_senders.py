"""Deliveries signed by code that is not ours, sent by programs that are not ours, and checked again behind us.

* GitHub: ``openssl dgst`` and GitHub's own ``@octokit/webhooks-methods``; JSON and form-encoded
* Slack: ``slack_sdk``; Bitbucket: ``openssl``; Standard Webhooks: ``standardwebhooks``
* senders: curl and ``http.client``, both over TLS
"""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import time
from urllib.parse import urlencode

import pytest
import standardwebhooks
from slack_sdk.signature import SignatureVerifier

from tests.whole.conftest import Certificates
from tests.whole.process import Hookward
from tests.whole.recorder import Received, RecordingUpstream

Start = Callable[..., Hookward]
GITHUB_SECRET = "It's a Secret to Everybody"
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
STANDARD_SECRET = "whsec_" + base64.b64encode(b"24 to 64 bytes are asked for").decode()
PUSH = '{"ref":"refs/heads/main","zen":"Non-blocking is better than blocking. \N{SNOWMAN}"}'.encode()
FORM = urlencode({"payload": PUSH.decode()}).encode()
OPENSSL = shutil.which("openssl")
CURL = shutil.which("curl")


def openssl_hmac(secret: str, content: bytes) -> str:
    """The hex HMAC-SHA-256 by the openssl command."""
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run(
        [OPENSSL, "dgst", "-sha256", "-hmac", secret, "-r"], input=content, capture_output=True, check=True
    )
    return done.stdout.split()[0].decode()


@pytest.fixture(scope="session")
def octokit(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], str]:
    """GitHub's own signing function, by node."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("node or npm is not installed")
    folder = tmp_path_factory.mktemp("octokit")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "@octokit/webhooks-methods"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=40)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"npm cannot install @octokit/webhooks-methods: {type(error).__name__}")
    script = folder / "sign.mjs"
    script.write_text(
        """
        import { sign } from "@octokit/webhooks-methods";
        const pieces = [];
        for await (const piece of process.stdin) pieces.push(piece);
        process.stdout.write(await sign(process.argv[2], Buffer.concat(pieces).toString("utf8")));
        """
    )

    def sign(secret: str, content: bytes) -> str:
        done = subprocess.run([node, str(script), secret], input=content, capture_output=True, check=True, timeout=20)
        return done.stdout.decode()

    return sign


@pytest.fixture
def guarded(start: Start, upstream: RecordingUpstream, certificates: Certificates, tmp_path: Path) -> Start:
    """hookward with TLS and one provider."""

    def begin(provider: str, secret: str) -> Hookward:
        path = tmp_path / f"{provider}.secret"
        path.write_text(secret + "\n")
        return start(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url),
            *("--tls-cert", certificates.cert, "--tls-key", certificates.key),
            *("--path", "/hooks", "--provider", provider, "--secret-file", path),
            secrets=[secret.encode()],
        )

    return begin


def post(hookward: Hookward, certificates: Certificates, fields: dict[str, str], content: bytes) -> tuple[int, str]:
    """Send by ``http.client`` over TLS."""
    connection = http.client.HTTPSConnection("localhost", hookward.port, context=certificates.client, timeout=15)
    try:
        connection.request("POST", "/hooks", content, fields)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def curl(hookward: Hookward, certificates: Certificates, fields: dict[str, str], content: bytes) -> tuple[int, str]:
    """Send by curl over TLS."""
    if CURL is None:
        pytest.skip("curl is not installed")
    command = [CURL, "-sS", "--cacert", str(certificates.ca), "--max-time", "15", "-w", "\n%{http_code}"]
    for name, value in fields.items():
        command += ["-H", f"{name}: {value}"]
    command += ["--data-binary", "@-", f"https://localhost:{hookward.port}/hooks"]
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    text, _, status = done.stdout.decode().rpartition("\n")
    return int(status), text


@pytest.fixture(params=[post, curl], ids=["http.client", "curl"])
def send(request: pytest.FixtureRequest) -> Callable[..., tuple[int, str]]:
    send: Callable[..., tuple[int, str]] = request.param
    return send


def github_fields(signature: str, kind: str = "application/json") -> dict[str, str]:
    return {
        "User-Agent": "GitHub-Hookshot/044aadd",
        "Content-Type": kind,
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-Hub-Signature-256": signature,
    }


def only(upstream: RecordingUpstream) -> Received:
    [got] = upstream.wait_complete()
    assert upstream.seen == [got]
    return got


@pytest.mark.parametrize(
    ("kind", "content"), [("application/json", PUSH), ("application/x-www-form-urlencoded", FORM)], ids=["json", "form"]
)
class TestGitHub:
    def test_signed_by_openssl(
        self,
        guarded: Start,
        upstream: RecordingUpstream,
        certificates: Certificates,
        send: Callable[..., tuple[int, str]],
        kind: str,
        content: bytes,
    ) -> None:
        hookward = guarded("github", GITHUB_SECRET)
        signature = "sha256=" + openssl_hmac(GITHUB_SECRET, content)
        assert send(hookward, certificates, github_fields(signature, kind), content + b" ")[0] == 403
        assert send(hookward, certificates, github_fields(signature, kind), content) == (200, "ok\n")
        got = only(upstream)
        assert got.content == content
        assert got.get(b"Content-Type") == kind.encode()
        assert "sha256=" + openssl_hmac(GITHUB_SECRET, got.content) == (got.get(b"X-Hub-Signature-256") or b"").decode()

    def test_signed_by_octokit(
        self,
        guarded: Start,
        upstream: RecordingUpstream,
        certificates: Certificates,
        octokit: Callable[[str, bytes], str],
        kind: str,
        content: bytes,
    ) -> None:
        hookward = guarded("github", GITHUB_SECRET)
        assert post(hookward, certificates, github_fields(octokit("another", content), kind), content)[0] == 403
        assert post(hookward, certificates, github_fields(octokit(GITHUB_SECRET, content), kind), content)[0] == 200
        assert only(upstream).content == content


def test_github_documentation_example(guarded: Start, upstream: RecordingUpstream, certificates: Certificates) -> None:
    hookward = guarded("github", GITHUB_SECRET)
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert post(hookward, certificates, github_fields(signature), b"Hello, World!")[0] == 200
    assert only(upstream).content == b"Hello, World!"


def test_bitbucket_signed_by_openssl(guarded: Start, upstream: RecordingUpstream, certificates: Certificates) -> None:
    hookward = guarded("bitbucket", "bitbucket-secret-5")
    fields = {
        "X-Event-Key": "repo:push",
        "X-Request-UUID": "4b8a1ba1-1a2b",
        "X-Hub-Signature": "sha256=" + openssl_hmac("bitbucket-secret-5", PUSH),
    }
    assert post(hookward, certificates, fields, PUSH + b"\n")[0] == 403
    assert post(hookward, certificates, fields, PUSH)[0] == 200
    got = only(upstream)
    assert got.content == PUSH
    assert b"bitbucket" in (got.get(b"Webhook-Verified") or b"")


def test_slack_signed_and_verified_again_by_slack_sdk(
    guarded: Start, upstream: RecordingUpstream, certificates: Certificates, send: Callable[..., tuple[int, str]]
) -> None:
    hookward = guarded("slack", SLACK_SECRET)
    content = urlencode({"command": "/deploy", "text": "now \N{SNOWMAN}", "token": "x"}).encode()
    theirs = SignatureVerifier(SLACK_SECRET)

    def fields(at: float) -> dict[str, str]:
        stamp = str(int(at))
        signature = theirs.generate_signature(timestamp=stamp, body=content)
        kind = "application/x-www-form-urlencoded"
        return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": str(signature), "Content-Type": kind}

    assert send(hookward, certificates, fields(time() - 3600), content)[1].startswith("timestamp_too_old ")
    assert send(hookward, certificates, fields(time()), content) == (200, "ok\n")
    got = only(upstream)
    crossed = {name.decode(): value.decode() for name, value in got.fields}
    assert theirs.is_valid_request(got.content, crossed)


def test_standard_webhooks_signed_and_verified_again_by_their_library(
    guarded: Start, upstream: RecordingUpstream, certificates: Certificates, send: Callable[..., tuple[int, str]]
) -> None:
    hookward = guarded("standard_webhooks", STANDARD_SECRET)
    theirs = standardwebhooks.Webhook(STANDARD_SECRET)

    def fields(at: dt.datetime) -> dict[str, str]:
        signature = theirs.sign("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", at, PUSH.decode())
        return {
            "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": f"v1,{base64.b64encode(bytes(32)).decode()} v9,unknown {signature}",
        }

    now = dt.datetime.now(tz=dt.UTC)
    late = now - dt.timedelta(hours=1)
    assert send(hookward, certificates, fields(late), PUSH)[1].startswith("timestamp_too_old ")
    assert send(hookward, certificates, fields(now), PUSH + b" ")[1].startswith("signature_mismatch ")
    assert send(hookward, certificates, fields(now), PUSH) == (200, "ok\n")
    got = only(upstream)
    crossed = {name.decode().lower(): value.decode() for name, value in got.fields}
    assert theirs.verify(got.content, crossed)["ref"] == "refs/heads/main"
