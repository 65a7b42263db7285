"""No secret is in anything that hookward prints, answers, logs, tells its operator, or shows of its command line.

Every kind of secret, and every form that one is easily written in: as it is, quoted, escaped, in hex, in base64; and
the right signature of a forged delivery, which is as good as a secret to its sender.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus
from urllib.request import urlopen

import pytest

from tests.whole.process import ROOT, Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import PATIENCE_S, Client, github, request

#: Each with bytes that quoting, escaping and encoding change.
SECRETS = {
    "signing": b's1gning & seCret/\xc3\xa9+ "key"',
    "rotated": b"r0tated=signing%20secret?",
    "query": b"qu3ry-t0ken~value.7731",
    "bearer": b"b3arer+t0ken/value==",
    "header": b"h3ader.t0ken-value",
    "basic": b"user:pa55word & more",
    "verify": b"v3rify-t0ken.value",
    "environment": b"env1ronment-secret/value",
}
CONFIG = """
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
upstream = "{upstream}"
log_level = "debug"
log_format = "json"

[route.github]
path = "/github"
provider = "github"
secrets = [{{ name = "now", from = "file:{folder}/signing" }}, {{ name = "before", from = "file:{folder}/rotated" }}]

[route.env]
path = "/env"
provider = "github"
secrets = ["env:HOOK_SECRET"]

[route.query]
path = "/query"
token = {{ query = "token", secrets = ["file:{folder}/query"] }}

[route.bearer]
path = "/bearer"
token = {{ bearer = true, secrets = ["file:{folder}/bearer"] }}

[route.header]
path = "/header"
token = {{ header = "X-Gitlab-Token", secrets = ["file:{folder}/header"] }}

[route.basic]
path = "/basic"
token = {{ basic = true, secrets = ["file:{folder}/basic"] }}

[route.meta]
path = "/meta"
provider = "whatsapp"
handshake = "answer"
verify_token = "file:{folder}/verify"
secrets = ["file:{folder}/signing"]
"""
BODY = b'{"forged":true}'


def forms(secret: bytes) -> set[bytes]:
    """How somebody might have written it down. Parts of two words' length stand for the whole."""
    text = secret.decode()
    found = {
        secret,
        secret.hex().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    }
    found |= {quote(text).encode(), quote_plus(text).encode(), repr(secret)[2:-1].encode(), ascii(text)[1:-1].encode()}
    found |= {text.partition(":")[2].encode() or secret, hashlib.sha256(secret).hexdigest().encode()}
    return found | {secret[:12]}


def basic(value: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(value).decode()}


def tokens(change: bytes = b"") -> list[bytes]:
    """A request by each kind of token, right or with ``change`` behind it."""
    query, bearer, header = ((SECRETS[name] + change).decode("latin-1") for name in ("query", "bearer", "header"))
    return [
        request("POST", f"/query?a=b&token={quote(query, safe='')}&c=d", {}, BODY),
        request("POST", "/bearer", {"Authorization": f"Bearer {bearer}"}, BODY),
        request("POST", "/header", {"X-Gitlab-Token": header}, BODY),
        request("POST", "/basic", basic(SECRETS["basic"] + change), BODY),
        request(
            "GET", f"/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token={(SECRETS['verify'] + change).decode()}"
        ),
    ]


def conversations() -> list[bytes]:
    """Genuine, forged, malformed and misplaced requests of every route."""
    good = [request("POST", "/github", github(SECRETS[name], BODY), BODY) for name in ("signing", "rotated")]
    good.append(request("POST", "/env", github(SECRETS["environment"], BODY), BODY))
    forged = [request("POST", path, github(b"guess", BODY), BODY) for path in ("/github", "/env", "/meta")]
    # What diagnosis looks for: near misses, for which it tries the right secret.
    near = [
        request("POST", "/github", github(SECRETS["signing"] + b"\n", BODY), BODY),
        request("POST", "/github", github(SECRETS["signing"], BODY), BODY + b"\n"),
        request("POST", "/github", github(SECRETS["environment"], BODY), BODY),
        request("POST", "/github", github(SECRETS["signing"], BODY) | {"X-Hub-Signature-256": "sha256=xyz"}, BODY),
    ]
    lost = [request("POST", "/nowhere", {}, BODY), request("POST", "/github", {}, BODY), b"nonsense\r\n\r\n"]
    return [
        *good,
        *forged,
        *near,
        *lost,
        *tokens(),
        *tokens(b"x"),
        *(data.replace(b"POST /", b"PUT /") for data in good),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, secret in SECRETS.items():
        (tmp_path / name).write_bytes(secret)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def command(folder: Path, *argv: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *argv],
        cwd=ROOT,
        env=environment({"HOOK_SECRET": SECRETS["environment"].decode()}),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_l1_no_secret_is_in_any_output(folder: Path) -> None:
    outputs: dict[str, bytes] = {}
    config = folder / "hookward.toml"
    with RecordingUpstream() as upstream:
        config.write_text(CONFIG.format(upstream=upstream.url, folder=folder))
        hookward = Hookward("--config", str(config), env={"HOOK_SECRET": SECRETS["environment"].decode()}, listeners=2)
        try:
            statuses = set()
            for number, data in enumerate(conversations()):
                with Client(hookward.address) as client:
                    answer = client.ask(data)
                    statuses.add(answer.status)
                    outputs[f"answer {number}"] = answer.head + answer.content
            assert statuses == {200, 400, 401, 403, 404, 405}
            assert hookward.said("why "), "diagnosis has had its turn"
            host, port = hookward.addresses[1]
            for page in ("livez", "readyz", "metrics", "status"):
                with urlopen(f"http://{host}:{port}/{page}", timeout=PATIENCE_S) as answer:
                    outputs[page] = answer.read()
            outputs["command line"] = Path(f"/proc/{hookward.pid}/cmdline").read_bytes()
            [query] = [one for one in upstream.seen if b"/query" in one.target]
            outputs["query of the application"] = query.target
        finally:
            hookward.stop()
        outputs["log"], outputs["journal"] = hookward.out.text.encode(), hookward.err.text.encode()
    saved = folder / "saved.http"
    saved.write_bytes(request("POST", "/github", github(b"guess", BODY), BODY))
    for argv in (["check", "-c"], ["explain", str(saved), "-c"], ["unit", "-c"]):
        outputs[" ".join(argv[:1])] = command(folder, *argv, str(config))
    # Mistakes around secrets are told with their place, not with what is there.
    config.write_text(
        config.read_text().replace("file:", "flie:").replace('provider = "github"', 'provider = "gihtub"')
    )
    outputs["check of mistakes"] = command(folder, "check", "-c", str(config))
    assert all(outputs.values()), "each has something to say"
    assert b"signature_mismatch" in outputs["log"]
    hidden = {form for secret in SECRETS.values() for form in forms(secret)}
    hidden |= {hmac.new(SECRETS[name], BODY, hashlib.sha256).hexdigest().encode() for name in ("signing", "rotated")}
    assert [(where, form) for where, text in outputs.items() for form in hidden if form in text] == []


def test_l1_the_forms_of_a_secret_are_found() -> None:
    assert {b"user:pa55word & more", b"pa55word & more", b"user%3Apa55word%20%26%20more"} <= forms(SECRETS["basic"])
