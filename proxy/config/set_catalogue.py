"""The published address lists that are known by name: where each provider publishes its own, and in which form.

Which prefixes they hold is not written here: a dated copy of the lists that could be confirmed lies in ``ip_sets/``,
and the rest is fetched. A name in ``ALIASES`` stands for one or more questions to other lists. Sources: the providers'
own documentation, whose address each entry has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import urlsplit

from proxy.config.endpoints import is_loopback
from proxy.config.settings import Feed, IpSet
from proxy.core.ip_sets import PATH_FORM, Shape
from proxy.errors import Mistake


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


def spelled(name: str) -> str:
    """The name as the tables have it: ``-`` and ``_`` are equal, and so are cases."""
    return name.lower().replace("-", "_")


def feed_of(table: IpSet) -> Feed:
    """The list of an ``[ip_set.NAME]``. Mistake where it cannot be used.

    A table with the name of a list of ours and no ``url`` says how often that one is fetched; with a ``url`` it takes
    its place, in the same form unless ``json`` says another.
    """
    name = spelled(table.name)
    known = FEEDS.get(name)
    if name in ALIASES:
        raise Mistake(f"{name!r} stands for other lists", "choose another name")
    if table.url is None:
        if known is None or table.json is not None:
            raise Mistake("does not say where the list is", 'add url = "https://…"')
        return replace(known, refresh_s=table.refresh_s)
    check_url(table.url)
    path, shape = table.json or "", None
    if table.json is not None:
        try:
            shape = Shape.parse(table.json)
        except ValueError as error:
            raise Mistake(f"`json`: {error}", PATH_FORM) from None
    elif known is not None:
        path, shape = known.path, known.shape
    return Feed(name, table.url, shape, path, table.refresh_s, note="of your own", built_in=False)


def check_url(url: str) -> None:
    """Mistake where a list must not be fetched from there: what comes back opens a door."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        what = "a list that comes without TLS may be anybody's"
        raise Mistake(what, "write https://; http:// is for this host alone")
