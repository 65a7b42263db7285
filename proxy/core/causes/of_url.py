"""The URL is at fault: what the provider signed is not what we were told, or a proxy in front changed the request.

For schemes that sign the URL, the path or the query. Schemes and hosts are tried as the request itself and the usual
headers of proxies name them: only to find the cause, never to admit anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from proxy.core.causes.trial import Facts, Trial, cause, with_target
from proxy.core.signing.evidence import public_url_of
from proxy.reasons import Reason

_OF_TARGET = re.compile(r"\{(?:target|path|query|encoded_target|param:[^}]*)\}")
_HOSTS = (b"x-forwarded-host", b"x-original-host", b"x-host")
_ORIGINAL_TARGETS = (b"x-original-uri", b"x-original-url", b"x-forwarded-uri", b"x-rewrite-url")
_AUTHORITY = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?")
_TARGET = re.compile(r"/[\x21-\x7e]{0,4096}")
_PORTS = {"https": ":443", "http": ":80"}


def _url(trial: Trial) -> str | None:
    """The URL as we take it to be signed; None where the scheme signs none."""
    check = trial.check
    if check is None or check.public_url is None or not check.scheme.signs_url:
        return None
    return public_url_of(check.public_url, trial.head.target).decode("utf-8", "replace")


def _find(trial: Trial, urls: Iterator[str]) -> Facts | None:
    for url in dict.fromkeys(urls):
        name = trial.fits(public_url=url)
        if name is not None:
            return {"secret": name}
    return None


@cause(
    "url_scheme",
    "The signature with {secret} is right for http:// where public_url says https://, or the other way round.",
    "Write the URL in public_url exactly as it is configured at the provider.",
    Reason.SIGNATURE_MISMATCH,
)
def scheme(trial: Trial) -> Facts | None:
    """Plain http was signed and https is configured, or the other way round."""
    url = _url(trial)
    if url is None:
        return None
    parts = urlsplit(url)
    other = "http" if parts.scheme == "https" else "https"
    return _find(trial, (urlunsplit(parts._replace(scheme=other)) for _ in "."))


@cause(
    "url_host",
    "The signature with {secret} is right for another host or port than that of public_url.",
    "Write the URL in public_url exactly as it is configured at the provider.",
    Reason.SIGNATURE_MISMATCH,
)
def host(trial: Trial) -> Facts | None:
    """Another host or port was signed: that of the request, or one that a proxy in front names."""
    url = _url(trial)
    return None if url is None else _find(trial, _with_hosts(trial, url))


def _with_hosts(trial: Trial, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    own = parts.netloc
    bare = re.sub(r":\d+$", "", own)
    named = [trial.head.host, *(trial.head.get(name) or b"" for name in _HOSTS)]
    hosts = [host for host in (value.decode("latin-1") for value in named) if _AUTHORITY.fullmatch(host)]
    for host in dict.fromkeys([*hosts, *(re.sub(r":\d+$", "", one) for one in hosts), bare, own.lower()]):
        for scheme in ("https", "http"):
            yield urlunsplit(parts._replace(scheme=scheme, netloc=host))
            yield urlunsplit(parts._replace(scheme=scheme, netloc=host + _PORTS[scheme]))


@cause(
    "url_query",
    "The signature with {secret} is right for another query than the one that came.",
    "A proxy in front adds, drops, sorts or decodes the query: let it pass as it is. A whole public_url has the "
    "query of the request.",
    Reason.SIGNATURE_MISMATCH,
)
def query(trial: Trial) -> Facts | None:
    """The query was added, dropped, sorted or decoded on the way."""
    url = _url(trial)
    if url is not None:
        same_path = urlsplit(url).path == trial.head.path.decode("latin-1")
        return _find(trial, _with_queries(trial, url)) if same_path else None
    return _find_head(trial, _targets_in_query(trial))


def _with_queries(trial: Trial, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    came = (trial.head.query or b"").decode("latin-1")
    for text in dict.fromkeys(["", came, *_queries(parts.query), *_queries(came)]):
        yield urlunsplit(parts._replace(query=text))
    yield url + "?"


def _queries(text: str) -> Iterator[str]:
    yield unquote(text)
    yield unquote(text.replace("+", " "))
    yield quote(text, safe="=&%")
    yield "&".join(sorted(text.split("&")))
    yield text.replace("+", "%20")
    yield text.replace("%20", "+")


@cause(
    "url_path",
    "The signature with {secret} is right for another path than the one that came.",
    "A proxy in front takes away or adds a part of the path, or its last slash: let it pass as it is. A whole "
    "public_url has the path of the request.",
    Reason.SIGNATURE_MISMATCH,
)
def path(trial: Trial) -> Facts | None:
    """A proxy in front took away or added a part of the path, or a slash at its end."""
    url = _url(trial)
    if url is None:
        return _find_head(trial, _targets(trial))
    return _find(trial, _with_paths(trial, url))


def _with_paths(trial: Trial, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    yield url
    for target in _targets(trial):
        path, _, text = target.partition("?")
        yield urlunsplit(parts._replace(path=path, query=text))
    came = trial.head.path.decode("latin-1")
    for path in (came, parts.path.rstrip("/"), parts.path + "/", unquote(parts.path)):
        yield urlunsplit(parts._replace(path=path))


def _targets_in_query(trial: Trial) -> Iterator[str]:
    """What the target may have been before a proxy changed its query."""
    path, text = trial.head.path.decode("latin-1"), (trial.head.query or b"").decode("latin-1")
    yield path
    for other in _queries(text) if text else ():
        yield f"{path}?{other}"


def _targets(trial: Trial) -> Iterator[str]:
    """What the target may have been before a proxy changed its path."""
    head = trial.head
    path, text = head.path.decode("latin-1"), (head.query or b"").decode("latin-1")
    rest = f"?{text}" if text else ""
    originals = [(head.get(name) or b"").decode("latin-1") for name in _ORIGINAL_TARGETS]
    yield from filter(_TARGET.fullmatch, originals)
    prefix = (head.get(b"x-forwarded-prefix") or b"").decode("latin-1").rstrip("/")
    if _TARGET.fullmatch(prefix):
        yield prefix + path + rest
    yield (path.rstrip("/") if len(path) > 1 and path.endswith("/") else path + "/") + rest
    yield unquote(path) + rest


def _find_head(trial: Trial, targets: Iterator[str]) -> Facts | None:
    """As ``_find``, for schemes that sign parts of the target, which they read from the head."""
    if trial.scheme is None or not _OF_TARGET.search(trial.scheme.signed):
        return None
    for target in dict.fromkeys(targets):
        name = trial.fits(head=with_target(trial.head, target.encode("latin-1", "replace")))
        if name is not None:
            return {"secret": name}
    return None
