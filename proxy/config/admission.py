"""Lists of addresses: from entries of ``allow`` and ``deny`` to an ``AddressSet``; which addresses may connect at all,
and for which a share is kept, by the lists of all routes; what can never be let in; and how a list is called.

A list that cannot be read, or that is empty, is a mistake: it must mean neither "everybody" nor, unnoticed, "nobody".
``deny`` wins over ``allow`` within each route, and then the routes are united: what no route would take is reset at
accept, before TLS, and the kernel filter is made from the same set. What one route denies and another takes comes
through, and is judged again with its request. ``config.set_shelf`` asks again when a published list has changed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range
from itertools import chain, islice
from typing import Protocol, TypeVar

from proxy.config.guarded_files import beside
from proxy.config.notation import ListenAddress, count
from proxy.config.problems import Problems, suggestion
from proxy.config.secret_files import read_bounded
from proxy.config.settings import ListUse, TcpSettings
from proxy.config.tree import Table
from proxy.core.addresses import AddressSet
from proxy.core.policy import Exposure, Route
from proxy.core.signing.proof import TokenKind
from proxy.errors import Mistake, Place
from proxy.values import frozen

EVERYBODY = AddressSet.parse(["all"])


def callers(allow: AddressSet | None, deny: Sequence[AddressSet]) -> AddressSet | None:
    """What the two lists let in together; None is every address."""
    if not deny:
        return allow
    return (EVERYBODY if allow is None else allow).without(AddressSet.union(deny))


def admitted_by(exposure: Exposure, routes: Sequence[Route]) -> AddressSet | None:
    """What the routes let in together; None where that is every address, or one of them looks at no address."""
    if exposure is Exposure.LOCAL and not any(route.deny for route in routes):
        return None
    each = _each(routes)
    listed = [one for one in each if one is not None]
    if len(listed) < len(each):
        return None
    united = AddressSet.union(listed)
    # What one route denies, another may take: together they may well be open to every address.
    is_all = united == EVERYBODY and any(route.allow is None for route in routes)
    return None if is_all else united


def admission_of(
    admitted: AddressSet | None, trusted: AddressSet, doors: Sequence[AddressSet | None]
) -> AddressSet | None:
    """Which addresses are let in at accept, None for all: those of routes, of trusted proxies and of agents."""
    listed = [admitted, trusted, *doors]
    return None if admitted is None or None in doors else AddressSet.union([one for one in listed if one is not None])


def reserved_for(
    admitted: AddressSet | None, routes: Sequence[Route], trusted: AddressSet, doors: Sequence[AddressSet | None] = ()
) -> AddressSet:
    """For which a share of connections is kept: the listed addresses, where others or agents may connect as well."""
    listed = [one for one in _each([route for route in routes if route.allow is not None]) if one is not None]
    if (admitted is not None and not doors) or not listed:
        return AddressSet.empty()
    return AddressSet.union([*listed, trusted])


def shut(routes: Sequence[Route]) -> list[Route]:
    """The routes that deny every address that they allow."""
    empty = {kind for kind, one in _by_kind(routes).items() if one is not None and not one}
    return [route for route in routes if empty and _kind(route) in empty]


def _each(routes: Sequence[Route]) -> list[AddressSet | None]:
    """What each of the routes lets in; thousands may share their lists."""
    return list(_by_kind(routes).values())


def _by_kind(routes: Sequence[Route]) -> dict[tuple[int, ...], AddressSet | None]:
    """What each pair of lists lets in."""
    kinds = {_kind(route): route for route in routes}
    return {kind: callers(route.allow, route.deny) for kind, route in kinds.items()}


def _kind(one: _Listed) -> tuple[int, ...]:
    return (id(one.allow), *map(id, one.deny))


_UNIX = AddressSet.parse(["unix:"])
_LOOPBACK = AddressSet.parse(["127.0.0.0/8", "::1"])
_HERE = _LOOPBACK | _UNIX
_IPV4 = AddressSet.parse(["0.0.0.0/0"])
_IPV6 = AddressSet.parse(["::/0"])


class _Listed(Protocol):
    """What has lists of addresses: a route, or a plain TCP forward."""

    @property
    def allow(self) -> AddressSet | None: ...

    @property
    def deny(self) -> tuple[AddressSet, ...]: ...


Listed = TypeVar("Listed", bound=_Listed)


def peers(listen: Sequence[ListenAddress]) -> AddressSet:
    """The addresses from which a connection can come to one of these."""
    return AddressSet.union([_peers_of(address) for address in listen])


def _peers_of(address: ListenAddress) -> AddressSet:
    if address.is_local:
        return _LOOPBACK if address.path is None else _UNIX
    if address.fd_name is not None or not address.host or address.host == "::":
        return EVERYBODY
    return _IPV4 if ip_address(address.host).version == 4 else _IPV6


def shut_out(
    listen: Sequence[ListenAddress], trusted: AddressSet, routes: Sequence[Route], *, proxied: bool
) -> Iterator[tuple[Route, str]]:
    """The routes that no address can call, and why in words. ``proxied``: a PROXY header is required."""
    coming = peers(listen)
    if not listen or _meet(trusted, coming):
        return  # a proxy names the client, of any address
    if proxied:
        yield from ((route, f"{_heard(coming, listen)}, and `trusted_proxies` has none of them") for route in routes)
    elif coming != _UNIX:  # of which a rule of its own speaks
        why = f"{_heard(coming, listen)}, no proxy is trusted, and `allow` has none of them"
        yield from ((route, why) for route in _closed(routes, coming))


def shut_forwards(forwards: Sequence[TcpSettings]) -> Iterator[tuple[TcpSettings, str]]:
    """The plain TCP forwards to which no address can connect, and why in words."""
    for forward in forwards:
        coming = peers([forward.listen])
        for shut in _closed([forward], coming):
            yield shut, f"{_heard(coming, [forward.listen])}, and `allow` has none of them"


def _closed(listed: Sequence[Listed], coming: AddressSet) -> Iterator[Listed]:
    """Those whose lists have no address that is ``coming``; thousands may share their lists."""
    known: dict[tuple[int, ...], bool] = {}
    for one in listed:
        kind = _kind(one)
        if kind not in known:
            allowed = None if one.allow is None else callers(one.allow, one.deny)
            known[kind] = bool(allowed) and allowed is not None and not _meet(allowed, coming)
        if known[kind]:
            yield one


def _meet(one: AddressSet, other: AddressSet) -> bool:
    return one.without(other) != one


def _heard(coming: AddressSet, listen: Sequence[ListenAddress]) -> str:
    where = ", ".join(map(str, listen))
    if not coming.without(_HERE):
        return f"it listens on {'loopback only' if coming == _LOOPBACK else where}, so that all peers are of this host"
    return f"it listens on {where}, so that all addresses are of {'IPv6' if coming.bounds6 else 'IPv4'}"


def clashes(route: Route) -> str:
    """Why a route's token and signature cannot both be right, in words; "" where they can."""
    token, signature = route.token, route.signature
    if token is None or signature is None or token.kind is TokenKind.QUERY:
        return ""
    name = token.name or b"authorization"
    if name not in signature.scheme.headers:
        return ""
    return f"its token and its signature are both read from the header {name.decode('latin-1')}"


#: ``resolve_set(name, query)``: the addresses of a published set, or None where no set has this name.
ResolveSet = Callable[[str, str], AddressSet | None]

#: A million prefixes have some 18 MiB.
_MAX_LIST_BYTES = 64 * 1024 * 1024
#: Of one list; a file of 64 MiB may have thirty million mistakes.
_MOST_TOLD = 100
_NO_COPY = "a published list in it has no copy here yet, so every address is denied until it has been fetched"
_SET = re.compile(r"([A-Za-z0-9._-]{1,64})(?:\?([\x21-\x7e]{0,256}))?")


@frozen
class AllowReader:
    """Reads the lists of one load. ``uses`` are those with published sets in them."""

    resolve_set: ResolveSet
    known_sets: Sequence[str]
    missing_sets: Collection[str] = ()  # not fetched yet: they are empty, and whoever resolves them has said so
    uses: list[ListUse] = field(default_factory=list)
    files: dict[str, AddressSet] = field(default_factory=dict)  # what was read already, by path

    def read(self, view: Table, name: str) -> AddressSet | None:
        """The addresses of a key, or None where it was not written. All mistakes go into the problems."""
        entry = view.entry(name)
        if entry is None:
            return None
        fixed, published, sets, texts = [], [], [], view.items(name, str)
        for index, text in enumerate(texts):
            where = entry.place if len(texts) == 1 else entry.place.at(index)
            try:
                if text.startswith("set:"):
                    sets.append(_parse_set(text[4:]))
                    published.append(self._set(*sets[-1]))
                else:
                    fixed.append(self._one(text.strip(), entry.base, where, view.problems))
            except Mistake as mistake:
                view.problems.add_mistake(where, mistake)
        if not sets:
            return AddressSet.union(fixed)
        use = ListUse(AddressSet.union(fixed), tuple(sets), denies=name == "deny")
        self.uses.append(replace(use, value=use.unite(published)))
        return self.uses[-1].value

    def read_deny(self, view: Table, above: tuple[AddressSet, ...] = ()) -> tuple[AddressSet, ...]:
        """The lists of ``deny``: those ``above``, and the one that was written here."""
        own = self.read(view, "deny")
        if own is None:
            return above
        if self.missing_sets and own == EVERYBODY:
            view.warn("H205", "deny", _NO_COPY)
        return (*above, own)

    def _one(self, text: str, base: str, where: Place, problems: Problems) -> AddressSet:
        if text.startswith("file:"):
            return self._file(beside(base, text[5:]), where, problems)
        if "," in text:
            what = f"{text[:80]!r} holds several addresses"
            raise Mistake(what, 'write a list, ["192.0.2.0/24", "set:github"]; give the flag once for each')
        return AddressSet.parse([text])

    def _file(self, path: str, where: Place, problems: Problems) -> AddressSet:
        if path in self.files:
            return self.files[path]
        try:
            data, _ = read_bounded(path, _MAX_LIST_BYTES)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a path"
            raise Mistake(f"{path} cannot be read: {why}", "name a readable file") from None
        if len(data) > _MAX_LIST_BYTES:
            raise Mistake(f"{path} is larger than 64MiB", "name a file with one address or network a line")
        try:
            found = AddressSet.parse(filter(None, _lines(data)))
        except Mistake:
            found = _line_by_line(path, data, where, problems)
        else:
            if not found:
                raise Mistake(
                    f"{path} has no entry, so no address would be let in", "add one address or network a line"
                )
        self.files[path] = found
        return found

    def _set(self, name: str, query: str) -> AddressSet:
        try:
            found = self.resolve_set(name, query)
        except ValueError as error:
            asked = f"{name}?{query}" if query else name
            raise Mistake(f"the address set {asked!r} cannot be used", str(error)) from None
        if found is None:
            mend = suggestion(name, self.known_sets) if self.known_sets else "no address sets are known here"
            raise Mistake(f"there is no address set {name!r}", mend)
        if not found and not self.missing_sets:
            raise Mistake(f"the address set {name!r} is empty, so no address would be let in", "check its query")
        return found


def _line_by_line(path: str, data: bytes, where: Place, problems: Problems) -> AddressSet:
    """For a list with mistakes: the first of them, each with its line."""
    told = 0
    for number, line in enumerate(_lines(data), 1):
        try:
            AddressSet.parse([line] if line else [])
        except Mistake as mistake:
            problems.add(Place(path, number), f"{mistake.what} (list of {where})", mistake.mend)
            told += 1
        if told == _MOST_TOLD:
            problems.add(Place(path), f"has more mistakes than are told here (list of {where})", "mend those first")
            break
    return AddressSet.empty()


def _lines(data: bytes) -> Iterator[str]:
    """The lines of a list without comments, one after the other: all at once would take 70 MiB of a million."""
    for line in io.BytesIO(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data):
        yield line.partition(b"#")[0].strip().decode("utf-8", "replace")


def _parse_set(text: str) -> tuple[str, str]:
    """The name and query of ``NAME`` or ``NAME?query``."""
    match = _SET.fullmatch(text.strip())
    if match is None:
        raise Mistake(f"{text[:80]!r} is not the name of an address set", 'write "set:NAME" or "set:NAME?query"')
    return match[1], match[2] or ""


# -- How a list is called wherever people read of it: banner, ``check``.

#: So many networks are told one by one; beyond, a reader counts on their number.
HANDFUL = 6
#: Lists may have a million; nobody reads the number of those beyond.
MANY = 10_000
_EVERYBODY = ("IPv4", "IPv6")
_ALL = ("0.0.0.0/0", "::/0")


def addresses(allow: AddressSet | None) -> str:
    """What a list admits: each network where they are a handful, else how many. None is every address."""
    if allow is None:
        return "every address"
    everybody = [text for text, whole in zip(_EVERYBODY, _whole(allow), strict=True) if whole]
    parts = [] if len(everybody) == 2 else networks(allow)
    if len(everybody) == 1:
        parts = [f"everybody with an {everybody[0]} address", *(one for one in parts if one not in _ALL)]
    elif everybody:
        parts = ["everybody"]
    uncounted = "at least " * (len(parts) >= MANY)
    shown = [", ".join(parts) if len(parts) <= HANDFUL else uncounted + count(len(parts), "network")]
    return " and ".join([one for one in shown if one] + ["peers on unix sockets"] * allow.has_unix) or "nobody"


def networks(allow: AddressSet) -> list[str]:
    """The networks of a list, merged and in order; no more than ``MANY`` of them."""
    four = (summarize_address_range(IPv4Address(first), IPv4Address(last)) for first, last in allow.ranges4)
    six = (summarize_address_range(IPv6Address(first), IPv6Address(last)) for first, last in allow.ranges6)
    found = chain(chain.from_iterable(four), chain.from_iterable(six))
    texts = map(str, islice(found, MANY))
    return [text.removesuffix("/128" if ":" in text else "/32") for text in texts]


def _whole(allow: AddressSet) -> tuple[bool, bool]:
    """Whether all of IPv4 is in a list, and all of IPv6."""
    four, six = allow.widest()
    return four == 1 << 32, six == 1 << 128


def senders(allow: AddressSet | None, deny: Sequence[AddressSet], allowed: str | None = None) -> str:
    """What ``allow`` admits (``allowed``: in these words), and what of it ``deny`` takes away."""
    told = allowed or addresses(allow)
    return f"{told}, but not {addresses(AddressSet.union(deny))}" if deny else told


def only(admitted: AddressSet | None) -> str:
    """What may connect, as a sentence begins: ``every address``, ``only …`` or ``every address but …``."""
    if admitted is None or all(_whole(admitted)):
        return addresses(None)
    denied = EVERYBODY.without(admitted)
    if denied and len(denied) < len(admitted):
        return f"every address but {addresses(denied)}"
    return addresses(admitted) if any(_whole(admitted)) or not admitted else f"only {addresses(admitted)}"
