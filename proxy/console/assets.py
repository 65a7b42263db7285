"""The files that go with the pages, as they lie in the package: read once, and served under fixed names.

Nothing of them comes from elsewhere, and the policy that goes with each answer lets a browser load nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from proxy.net.http_server import Answer

_KINDS: Mapping[str, bytes] = {
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
    "png": b"image/png",
    "ico": b"image/x-icon",
    "txt": b"text/plain; charset=utf-8",
}

#: What goes with every answer of the console. No script but ours, no text that becomes markup, no frame, no other host.
GUARDS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"Content-Security-Policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
            b"require-trusted-types-for 'script'; trusted-types 'none'"
        ),
    ),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Permissions-Policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


_PACKAGE = files("proxy.console")


def _served() -> dict[str, Answer]:
    found = {}
    for file in _PACKAGE.joinpath("static").iterdir():
        kind = _KINDS.get(file.name.rpartition(".")[2])
        if file.is_file() and kind is not None:
            found[f"/{file.name}"] = Answer(200, kind, file.read_bytes())
    return found


# Read with the module: the user that the process becomes may not be able to read the package.
#: Every file that goes with the pages, by the path that it is served at.
FILES: Mapping[str, Answer] = _served()
#: What a browser without a credential is shown.
CLOSED = _PACKAGE.joinpath("closed.html").read_bytes()
OPENAPI = _PACKAGE.joinpath("openapi.json").read_bytes()
