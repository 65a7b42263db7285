"""The one gate through which anything of a delivery leaves the console: secrets, signatures, tokens, cookies and
credentials are masked, in fields, in the query and in the body, and there is no way around it.

Masked is what stands where a guard of the route looks for its proof, what a name says is a credential, and every
occurrence of a secret that the route has. How long it was stays visible, and so does a word such as ``sha256=`` before
it. Bodies stay as they came but for that.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from proxy.core.policy import Route
from proxy.core.signing.scheme import Document
from proxy.core.target import TOKEN_SEGMENT
from proxy.core.tokens import Secret, TokenKind
from proxy.http1 import Field, value_of

#: Names of fields and parameters that hold credentials, whoever reads them.
_NAMES = re.compile(
    rb"auth|cookie|credential|token|secret|signature|password|passwd|passphrase|session|api-?_?key"
    rb"|access-?_?key|private-?_?key|(?:^|[-_])(?:sig|sign|pass|pwd|key|hmac|digest|mac|jwt|code)$|csrf|xsrf|x-amz-security",
    re.IGNORECASE,
)
#: Those that only look like it.
_HARMLESS = frozenset({b"content-digest", b"digest", b"author", b"authority"})
_PREFIX = re.compile(rb"[A-Za-z0-9_-]{1,12}[= ]")
#: A signature in a body, where it is written as its provider writes it; the body may be cut behind it.
_IN_JSON = rb'("%b"\s*:\s*")((?:[^"\\]|\\.)*+)'
_IN_FORM = rb"((?:^|&)%b=)([^&]++)"
#: A shorter secret stands in too many places by chance, and is no secret.
_LEAST = 8
_MOST_ROUTES = 4096


def mask_of(size: int) -> bytes:
    """What stands in the place of so many bytes."""
    return b"[masked, %d bytes]" % size


def masked(value: bytes) -> bytes:
    """A credential, masked; the word before it stays where the rest is long enough to be the proof."""
    prefix = _PREFIX.match(value)
    if prefix is not None and len(value) - prefix.end() >= 2 * _LEAST:
        return prefix[0] + mask_of(len(value) - prefix.end())
    return mask_of(len(value)) if value else value


class Masking:
    """What is masked in deliveries of one route; of none, for what no route took."""

    def __init__(self, route: Route | None) -> None:
        self._names: frozenset[bytes] = frozenset()
        self._params: frozenset[bytes] = frozenset()
        self._document: Document | None = None
        self._path_map = None if route is None else route.path_map
        self._secrets: tuple[bytes, ...] = ()
        if route is not None:
            self._learn(route)

    def _learn(self, route: Route) -> None:
        known: list[Secret] = []
        if route.signature is not None:
            self._names |= frozenset(route.signature.scheme.headers)
            self._document = route.signature.scheme.document
            known += route.signature.secrets
        if route.token is not None:
            if route.token.kind is TokenKind.QUERY:
                self._params = frozenset({route.token.name})
            else:
                self._names |= {route.token.name}
            known += route.token.secrets
        parts = {part for one in known for part in (one.value, *one.value.split(b":", 1))} | {route.verify_token or b""}
        self._secrets = tuple(sorted((one for one in parts if len(one) >= _LEAST), key=len, reverse=True))

    def field(self, name: bytes, value: bytes) -> bytes:
        """The value of a field line; ``name`` in lower case."""
        if name not in _HARMLESS and (name in self._names or _NAMES.search(name) is not None):
            return masked(value)
        return self.text(value)

    def fields(self, fields: list[Field]) -> list[tuple[bytes, bytes]]:
        """(name as it was sent, value masked) of each field line."""
        return [(entry[1][: len(entry[0])], self.field(entry[0], value_of(entry))) for entry in fields]

    def target(self, target: bytes) -> bytes:
        """A request target, with the values of its credentials masked."""
        path, mark, query = target.partition(b"?")
        if self._path_map is not None and self._path_map.owns(path):
            # What is no secret of ours may be one with a letter too few, and then what follows is not shown either.
            token = unquote_to_bytes(path[len(self._path_map.prefix) :].partition(b"/")[0])
            path = self._path_map.shown(path, proved=token == TOKEN_SEGMENT or token in self._secrets)
        pairs = [self._pair(pair) for pair in query.split(b"&")] if mark else []
        return self.text(path + mark + b"&".join(pairs))

    def _pair(self, pair: bytes) -> bytes:
        name, sign, value = pair.partition(b"=")
        plain = unquote_to_bytes(name)
        if value and (plain in self._params or _NAMES.search(plain) is not None):
            return name + sign + masked(value)
        return pair

    def body(self, body: bytes) -> bytes:
        """Content, whole or cut, with the signature that is in it and secrets masked."""
        document = self._document
        if document is not None and document.signature is not None:
            if document.kind == "jwt":
                return masked(body)
            key = document.signature.rpartition(".")[2].encode()
            pattern = _IN_FORM if document.kind == "form" else _IN_JSON
            body = re.sub(pattern % re.escape(key), lambda found: found[1] + mask_of(len(found[2])), body)
        return self.text(body)

    def text(self, text: bytes) -> bytes:
        """Any text, with the route's secrets masked."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, mask_of(len(secret)))
        return text


class Maskings:
    """One for each route that is asked for. What routes no longer exist, nor deliveries of theirs, is forgotten."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Route | None, Masking]] = {}

    def of(self, route: Route | None) -> Masking:
        """What is masked in deliveries of ``route``."""
        found = self._known.get(id(route))
        if found is None:
            if len(self._known) >= _MOST_ROUTES:
                self._known.clear()
            # The route is kept with it, so that no other one can have its id.
            found = self._known[id(route)] = (route, Masking(route))
        return found[1]
