"""The published address lists: which there are, what they hold now, and who asked for what.

Which prefixes they hold is not written here: a dated copy of those that could be confirmed lies in ``ip_sets/``, and
the rest is fetched. A name in ``ALIASES`` stands for one or more questions to other lists.

The shelf lives as long as the process, so that a reload does not forget what was fetched. Each load opens a
:class:`SetReader` on it, which answers ``set:NAME?query`` from the newest copy there is: fetched by this process,
stored by an earlier one, or packaged. A list without any copy admits nobody and is named as missing, so that whoever
runs the process can fetch it first. Nothing is fetched here.

A list that has changed is put into the policy in force (``with_current_sets``), and nothing else is loaded again: it
must not apply an edit of the configuration that nobody has asked to be applied, nor read a secret again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from proxy.config.admission import admission_of, admitted_by, reserved_for
from proxy.config.guarded_files import make_folder, reach, replace_file
from proxy.config.guards import slug_of
from proxy.config.notation import is_loopback
from proxy.config.problems import Problems
from proxy.config.secret_files import read_bounded
from proxy.config.settings import Feed, IpSet, Loaded
from proxy.config.tree import Table
from proxy.core.addresses import AddressSet
from proxy.core.ip_sets import PATH_FORM, AddressListing, FeedError, Shape, dump_groups, load_groups
from proxy.errors import Mistake
from proxy.values import frozen, mutable


def _feed(name: str, url: str, path: str, docs: str, *, attributes: tuple[str, ...] = (), note: str = "") -> Feed:
    return Feed(name, url, Shape.parse(path, attributes) if path else None, path, docs=docs, note=note)


_FEEDS = (
    _feed("github", "https://api.github.com/meta", "hooks[]",
          "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-githubs-ip-addresses",
          note="webhooks of github.com"),
    _feed("atlassian", "https://ip-ranges.atlassian.com/", "items[direction=egress].cidr",
          "https://support.atlassian.com/organization-administration/docs/ip-addresses-and-domains-for-atlassian-cloud-products/",
          attributes=("product", "region"), note="what Atlassian's cloud sends from; ask for a product"),
    _feed("stripe", "https://stripe.com/files/ips/ips_webhooks.json", "WEBHOOKS[]",
          "https://docs.stripe.com/ips#webhook-notifications", note="webhooks"),
    _feed("gitlab", "", "", "https://docs.gitlab.com/user/gitlab_com/#ip-range", note="gitlab.com; no feed"),
    _feed("svix", "https://docs.svix.com/webhook-ips.json", "{region}[]", "https://docs.svix.com/receiving/source-ips",
          note="all senders that use Svix's cloud; ask for a region"),
    _feed("aws", "https://ip-ranges.amazonaws.com/ip-ranges.json", "prefixes[].ip_prefix, ipv6_prefixes[].ipv6_prefix",
          "https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-ranges.html",
          attributes=("service", "region", "network_border_group"),
          note="every customer that rents a computer there: ask for a service and a region"),
    _feed("cloudflare", "https://api.cloudflare.com/client/v4/ips", "result.ipv4_cidrs[], result.ipv6_cidrs[]",
          "https://www.cloudflare.com/ips/", note="for trusted_proxies: what stands in front of a site"),
    _feed("fastly", "https://api.fastly.com/public-ip-list", "addresses[], ipv6_addresses[]",
          "https://www.fastly.com/documentation/reference/api/utils/public-ip-list/",
          note="for trusted_proxies: what stands in front of a site"),
    _feed("google", "https://www.gstatic.com/ipranges/goog.json", "prefixes[].ipv4Prefix, prefixes[].ipv6Prefix",
          "https://support.google.com/a/answer/10026322", note="Google's own services and those of its customers"),
    _feed("google_cloud", "https://www.gstatic.com/ipranges/cloud.json", "prefixes[].ipv4Prefix, prefixes[].ipv6Prefix",
          "https://support.google.com/a/answer/10026322", attributes=("service", "scope"),
          note="every customer that rents a computer there: ask for a scope"),
    _feed("datadog", "https://ip-ranges.datadoghq.com/", "webhooks.prefixes_ipv4[], webhooks.prefixes_ipv6[]",
          "https://docs.datadoghq.com/api/latest/ip-ranges/",
          note="webhooks of the site datadoghq.com; other sites have feeds of their own"),
    _feed("pagerduty_us", "https://developer.pagerduty.com/ip-safelists/webhooks-us-service-region-json", "[]",
          "https://support.pagerduty.com/docs/safelist-ips", note="webhooks of the US service region"),
    _feed("pagerduty_eu", "https://developer.pagerduty.com/ip-safelists/webhooks-eu-service-region-json", "[]",
          "https://support.pagerduty.com/docs/safelist-ips", note="webhooks of the EU service region"),
    _feed("azure", "", "values[].properties.addressPrefixes[]",
          "https://www.microsoft.com/en-us/download/details.aspx?id=56519", attributes=("name",),
          note="a new address each week: give it as [ip_set.azure] url, and ask for a name (service tag)"),
    _feed("zendesk", "", "ips.egress.all[]",
          "https://developer.zendesk.com/api-reference/ticketing/account-configuration/public_ips/",
          note='each account has its own: give [ip_set.zendesk] url = "https://ACCOUNT.zendesk.com/ips"'),
    _feed("go1", "", "", "", note="no feed"),
)  # fmt: skip
FEEDS: Mapping[str, Feed] = MappingProxyType({feed.name: feed for feed in _FEEDS})

#: name -> the (list, query) pairs that it stands for
ALIASES: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "bitbucket": (("atlassian", "product=bitbucket"),),
        "jira": (("atlassian", "product=jira"),),
        "trello": (("atlassian", "product=trello"),),
        "pagerduty": (("pagerduty_us", ""), ("pagerduty_eu", "")),
    }
)


def feed_of(table: IpSet) -> Feed:
    """The list of an ``[ip_set.NAME]``. Mistake where it cannot be used.

    A table with the name of a list of ours and no ``url`` says how often that one is fetched; with a ``url`` it takes
    its place, in the same form unless ``json`` says another.
    """
    name = slug_of(table.name)
    known = FEEDS.get(name)
    if name in ALIASES:
        raise Mistake(f"{name!r} stands for other lists", "choose another name")
    if table.url is None:
        if known is None or table.json is not None:
            raise Mistake("does not say where the list is", 'add url = "https://…"')
        return replace(known, refresh_s=table.refresh_s)
    check_url(table.url)
    path, shape = (known.path, known.shape) if known is not None else ("", None)
    if table.json is not None:
        try:
            path, shape = table.json, Shape.parse(table.json)
        except ValueError as error:
            raise Mistake(f"`json`: {error}", PATH_FORM) from None
    return Feed(name, table.url, shape, path, table.refresh_s, note="of your own", built_in=False)


def check_url(url: str) -> None:
    """Mistake where a list must not be fetched from there: what comes back opens a door."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise Mistake(
            "a list that comes without TLS may be anybody's", "write https://; http:// is for this host alone"
        )


# -- Where listings rest: dated copies inside the package, and the last good copy of each feed in the state directory.
#
# A stored copy is written whole and renamed into place, so that a reader sees the old or the new one. Its time of
# modification says when the feed last confirmed it. What is read back is judged like a feed: a damaged file is as
# good as none. Nothing here fetches, or decides which copy is used.

FOLDER = "ip-sets"
_MAX_BYTES = 64 * 1024 * 1024
_FORMAT = 1
_NAME = re.compile(r"[a-z0-9._]{1,64}")
#: What reads files of the package, a folder or an archive. (``importlib.resources`` would import compression.)
_LOADER: Any = __spec__.loader
_COPIES = os.path.join(os.path.dirname(__file__), "ip_sets")  # noqa: PTH118, PTH120 - in an archive it is no path


@frozen
class Copy:
    """A listing and what is known of its origin. ``confirmed`` is in seconds since the epoch."""

    listing: AddressListing
    confirmed: float
    origin: str  # "snapshot" or "feed"
    etag: str = ""
    last_modified: str = ""


def read_snapshot(feed: Feed) -> Copy | None:
    """The copy of a list of ours that came with this version, or None."""
    if not feed.built_in:
        return None
    try:
        value = json.loads(_LOADER.get_data(os.path.join(_COPIES, f"{feed.name}.json")))  # noqa: PTH118 - no path in an archive
    except OSError:  # not every list comes with a copy
        return None
    date = dt.date.fromisoformat(value["date"])
    confirmed = dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC).timestamp()
    return Copy(load_groups(value["groups"]), confirmed, "snapshot")


def stored_path(state_dir: str, feed: Feed) -> Path:
    """Where the last good copy of a list is."""
    if not _NAME.fullmatch(feed.name):
        raise FeedError(f"{feed.name[:64]!r} cannot be the name of a file")
    return Path(state_dir, FOLDER, f"{feed.name}.json")


def stored_confirmed(state_dir: str, feed: Feed) -> float:
    """When the stored copy was last confirmed, in seconds since the epoch; 0 where there is none."""
    with contextlib.suppress(OSError, FeedError):
        return stored_path(state_dir, feed).stat().st_mtime
    return 0.0


def read_stored(state_dir: str, feed: Feed) -> Copy | None:
    """The last good copy of a list, or None. FeedError where there is one that cannot be used."""
    path = stored_path(state_dir, feed)
    try:
        confirmed = path.stat().st_mtime
        data, _ = read_bounded(str(path), _MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FeedError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _parse_stored(data, feed, confirmed)
    except FeedError as error:
        raise FeedError(f"{path} is damaged: {error}") from None


def _parse_stored(data: bytes, feed: Feed, confirmed: float) -> Copy | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise FeedError("it is not JSON") from None
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise FeedError("it has another form")
    if (value.get("url"), value.get("path")) != (feed.url, feed.path):
        return None  # of another feed that had this name
    listing = load_groups(value.get("groups"))
    return Copy(listing, confirmed, "feed", str(value.get("etag", "")), str(value.get("last_modified", "")))


def write_stored(state_dir: str, feed: Feed, copy: Copy) -> None:
    """Keep ``copy`` as the last good one. OSError where that fails, and then the old one is still there."""
    path = stored_path(state_dir, feed)
    make_folder(str(path.parent))
    value: dict[str, object] = {"format": _FORMAT, "url": feed.url, "path": feed.path, "etag": copy.etag}
    value |= {"last_modified": copy.last_modified, "groups": dump_groups(copy.listing)}
    replace_file(str(path), json.dumps(value).encode(), copy.confirmed)


def confirm_stored(state_dir: str, feed: Feed, copy: Copy) -> None:
    """The feed has said that ``copy`` still holds. OSError where that cannot be noted."""
    try:
        with reach(str(stored_path(state_dir, feed)), to_link=True) as spot:
            os.utime(spot.name, (copy.confirmed,) * 2, dir_fd=spot.folder, follow_symlinks=False)
    except FileNotFoundError:
        write_stored(state_dir, feed, copy)


#: A copy that nobody has confirmed for so long deserves a word.
STALE_S = 30 * 86400.0

FeedKey = tuple[str, str, str]


@mutable
class SetShelf:
    """The newest copy of each list, by the feed's key, and what was selected of it."""

    copies: dict[FeedKey, Copy] = field(default_factory=dict)
    selected: dict[FeedKey, dict[str, AddressSet]] = field(default_factory=dict)

    def get(self, feed: Feed) -> Copy | None:
        """What is held of a list."""
        return self.copies.get(feed.key)

    def put(self, feed: Feed, copy: Copy, selected: Mapping[str, AddressSet] | None = None) -> None:
        """Hold ``copy`` from now on; ``selected`` are the addresses for queries that were asked already."""
        held = self.copies.get(feed.key)
        if held is None or held.listing is not copy.listing:
            self.selected[feed.key] = dict(selected or {})
        self.copies[feed.key] = copy

    def select(self, feed: Feed, query: str) -> AddressSet:
        """The addresses of a list that fit a query; none where there is no copy. ValueError where it fits none."""
        copy = self.copies.get(feed.key)
        if copy is None:
            return AddressSet.empty()
        selected = self.selected.setdefault(feed.key, {})
        if query not in selected:
            selected[query] = copy.listing.select(query)
        return selected[query]

    def look(self, feed: Feed, state_dir: str | None, warnings: list[str]) -> Copy | None:
        """The newest copy of a list, from here, the state directory or the package."""
        held = self.get(feed) or read_snapshot(feed)
        if state_dir is not None and stored_confirmed(state_dir, feed) > (held.confirmed if held else 0.0):
            try:
                held = read_stored(state_dir, feed) or held
            except FeedError as error:
                warnings.append(f"set:{feed.name}: {error}")
        if held is not None:
            self.put(feed, held)
        return held


def all_feeds(top: Table) -> dict[str, Feed]:
    """The lists of ours and each ``[ip_set.NAME]`` of a configuration, by name; what is wrong with one is a problem."""
    feeds = dict(FEEDS)
    for name, view in top.named("ip_set").items():
        try:
            feed = None if view.doubtful("url", "json") else feed_of(IpSet(name, **view.fields(IpSet)))
        except Mistake as mistake:
            view.wrong("", mistake.what, mistake.mend)
        else:
            feeds |= {} if feed is None else {feed.name: feed}
    return feeds


def missing_warning(feed: Feed) -> str:
    """What is said of a list without any copy."""
    until = f"until it has been fetched (at the start, or by `hookward ip-sets refresh {feed.name}`)"
    return f"set:{feed.name}: no copy of this list is here yet, so it admits no address {until}"


@mutable
class SetReader:
    """Answers the questions of one load, and remembers them. ``now`` is in seconds since the epoch."""

    shelf: SetShelf
    feeds: dict[str, Feed]
    state_dir: str | None
    now: float
    problems: Problems
    used: dict[tuple[str, str], Feed] = field(default_factory=dict)
    missing: dict[str, Feed] = field(default_factory=dict)

    @property
    def known(self) -> Sequence[str]:
        """The names that can be asked for."""
        return sorted({*self.feeds, *ALIASES})

    def resolve(self, name: str, query: str) -> AddressSet | None:
        """The addresses of a list, or None where none has this name. ValueError says what is wrong with the query."""
        name = slug_of(name)
        if name not in ALIASES:
            feed = self.feeds.get(name)
            return None if feed is None else self._select(feed, query)
        if query:
            inner = " and ".join(f"set:{other}" for other, _ in ALIASES[name])
            raise ValueError(f"it takes no query; ask {inner} instead")
        return AddressSet.union(self._select(self.feeds[other], asked) for other, asked in ALIASES[name])

    def _select(self, feed: Feed, query: str) -> AddressSet:
        if (feed.name, query) not in self.used:
            self.used[feed.name, query] = feed
            self._judge_age(feed, self.shelf.look(feed, self.state_dir, self.problems.warnings))
        return self.shelf.select(feed, query)

    def _judge_age(self, feed: Feed, copy: Copy | None) -> None:
        if copy is None and not feed.url:
            raise ValueError(f'it has no feed that is known here: add [ip_set.{feed.name}] with url = "https://…"')
        if copy is None:
            self.missing[feed.name] = feed
            self.problems.warn("H205", "", missing_warning(feed))
        elif feed.url and self.now - copy.confirmed > STALE_S and (copy.origin == "feed" or not feed.is_refreshed):
            # A packaged copy ages on the shelf, and is refreshed as soon as the process is up.
            days = (self.now - copy.confirmed) / 86400
            self.problems.warn("H204", f"set:{feed.name}", f"this list was last confirmed {days:.0f} days ago")


def with_current_sets(loaded: Loaded, generation: int) -> Loaded:
    """``loaded`` with every published set as it is now, as the given generation. ValueError where one is unusable."""
    resolve = loaded.sets.resolve
    uses = tuple(
        replace(use, value=use.unite([resolve(name, query) for name, query in use.sets])) for use in loaded.sets.lists
    )
    # By identity: the lists of a load are shared by the routes that have none of their own.
    renewed = {id(old.value): new.value for old, new in zip(loaded.sets.lists, uses, strict=True)}

    def current(allow: AddressSet | None) -> AddressSet | None:
        return renewed.get(id(allow), allow)

    def denied(lists: tuple[AddressSet, ...]) -> tuple[AddressSet, ...]:
        return tuple(renewed.get(id(one), one) for one in lists)

    policy = loaded.policy
    routes = tuple(replace(route, allow=current(route.allow), deny=denied(route.deny)) for route in policy.routes)
    trusted = renewed.get(id(policy.trusted_proxies), policy.trusted_proxies)
    admitted = admitted_by(policy.exposure, routes)
    doors = tuple(map(current, policy.doors))
    tcp = [replace(one, allow=current(one.allow), deny=denied(one.deny)) for one in loaded.settings.tcp]
    return replace(
        loaded,
        policy=replace(
            policy,
            generation=generation,
            routes=routes,
            admission=admission_of(admitted, trusted, doors),
            allow=admitted,
            trusted_proxies=trusted,
            reserved_for=reserved_for(admitted, routes, trusted, doors),
            doors=doors,
        ),
        settings=replace(loaded.settings, tcp=tuple(tcp)),
        sets=replace(loaded.sets, lists=uses),
    )
