"""What is let in: one-time links that become cookies, tokens, and users of a unix socket; and what goes with answers.

A browser may be made to ask by any page that it shows, so before a credential counts, Host, ``Origin`` and
``Sec-Fetch-Site`` must say that the page is ours. A cookie is a statement signed with a key that all workers of a
folder share, those of the next start too: it names what it allows and until when. Tokens and MACs are compared in
constant time, and none of them is ever shown.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.resources import files

from proxy.config.guarded_files import reach
from proxy.config.settings import ConsoleSettings
from proxy.net.http_server import TEXT, Answer, Request, is_own_origin, names_us
from proxy.values import frozen

READ, ACT = "read", "act"
SESSION_S = 12 * 3600.0
COOKIE = "hookward_console"
FORGET = f"{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0".encode("ascii")
KEY_NAME = "hookward-console.key"
KEY_BYTES = 32
MAX_COOKIES = 4
_SITES = frozenset({b"same-origin", b"none"})


@frozen
class Visitor:
    """What is let in: how the audit log calls it, and whether it may act."""

    name: str
    may_act: bool


class Access:
    """The console's. ``key`` signs cookies; ``hosts`` are names of this host besides those of loopback; ``uid`` is the
    user whose processes may act over a unix socket, as root's.
    """

    def __init__(
        self, settings: ConsoleSettings, key: bytes, hosts: frozenset[str], uid: int, now: Callable[[], float]
    ) -> None:
        self._tokens = [(token, ACT) for token in (settings.act_token,) if token]
        self._tokens += [(token, READ) for token in (settings.read_token,) if token]
        self._key = key
        self._hosts = hosts
        self._uid = uid
        self._now = now

    def judge(self, request: Request) -> Visitor | Answer:
        """What asks, or why it is not let in."""
        refused = self.judge_origin(request)
        if refused is not None:
            return refused
        caller = request.caller
        if request.here is None and caller.uid is not None and caller.uid in (0, self._uid):
            return Visitor(str(caller), may_act=True)
        scope = self._scope(request)
        if scope is None:
            return Answer(401, TEXT, b"credential_required\n", [(b"WWW-Authenticate", b'Bearer realm="hookward"')])
        via = "token" if request.head.get(b"authorization") is not None else "cookie"
        return Visitor(f"{scope} {via} from {caller}", may_act=scope == ACT)

    def judge_origin(self, request: Request) -> Answer | None:
        """Why a request cannot be one of our own page, or None."""
        if not names_us(request, self._hosts):
            return Answer(403, TEXT, b"host_refused\n")
        head = request.head
        site = head.get(b"sec-fetch-site")
        if not is_own_origin(head) or (site is not None and site not in _SITES):
            return Answer(403, TEXT, b"origin_refused\n")
        return None

    def _scope(self, request: Request) -> str | None:
        given = request.head.get(b"authorization")
        if given is not None:
            kind, _, token = given.partition(b" ")
            return self.scope_of(token.strip()) if kind.lower() == b"bearer" else None
        scopes = map(self._read, _values(request.head.get(b"cookie") or b""))
        return next((scope for scope in scopes if scope is not None), None)

    def scope_of(self, token: bytes) -> str | None:
        """What a token allows; None for one that is none."""
        found = None
        for known, scope in self._tokens:
            if hmac.compare_digest(known, token) and found is None:
                found = scope
        return found

    def cookie(self, scope: str, *, secure: bool) -> bytes:
        """The value of ``Set-Cookie`` for one that is let in."""
        statement = f"{scope}.{int(self._now() + SESSION_S)}.{secrets.token_hex(8)}"
        value = f"{statement}.{self._sign(statement)}"
        flags = "; HttpOnly; SameSite=Strict; Path=/" + ("; Secure" if secure else "")
        return f"{COOKIE}={value}{flags}; Max-Age={int(SESSION_S)}".encode("ascii")

    def _read(self, value: str) -> str | None:
        statement, _, mark = value.rpartition(".")
        if not hmac.compare_digest(self._sign(statement).encode(), mark.encode("utf-8", "replace")):
            return None
        scope, until, _ = statement.split(".")
        return scope if self._now() < int(until) else None

    def _sign(self, statement: str) -> str:
        return hmac.new(self._key, statement.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _values(cookies: bytes) -> list[str]:
    """What a ``Cookie`` field has under our name; another server of this host may have set one as well, so a few count.
    ``http.cookies`` takes 0.3 s for 8 KiB of backslashes (CVE-2024-7592), so it is not asked.
    """
    pairs = [pair.strip().partition(b"=") for pair in cookies.split(b";")]
    return [value.decode("latin-1") for name, _, value in pairs if name == COOKIE.encode()][:MAX_COOKIES]


def session_key(folder: str | None) -> bytes:
    """The key in ``folder``, made where it is missing; without a folder, or where that fails, one of this worker."""
    fresh = secrets.token_bytes(KEY_BYTES)
    if folder is None:
        return fresh
    with suppress(OSError), reach(f"{folder}/{KEY_NAME}") as spot:
        with suppress(FileExistsError):
            # Whole at once, under another name, and then linked: two workers that begin together have one key.
            name = f"{KEY_NAME}.{secrets.token_hex(4)}"
            made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=spot.folder)
            try:
                os.write(made, fresh)
                os.link(name, KEY_NAME, src_dir_fd=spot.folder, dst_dir_fd=spot.folder, follow_symlinks=False)
            finally:
                os.close(made)
                os.unlink(name, dir_fd=spot.folder)
        descriptor = spot.open(os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            # One that others could have written, or can read, signs nothing.
            if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
                found = os.read(descriptor, KEY_BYTES + 1)
                return found if len(found) == KEY_BYTES else fresh
        finally:
            os.close(descriptor)
    return fresh


# -- What goes with the pages, as it lies in the package: read once, and served under fixed names. Nothing of it comes
# from elsewhere, and the policy that goes with each answer lets a browser load nothing else.

_KINDS: Mapping[str, bytes] = {
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
}
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
#: What goes with every answer of the console. No script but ours, no text that becomes markup, no frame, no other host.
GUARDS: tuple[tuple[bytes, bytes], ...] = (
    (b"Content-Security-Policy", _POLICY),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Permissions-Policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)

_PACKAGE = files("proxy.console")
# Read with the module: the user that the process becomes may not be able to read the package.
#: Every file that goes with the pages, by the path that it is served at.
FILES: Mapping[str, Answer] = {
    f"/{file.name}": Answer(200, kind, file.read_bytes())
    for file in _PACKAGE.joinpath("static").iterdir()
    if (kind := _KINDS.get(file.name.rpartition(".")[2]))
}
#: What a browser without a credential is shown.
CLOSED = _PACKAGE.joinpath("closed.html").read_bytes()
OPENAPI = _PACKAGE.joinpath("openapi.json").read_bytes()
