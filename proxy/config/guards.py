"""What proves a delivery: from ``provider``, ``secrets`` and ``token`` of a route to its checks; what becomes of the
provider's endpoint check (forwarded, answered here, or refused like any request); and how a guard is called.

Closed by construction: a guard that is named but cannot be built is a problem, never a route without that guard.
Secrets are read here, by reference, and from here on only the checks hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proxy.config.host import how_to_add
from proxy.config.problems import suggestion
from proxy.config.tree import Table
from proxy.core.grammar import TOKEN_SEGMENT
from proxy.core.schemes import PROVIDERS, Provider, TokenSpec, decode_secret, find
from proxy.core.schemes.provider import Form
from proxy.core.signing.evidence import target_of
from proxy.core.signing.proof import NeedsPackageError, SignatureCheck, TokenCheck, TokenKind
from proxy.core.signing.scheme import Method, Scheme, Secret
from proxy.core.signing.template import open_borders
from proxy.errors import Mistake
from proxy.http1 import utc_text
from proxy.values import frozen

#: Keys of a route that mean nothing without a provider whose proof is checked here.
_OF_PROVIDER = ("secrets", "tolerance", "topics", "public_url", "verify_token")
_AT_AGENT = 'set it at the agent, or remove verify = "agent"'
_NAME_ONE = 'say whose it is, such as provider = "github"; a token has secrets of its own'
_GIVE_SECRETS = 'add secrets = ["file:/path"] (with flags: --secret-file PATH or --secret-env NAME)'
_GIVE_TOKENS = 'add secrets = ["file:/path"] to the token (with flags: --token-file PATH or --token-env NAME)'
_TOKEN_KINDS = {kind.value: kind for kind in TokenKind}
_MEND_TOKENS = {
    TokenKind.BASIC: "write user:password into the file",
    TokenKind.PATH: "use letters, digits and -._~!$&'()*+,=:@ alone; `hookward gen-secret` makes such a token",
}


@frozen
class Guards:
    """The checks of one route; ``provider`` is None where only a token of one's own is checked."""

    provider: Provider | None = None
    signature: SignatureCheck | None = None
    token: TokenCheck | None = None


@frozen
class GuardReader:
    """Builds the guards of one load. ``now`` in seconds since the epoch: secrets that are over do not count."""

    environ: Mapping[str, str]
    schemes: Mapping[str, Provider | None]  # the file's own; None: known, but with problems
    now: float

    def read(self, route: Table) -> Guards:
        """The guards of a route; what cannot be built is a problem."""
        used: set[str] = set()
        own = self._own_token(route, used) if route.table("token").exists else None
        name = route.get("provider", str)
        apart = route.need("verify", str) == "agent"
        if apart:
            self._check_idle(route, "here: the agent gives the verdict", _AT_AGENT)
        elif name is None and not route.doubtful("provider"):
            self._check_idle(route, "without a provider", _NAME_ONE)
        if name is None:
            return Guards(token=own)
        provider = self._provider(route, name)
        if apart:
            return Guards(provider, None, own)
        secrets = self._secrets(route, used, provider, "provider", _GIVE_SECRETS)  # also for the mistakes in them
        if provider is None:
            return Guards(token=own)
        if provider.scheme is not None:
            return Guards(provider, self._signature(route, provider, secrets), own)
        if route.table("token").exists:
            what = f"provider {provider.slug!r} is checked by a token of its own, and a route has one token"
            route.wrong("token", what, "remove `token`, or remove `provider`")
        assert provider.token is not None
        return Guards(provider, None, _token_check(route, provider.token, secrets, "provider", f"see {provider.docs}"))

    def read_one(self, view: Table, name: str, provider: Provider | None = None) -> bytes | None:
        """The secret of a key that is a single reference, as ``provider`` shows it; None where nothing was written."""
        found = view.secret(name, self.environ, _making(provider))
        return None if found is None else _decoded(view, name, provider, found)

    def _provider(self, route: Table, name: str) -> Provider | None:
        if slug_of(name) in self.schemes:
            return self.schemes[slug_of(name)]
        provider = find(name)
        if provider is None:
            slug, otherwise = slug_of(name)[:64], "`hookward providers` lists those that are known"
            mend = suggestion(slug, [*self.schemes, *PROVIDERS], otherwise=otherwise)
            route.wrong("provider", f"there is no provider {name[:64]!r}", mend)
        elif provider.scheme is None and provider.token is None:
            route.wrong("provider", f"{provider.title} proves nothing", provider.advice or "use a token")
            return None
        return provider

    def _check_idle(self, route: Table, why: str, mend: str) -> None:
        """Keys that speak of a provider, and have no effect: better said than ignored."""
        for key in _OF_PROVIDER:
            if key in route:
                secrets = route.tables(key) if key == "secrets" else []
                at, name = (secrets[0], "") if secrets else (route, key)
                at.wrong(name, f"`{key}` has no effect {why}", mend)

    def _signature(self, route: Table, provider: Provider, secrets: Sequence[Secret]) -> SignatureCheck | None:
        assert provider.scheme is not None
        public_url = route.get("public_url", str)
        if provider.scheme.signs_url and public_url is None:
            what = f"{provider.title} signs the URL, which cannot be known from a request"
            mend = 'set public_url = "https://hooks.example.com", as it is configured at the provider'
            route.lacks("public_url", what, mend, "provider")
            return None
        topics = self._topics(route, provider)
        if not secrets or topics is None or not self._is_readable_one_way(route, provider, public_url):
            return None
        tolerance_s = route.get("tolerance", float)
        try:
            return SignatureCheck(provider.scheme, tuple(secrets), tolerance_s, public_url, topics)
        except NeedsPackageError as needs:
            route.wrong("provider", f"{provider.title} signs with a public key", how_to_add(needs.package))
        except ValueError as error:
            route.wrong("provider", f"{provider.title} cannot be checked so", str(error))
        return None

    def _topics(self, route: Table, provider: Provider) -> tuple[str, ...] | None:
        """The topics of a route; None where they are needed and missing."""
        topics = route.items("topics", str)
        if provider.scheme is None or not provider.scheme.signs_for_all:
            if topics:
                route.warn("H322", "topics", f"`topics` has no effect: {provider.title} has none that are signed")
            return ()
        if topics:
            return topics
        what = f"{provider.title} signs for all its customers with one key, so anybody's topic would pass"
        arn = "arn:aws:sns:eu-west-1:123456789012:NAME"
        route.lacks("topics", what, f'set topics = ["{arn}"] to those that are yours (flag: --topic ARN)', "provider")
        return None

    def _is_readable_one_way(self, route: Table, provider: Provider, public_url: str | None) -> bool:
        """Whether a sender can move nothing between the URL and the part of the signed text that is beside it."""
        assert provider.scheme is not None
        whole = public_url is not None and target_of(public_url) is not None
        for pair in open_borders(provider.scheme, whole_url=whole):
            what = f"{provider.title} has nothing fixed in {pair}, so the URL must be known whole"
            mend = 'write path and query too: public_url = "https://hooks.example.com/in", as it is configured there'
            route.wrong("public_url", what, mend)
            return False
        return True

    def _own_token(self, route: Table, used: set[str]) -> TokenCheck | None:
        view = route.table("token")
        chosen = [kind for kind in _TOKEN_KINDS if view.get(kind, object)]
        if len(chosen) != 1:
            if not view.doubtful(*_TOKEN_KINDS):
                what = f"says {' and '.join(chosen)} at once" if chosen else "does not say where the token is"
                view.wrong("", what, "set exactly one of query, header, bearer, basic, path")
            return None
        secrets = self._secrets(view, used, None, "", _GIVE_TOKENS)
        kind = _TOKEN_KINDS[chosen[0]]
        if kind is TokenKind.PATH:
            name = self._before_token(route, view) if secrets else b""
        else:
            name = view.get(chosen[0], bytes) if chosen[0] in {"query", "header"} else b""
        if name is None:
            return None
        return _token_check(view, TokenSpec(kind, name), secrets, "", _MEND_TOKENS.get(kind, ""))

    def _before_token(self, route: Table, view: Table) -> bytes | None:
        """What stands before the token in the path; None where it does not say where that is."""
        path = route.need("path", bytes)
        if path.endswith(TOKEN_SEGMENT):
            return path.removesuffix(TOKEN_SEGMENT)
        if not route.doubtful("path"):
            what = "the route's path does not say where the token is"
            view.wrong("path", what, 'write path = "/hooks/{token}" in the route')
        return None

    def _secrets(self, view: Table, used: set[str], provider: Provider | None, owner: str, mend: str) -> list[Secret]:
        """The secrets of a list; where none is usable, that is a problem of the key ``owner``, mended by ``mend``."""
        entries = view.tables("secrets")
        word = "secret" if owner else "token"
        found = [self._secret(entry, used, provider, word, number) for number, entry in enumerate(entries, 1)]
        secrets = [secret for secret in found if secret is not None]
        if len(secrets) == len(entries) and not view.doubtful("secrets"):
            if not secrets:
                view.wrong(owner, "no usable secret, so every delivery would be refused", mend)
            elif not any(secret.live(self.now) for secret in secrets):
                mend = "add the provider's current secret, or mend not_before and not_after"
                entries[0].wrong("", "no usable secret: all are expired or not yet valid", mend)
        return secrets

    def _secret(self, entry: Table, used: set[str], provider: Provider | None, word: str, number: int) -> Secret | None:
        if "from" not in entry:
            entry.lacks("from", "does not say where the secret is", 'add from = "file:/path"')
        found = entry.secret("from", self.environ, _making(provider))
        if found is None:
            return None
        name = self._name(entry, used, word, number)
        before, after = entry.get("not_before", float), entry.get("not_after", float)
        if before is not None and after is not None and before >= after:
            entry.wrong("not_after", "ends before it begins", "mend not_before and not_after")
            return None
        self._warn_of_dates(entry, name, before, after)
        value = _decoded(entry, "from", provider, found)
        return None if value is None else Secret(name, value, before, after)

    def _name(self, entry: Table, used: set[str], word: str, number: int) -> str:
        given = entry.get("name", str)
        if given is not None:
            if given in used:
                entry.wrong("name", f"the name {given!r} is taken in this route", "choose another")
            used.add(given)
            return given
        while (name := f"{word}-{number}") in used:
            number += 1
        used.add(name)
        return name

    def _warn_of_dates(self, entry: Table, name: str, before: float | None, after: float | None) -> None:
        if after is not None and after <= self.now:
            entry.warn("H104", "", f"the secret {name!r} expired on {show_instant(after)}: remove it")
        if before is not None and before > self.now:
            entry.warn("H106", "", f"the secret {name!r} matches nothing before {show_instant(before)}")


def _token_check(view: Table, token: TokenSpec, secrets: Sequence[Secret], owner: str, mend: str) -> TokenCheck | None:
    """The check of a token; None, and a problem of the key ``owner``, where the secrets are none. Without one: None."""
    try:
        return TokenCheck(token.kind, token.name, tuple(secrets)) if secrets else None
    except ValueError as error:
        view.wrong(owner, str(error), mend)
        return None


def _decoded(view: Table, key: str, provider: Provider | None, found: bytes) -> bytes | None:
    """The secret itself; None where it is none of ``provider``'s."""
    try:
        return found if provider is None else decode_secret(provider, found)
    except Mistake as mistake:
        view.wrong(key, mistake.what, mistake.mend)
        return None


def _making(provider: Provider | None) -> str:
    """How the file of a secret, FILE, is made: it is ours to make, or the provider shows one."""
    if provider is None:
        return ""
    if provider.slug in PROVIDERS and not provider.chosen:
        return f"copy what {provider.title} shows into it with `install -m 600 /dev/stdin FILE`"
    known = f"{provider.slug} " if provider.slug in PROVIDERS else ""
    return f"make it with `hookward gen-secret {known}--out FILE`"


def slug_of(name: str) -> str:
    """The name of a provider or a published list as it is compared: "-" and "_" are equal, and so are capitals."""
    return name.lower().replace("-", "_")


def show_instant(seconds: float) -> str:
    """``2026-12-15`` or ``2026-12-15 12:00:00``, in UTC."""
    return utc_text(seconds, "%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")


def read_handshake(view: Table, provider: Provider | None) -> str:
    """What becomes of endpoint checks on a route; what contradicts its provider is a problem."""
    handshake = view.need("handshake", str)
    if handshake == "answer" and provider is None and "provider" not in view:
        view.wrong("handshake", "only a provider's endpoint check can be answered", "name `provider`")
    if provider is not None:
        _check_handshake(view, provider, handshake)
    return handshake


def _check_handshake(view: Table, provider: Provider, handshake: str) -> None:
    check = provider.handshake
    if "verify_token" in view and (check is None or not check.needs_token):
        what = f"`verify_token` has no effect: {provider.title} has no endpoint check with a token"
        view.warn("H322", "verify_token", what)
    if handshake == "answer":
        for what, mend in _answer_problems(view, provider):
            view.wrong("handshake", what, mend)
    if handshake == "forward" and view.need("path", bytes) == b"/" and _is_unproved(view, provider):
        alone = "so it is passed on at the route's own path alone, which is /: set `path` to that of the webhook"
        view.warn("", "", f"the endpoint check of {provider.title} is not signed, {alone}")


def _is_unproved(view: Table, provider: Provider) -> bool:
    """Whether the provider signs, but neither signs its endpoint check nor shows a token with it."""
    check = provider.handshake
    if check is None or check.signed or provider.scheme is None:
        return False
    return not (check.verify and "verify_token" in view)


def _answer_problems(view: Table, provider: Provider) -> Iterator[tuple[str, str]]:
    """Why the endpoint check of ``provider`` cannot be answered here: (what, mend)."""
    check = provider.handshake
    if check is None:
        yield f"{provider.title} has no endpoint check to answer", "leave `handshake` out"
    elif check.form is Form.NONE:
        what = f"only the application can answer the endpoint check of {provider.title}: {check.reason}"
        yield what, 'write handshake = "forward"'
    elif check.needs_token and not view.written("verify_token"):
        what = f"the endpoint check of {provider.title} needs the token that is configured there"
        yield what, 'add verify_token = "file:/path" (flag: --verify-token-file PATH)'
    elif check.needs_url and not view.written("public_url"):
        what = f"the answer to the endpoint check of {provider.title} is made with the endpoint's URL"
        yield what, 'add public_url = "https://hooks.example.com", as it is configured there (flag: --public-url URL)'


# -- How a guard is called wherever people read of it: banner, ``check``, providers.

_TOKENS = {
    TokenKind.QUERY: "query parameter {}",
    TokenKind.HEADER: "header {}",
    TokenKind.BEARER: "{}: Bearer",
    TokenKind.BASIC: "{}: Basic",
    TokenKind.PATH: "path behind {}",
}
_METHODS = {
    Method.HASH: "plain digest",
    Method.ED25519: "Ed25519",
    Method.ECDSA: "ECDSA",
    Method.RSA: "RSA",
    Method.EQUAL: "shared word in the body",
}


def token_place(kind: TokenKind, name: bytes) -> str:
    """Where a token is."""
    return _TOKENS[kind].format(name.decode("latin-1") or "Authorization")


def algorithm(scheme: Scheme) -> str:
    """How a signature is made."""
    if scheme.claims is not None:
        return f"JWT {'/'.join(scheme.claims.algorithms)}"
    return f"HMAC-{scheme.algorithm.upper()}" if scheme.method is Method.HMAC else _METHODS[scheme.method]
