"""``hookward send`` through a running hookward, judged behind it by the providers' own SDKs: what is sent is what the
provider sends, and it arrives as it was sent.

The SDKs are in an environment of their own (``make .venv/receivers.stamp``); those of node, below it.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proxy.core.schemes import PROVIDERS
from proxy.tools import send
from proxy.tools.providers import make_secret
from proxy.tools.samples import Moment, body_of, samples_of
from tests.whole.conftest import Start
from tests.whole.process import Hookward
from tests.whole.receivers.place import NODE, PYTHON, needs
from tests.whole.recorder import Received, RecordingUpstream

HERE = Path(__file__).parent / "receivers"

#: What is sent (provider, event, further flags), and what the SDK reads out of it.
SENT_TO_PYTHON = {
    ("github",): "push octo/hello",
    ("github", "--form"): "push octo/hello",
    ("github", "ping"): "ping octo/hello",
    ("github", "pull_request"): "pull_request octo/hello",
    ("github", "issues", "--form"): "issues octo/hello",
    ("gitlab",): "Push Hook octo/hello",
    ("gitlab", "merge_request"): "Merge Request Hook octo/hello open",
    ("gitlab_signing_token",): "push",
    ("stripe",): "checkout.session.completed checkout.session False",
    ("stripe", "payment_intent.succeeded"): "payment_intent.succeeded payment_intent False",
    ("slack",): "app_mention <@U0HELLO> good morning",
    ("slack", "url_verification"): '{"challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}',
    ("slack", "command"): "/deploy hello to production",
    ("slack", "block_actions"): "deploy hello",
    ("twilio",): "+15550101 Good morning & hello, zażółć",
    ("twilio", "call"): "+15550101 ringing",
    ("twilio", "message_status"): "+15550100 delivered",
    ("standard_webhooks",): "user.created",
    ("svix",): "user.created",
    ("sendgrid",): "processed delivered",
    ("discord",): "deploy",
    ("discord", "ping"): "ping",
}
SENT_TO_NODE = {
    ("github",): "push octo/hello",
    ("github", "--form"): "form octo/hello",
    ("github", "pull_request"): "pull_request octo/hello",
    ("linear",): "Issue create HEL-7",
    ("shopify",): "ORDERS_CREATE example.myshopify.com 2025-01",
    ("shopify", "app/uninstalled"): "APP_UNINSTALLED example.myshopify.com 2025-01",
}
#: The definition in GitHub's schema of its events.
GITHUB_EVENTS = {
    "push": "push$event",
    "ping": "ping$event",
    "pull_request": "pull_request$opened",
    "issues": "issues$opened",
    "issue_comment": "issue_comment$created",
    "release": "release$published",
    "create": "create$event",
    "delete": "delete$event",
}


class Guarded:
    """One hookward with a route for each provider, whose configuration ``send`` reads as well."""

    def __init__(self, start: Start, upstream: RecordingUpstream, folder: Path, providers: Sequence[str]) -> None:
        self.upstream = upstream
        self.folder = folder
        self.secrets: dict[str, str] = {}
        self.publics: dict[str, str] = {}
        self.config = folder / "hookward.toml"
        text = f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\n'
        self.config.write_text(text + "".join(self._route(provider) for provider in providers))
        self.hookward: Hookward = start(
            "--config", self.config, secrets=[one.encode() for one in self.secrets.values()]
        )

    def _route(self, provider: str) -> str:
        if provider in {"sendgrid", "discord"}:
            secret = self._keys(provider)
        else:
            secret = self.secrets[provider] = make_secret(PROVIDERS[provider])
        path = self.folder / f"{provider}.secret"
        path.write_text(secret)
        path.chmod(0o600)
        public_url = '\npublic_url = "https://hooks.example.com"' if provider == "twilio" else ""
        return f"""
[route.{provider}]
path = "/{provider}"
provider = "{provider}"
secrets = ["file:{path}"]{public_url}
"""

    def _keys(self, provider: str) -> str:
        """A pair of keys: the private one in a file for ``send``; the public one as the provider shows it."""
        key: Any
        if provider == "discord":
            key = ed25519.Ed25519PrivateKey.generate()
            public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        else:
            key = ec.generate_private_key(ec.SECP256R1())
            public = base64.b64encode(
                key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ).decode()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self.folder / f"{provider}.pem"
        path.write_bytes(private)
        self.publics[provider] = public
        return str(public)

    def send(self, *words: str) -> int:
        url = f"http://{self.hookward.address[0]}:{self.hookward.port}/{words[0]}"
        keys = ["--secret-file", str(self.folder / f"{words[0]}.pem")] if words[0] in self.publics else []
        return send.main([*words, "--config", str(self.config), "--url", url, *keys])

    def case(self, provider: str, got: Received, body: bytes) -> dict[str, Any]:
        return {
            "provider": provider,
            "secret": self.secrets.get(provider, ""),
            "public": self.publics.get(provider, ""),
            "url": f"https://hooks.example.com/{provider}",
            "fields": [(name.decode(), value.decode()) for name, value in got.fields],
            "body": base64.b64encode(body).decode(),
        }


@pytest.fixture
def judged(start: Start, upstream: RecordingUpstream, tmp_path: Path) -> Callable[..., tuple[list[str], list[str]]]:
    def run(sent: Sequence[tuple[str, ...]], command: Sequence[object]) -> tuple[list[str], list[str]]:
        """What is made of each, and of each with one byte of it changed."""
        guarded = Guarded(start, upstream, tmp_path, sorted({words[0] for words in sent}))
        assert {words: guarded.send(*words) for words in sent} == dict.fromkeys(sent, 0)
        came = upstream.wait_complete(len(sent))
        cases = []
        for words, got in zip(sent, came, strict=True):
            at = len(got.content) // 2
            while not got.content[at : at + 1].isalpha() or b"%" in got.content[at - 2 : at]:
                at += 1
            spoilt = got.content[:at] + got.content[at : at + 1].swapcase() + got.content[at + 1 :]
            cases += [guarded.case(words[0], got, got.content), guarded.case(words[0], got, spoilt)]
        done = subprocess.run(
            [str(word) for word in command],
            input=json.dumps(cases).encode(),
            stdout=subprocess.PIPE,
            check=True,
            timeout=50,
        )
        verdicts: list[str] = json.loads(done.stdout)
        return verdicts[::2], verdicts[1::2]

    return run


def expect(sent: dict[tuple[str, ...], str], verdicts: tuple[list[str], list[str]]) -> None:
    said, of_spoilt = verdicts
    assert dict(zip(sent, said, strict=True)) == sent
    # The token of GitLab covers nothing of the body.
    admitted = {words for words, one in zip(sent, of_spoilt, strict=True) if not one.startswith("refused: ")}
    assert {words[0] for words in admitted} <= {"gitlab"}


@needs(PYTHON)
def test_the_sdks_take_what_is_sent(judged: Callable[..., tuple[list[str], list[str]]]) -> None:
    expect(SENT_TO_PYTHON, judged(list(SENT_TO_PYTHON), [PYTHON, HERE / "judge.py"]))


@needs(NODE)
def test_the_sdks_for_node_take_what_is_sent(judged: Callable[..., tuple[list[str], list[str]]]) -> None:
    script = NODE.parent / "judge.mjs"  # beside the packages, which node looks for from there
    shutil.copyfile(HERE / "judge.mjs", script)
    expect(SENT_TO_NODE, judged(list(SENT_TO_NODE), [shutil.which("node"), script]))


@needs(NODE)
@pytest.mark.parametrize("event", GITHUB_EVENTS)
def test_a_payload_of_github_is_as_its_schema_has_it(event: str) -> None:
    """With all fields that are required, and none that is not known."""
    schema = json.loads((NODE / "@octokit/webhooks-schemas/schema.json").read_text())
    [sample] = [one for one in samples_of(PROVIDERS["github"]) if one.event == event]
    document = {"$ref": f"#/definitions/{GITHUB_EVENTS[event]}", "definitions": schema["definitions"]}
    payload = json.loads(body_of(sample, Moment(1772356500.0, "id")))
    validator = jsonschema.Draft7Validator(document, format_checker=jsonschema.FormatChecker())
    assert [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(payload)] == []
    assert [*jsonschema.Draft7Validator(document).iter_errors(payload | {"pushed_by": 1})]


def test_every_event_of_github_is_held_to_the_schema() -> None:
    assert {sample.event for sample in samples_of(PROVIDERS["github"])} == set(GITHUB_EVENTS)
