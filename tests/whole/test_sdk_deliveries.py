"""Deliveries signed by the providers' own SDKs, or published by them, through a running hookward.

They were signed long ago (``tests/vectors``), so each group runs before a hookward whose clock stands at that time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.core.schemes import find
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import once

FOLDER = Path(__file__).parents[1] / "vectors"
VECTORS = [vector for path in sorted(FOLDER.glob("*.json")) for vector in json.loads(path.read_text())]
TIMES = sorted({vector["now"] for vector in VECTORS})
ORIGIN = "https://hooks.example.com"


def of(instant: float) -> list[dict[str, Any]]:
    return [vector for vector in VECTORS if vector["now"] == instant]


def signs_target(vector: dict[str, Any]) -> bool:
    provider = find(vector["provider"])
    assert provider is not None
    assert provider.scheme is not None
    return provider.scheme.signs_url or "target}" in provider.scheme.signed


def configuration(upstream: str, vectors: list[dict[str, Any]], folder: Path) -> str:
    """A route for each vector, at a path of its own."""
    text = f'listen = ["127.0.0.1:0"]\nupstream = "{upstream}"\n'
    for number, vector in enumerate(vectors):
        text += route(f"r{number}", f"/r{number}", vector, folder)
    return text


def route(name: str, path: str, vector: dict[str, Any], folder: Path) -> str:
    secret = folder / f"{name}.secret"
    secret.write_text(vector["secret"])
    secret.chmod(0o600)
    topics = f"topics = {vector['topics']}" if "topics" in vector else ""
    return f"""
[route.{name}]
path = "{path}"
methods = ["{vector["method"]}"]
provider = "{vector["provider"]}"
secrets = ["file:{secret}"]
{topics}
"""


def raw(vector: dict[str, Any], path: str, body: bytes) -> bytes:
    lines = [f"{vector['method']} {path} HTTP/1.1", "Host: hooks.example.com"]
    lines += [f"{name}: {value}" for name, value in vector["headers"]]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("instant", TIMES)
def test_signed_by_the_providers_own_code(
    instant: float, start: Callable[..., Hookward], upstream: RecordingUpstream, tmp_path: Path
) -> None:
    vectors = [vector for vector in of(instant) if vector["method"] == "POST" and not signs_target(vector)]
    (tmp_path / "hookward.toml").write_text(configuration(upstream.url, vectors, tmp_path))
    hookward = start(
        "--config",
        tmp_path / "hookward.toml",
        module=("tests.whole.pinned", str(instant)),
        secrets=[vector["secret"].encode() for vector in vectors],
    )
    for number, vector in enumerate(vectors):
        body = vector["body"].encode()
        query = vector["target"].partition("?")[2]
        path = f"/r{number}" + (f"?{query}" if query else "")
        answer = once(hookward.address, raw(vector, path, body))
        assert answer.status == 200, (vector["provider"], vector["source"], answer.content)
        assert upstream.complete[-1].content == body
        if vector["covered"] and body:
            forged = once(hookward.address, raw(vector, path, body[:-1] + bytes([body[-1] ^ 1])))
            assert forged.status in {401, 403}, (vector["provider"], vector["source"], forged.content)
    assert len(upstream.complete) == len(vectors)


URLS = [vector for vector in VECTORS if vector["method"] == "POST" and signs_target(vector)]


@pytest.mark.parametrize("whole", [True, False], ids=["whole_url", "origin"])
@pytest.mark.parametrize("vector", URLS, ids=[f"{vector['provider']}-{vector['source']}" for vector in URLS])
def test_a_url_signed_by_the_providers_own_code(
    vector: dict[str, Any], start: Callable[..., Hookward], upstream: RecordingUpstream, tmp_path: Path, whole: bool
) -> None:
    text = f'listen = ["127.0.0.1:0"]\nupstream = "{upstream.url}"\n' + route("a", "/in", vector, tmp_path)
    text += f'public_url = "{ORIGIN + vector["target"] if whole else ORIGIN}"\n'
    (tmp_path / "hookward.toml").write_text(text)
    module = ("tests.whole.pinned", str(vector["now"]))
    hookward = start("--config", tmp_path / "hookward.toml", module=module, secrets=[vector["secret"].encode()])
    body = vector["body"].encode()
    answer = once(hookward.address, raw(vector, vector["target"], body))
    assert answer.status == 200, answer.content
    assert upstream.complete[-1].content == body
    elsewhere = (
        vector["target"].replace("/in", "/in/x", 1)
        if whole
        else vector["target"] + ("&b=3" if "?" in vector["target"] else "?b=3")
    )
    for target, content in ((vector["target"], body[:-1] + bytes([body[-1] ^ 1])), (elsewhere, body)):
        assert once(hookward.address, raw(vector, target, content)).status == 403
    assert len(upstream.complete) == 1


def test_there_are_enough_of_them() -> None:
    assert len({vector["provider"] for vector in VECTORS if vector["method"] == "POST"}) >= 15
