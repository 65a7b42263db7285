"""What is sent: a push as GitHub sends it, 14 fields, signed; 8 KiB of JSON, or 25 MiB in one piece or in chunks."""

from __future__ import annotations

import hashlib
import hmac
import json

SECRET = b"bench-secret-not-secret"
SIZE = 8 * 1024
CHUNK = 16 * 1024
PATH = "/hooks/github"


def body(size: int = SIZE) -> bytes:
    """A JSON text of exactly ``size`` bytes."""
    text = json.dumps({"ref": "refs/heads/main", "forced": False, "pad": ""}, separators=(",", ":"))
    return (text[:-2] + "x" * (size - len(text)) + text[-2:]).encode()


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


def request(
    content: bytes, *, secret: bytes = SECRET, chunked: bool = False, close: bool = False, path: str = PATH
) -> bytes:
    """The delivery's bytes; ``chunked`` in pieces of 16 KiB, ``close`` with a wish for no other on this connection."""
    named = fields(content, secret=secret)
    if chunked:
        del named["Content-Length"]
        named["Transfer-Encoding"] = "chunked"
    if close:
        named["Connection"] = "close"
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + (in_chunks(content) if chunked else content)


def in_chunks(content: bytes) -> bytes:
    pieces = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
