"""What is sent: a push as GitHub sends it, 14 fields, signed; 8 KiB of JSON, or 25 MiB in one piece or in chunks."""

from __future__ import annotations

import hashlib
import hmac
import json

SECRET = b"bench-secret-not-secret"
SIZE = 8 * 1024
CHUNK = 16 * 1024
PATH = "/hooks/github"
SEVERAL = 16


def body(size: int = SIZE, number: int = 0) -> bytes:
    """A JSON text of exactly ``size`` bytes, another one for each ``number``."""
    pad = f"{number:04x}"
    text = json.dumps({"ref": "refs/heads/main", "forced": False, "pad": pad}, separators=(",", ":"))
    return (text[:-2] + "x" * (size - len(text)) + text[-2:]).encode()


def fields(
    content: bytes, *, secret: bytes = SECRET, host: str = "hooks.example.com", number: int = 0
) -> dict[str, str]:
    """The 14 fields of a delivery; what is another one in each is so for each ``number``."""
    return {
        "Host": host,
        "User-Agent": "GitHub-Hookshot/044aadd",
        "Content-Length": str(len(content)),
        "Accept": "*/*",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
        "X-GitHub-Delivery": f"72d3162e-cc78-11e3-81ab-4c9367dc{number:04x}",
        "X-GitHub-Event": "push",
        "X-GitHub-Hook-ID": "292430182",
        "X-GitHub-Hook-Installation-Target-ID": "79929171",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
        "X-Hub-Signature": "sha1=" + hmac.new(secret, content, "sha1").hexdigest(),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret, content, hashlib.sha256).hexdigest(),
        "X-Trace": f"0af7651916cd43dd8448eb211c80{number:04x}",
    }


def request(
    content: bytes,
    *,
    secret: bytes = SECRET,
    chunked: bool = False,
    close: bool = False,
    path: str = PATH,
    number: int = 0,
) -> bytes:
    """The delivery's bytes; ``chunked`` in pieces of 16 KiB, ``close`` with a wish for no other on this connection."""
    named = fields(content, secret=secret, number=number)
    if chunked:
        del named["Content-Length"]
        named["Transfer-Encoding"] = "chunked"
    if close:
        named["Connection"] = "close"
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + (in_chunks(content) if chunked else content)


def several(*, secret: bytes = SECRET, close: bool = False) -> list[bytes]:
    """Deliveries of 8 KiB of which no two have a content, a signature or an id in common, as senders send them."""
    return [request(body(SIZE, number), secret=secret, close=close, number=number) for number in range(SEVERAL)]


def in_chunks(content: bytes) -> bytes:
    pieces = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
