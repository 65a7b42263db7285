"""What is sent: a push as GitHub sends it, 8 KiB, 14 fields, signed, on kept-alive connections."""

from __future__ import annotations

import hashlib
import hmac
import json

SECRET = b"bench-secret-not-secret"
SIZE = 8 * 1024


def body() -> bytes:
    """A JSON text of exactly ``SIZE`` bytes."""
    text = json.dumps({"ref": "refs/heads/main", "forced": False, "pad": ""}, separators=(",", ":"))
    return (text[:-2] + "x" * (SIZE - len(text)) + text[-2:]).encode()


def fields(content: bytes, *, secret: bytes = SECRET, host: str = "hooks.example.com") -> dict[str, str]:
    """The 14 fields of a delivery."""
    return {
        "Host": host,
        "User-Agent": "GitHub-Hookshot/044aadd",
        "Content-Length": str(len(content)),
        "Accept": "*/*",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": "push",
        "X-GitHub-Hook-ID": "292430182",
        "X-GitHub-Hook-Installation-Target-ID": "79929171",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
        "X-Hub-Signature": "sha1=" + hmac.new(secret, content, "sha1").hexdigest(),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret, content, hashlib.sha256).hexdigest(),
        "X-Trace": "0af7651916cd43dd8448eb211c80319c",
    }


def request(content: bytes, *, secret: bytes = SECRET, path: str = "/hooks/github") -> bytes:
    """The delivery's bytes."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields(content, secret=secret).items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def wrk_script(content: bytes) -> str:
    """The same as a Lua script for wrk. wrk sets Content-Length itself."""
    named = [(name, value) for name, value in fields(content).items() if name != "Content-Length"]
    headers = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in named)
    return f"""wrk.method = "POST"
wrk.body = {json.dumps(content.decode())}
{headers}
done = function(summary, latency, requests)
    io.write(string.format('{{"requests": %d, "duration_us": %d, "bad": %d, "socket_errors": %d, '
        .. '"p50_us": %d, "p99_us": %d, "p999_us": %d}}\\n',
        summary.requests, summary.duration, summary.errors.status,
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""
