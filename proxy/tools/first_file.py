"""The text of a first configuration: few keys, and beside them, as comments, those that are needed next."""

from __future__ import annotations

from urllib.parse import urlsplit

from proxy.config.as_file import quoted
from proxy.core.schemes import Provider
from proxy.core.tokens import TokenKind
from proxy.values import frozen

_HEAD = """\
# hookward lets in what the routes below prove, and answers 404 to all else.
# Every key: hookward man hookward.toml | man -l -

listen   = [{listen}]
# The application: it sees what was admitted, and nothing else.
upstream = {upstream}

# Health and metrics, and a line for each exchange:
# admin      = "127.0.0.1:4040"
# access_log = "/var/log/hookward/access.log"

# Behind a proxy or a tunnel of this host, whose X-Forwarded-For is read:
# trusted_proxies = ["127.0.0.1"]

# To the world, with a certificate: listen = ["0.0.0.0:443"], and
# [tls]
# cert = "fullchain.pem"
# key  = "key.pem"
"""


_TOPIC = "arn:aws:sns:eu-west-1:123456789012:NAME"
_USUAL = {"push", "ping", "Push Hook", "repo:push", "repo:refs_changed"}


@frozen
class FirstFile:
    """What it is made of; texts as they stand in the file."""

    provider: Provider
    listen: str
    upstream: str
    path: str
    public_url: str

    @property
    def secret_name(self) -> str:
        """The file of the secret, beside the configuration."""
        return f"{self.provider.slug}.secret"

    @property
    def shown_url(self) -> str:
        """What is entered at the provider."""
        whole = urlsplit(self.public_url)
        has_path = bool(whole.path.strip("/") or whole.query)
        target = self.public_url if has_path else f"{self.public_url.rstrip('/')}{self.path}"
        token = self.provider.token
        if token is not None and token.kind is TokenKind.QUERY:
            target += f"?{token.name.decode('ascii')}=SECRET"
        return target

    def text(self) -> str:
        """The file."""
        return "\n".join([_HEAD.format(listen=quoted(self.listen), upstream=quoted(self.upstream)), *self._route(), ""])

    def _route(self) -> list[str]:
        provider, scheme = self.provider, self.provider.scheme
        lines = [
            f"# {provider.title}: hookward providers {provider.slug}",
            f"[route.{provider.slug}]",
            f"path     = {quoted(self.path)}",
            f"provider = {quoted(provider.slug)}",
            f'secrets  = ["file:{self.secret_name}"]  # two, while one is rotated',
        ]
        if scheme is not None and scheme.signs_url:
            lines += ["# It is signed: exactly as it is entered there.", f"public_url = {quoted(self.shown_url)}"]
        if scheme is not None and scheme.signs_for_all:
            lines += ["# Yours: the key signs for all customers.", f"topics = [{quoted(_TOPIC)}]"]
        if provider.address_set:
            lines += ["# Its published addresses alone; not behind a tunnel:"]
            lines += [f'# allow  = ["set:{provider.address_set}"]']
        if provider.events:
            some = ", ".join(quoted(event) for event in _some(provider.events))
            lines += ["# These types alone:", f"# events = [{some}]"]
        if provider.handshake is not None:
            lines += ["# We answer its check of the endpoint, instead of the application:", '# handshake = "answer"']
        return lines


def _some(events: frozenset[str]) -> list[str]:
    """Two that most people want."""
    return sorted(event for event in events if event in _USUAL) or sorted(events)[:2]
