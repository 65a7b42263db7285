"""The lists that are known by name, and those of a configuration."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proxy.config.guards import slug_of
from proxy.config.notation import is_loopback
from proxy.config.set_shelf import ALIASES, FEEDS, check_url, feed_of, read_snapshot
from proxy.config.settings import IpSet
from proxy.core.schemes import PROVIDERS
from proxy.errors import Mistake

URL = "https://ranges.example.com/all.json"


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_every_list_is_fetched_over_tls_and_says_where_it_is_documented(feed):
    assert slug_of(feed.name) == feed.name
    assert not feed.url or urlsplit(feed.url).scheme == "https"
    assert not feed.docs or urlsplit(feed.docs).scheme == "https"
    assert feed.note


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_leads_to_a_list(name: str):
    assert name not in FEEDS
    assert all(other in FEEDS for other, _ in ALIASES[name])


def test_every_list_is_in_the_documentation_with_the_date_of_its_copy():
    page = (Path(__file__).resolve().parents[2] / "docs" / "address-sets.md").read_text()
    lines = [line for line in page.splitlines() if line.count("|") == 5]
    rows = {name: line for line in lines for name in re.findall(r"`([a-z0-9_]+)`", line.split("|")[1])}
    assert {*FEEDS, *ALIASES} <= set(rows)
    for name, feed in FEEDS.items():
        copy = read_snapshot(feed)
        date = "-" if copy is None else dt.datetime.fromtimestamp(copy.confirmed, dt.UTC).strftime("%Y-%m-%d")
        assert rows[name].split("|")[3].strip() == date


def test_every_provider_names_a_list_that_there_is():
    named = {provider.address_set for provider in PROVIDERS.values() if provider.address_set}
    assert {slug_of(name.partition("?")[0]) for name in named} <= {*FEEDS, *ALIASES}


def test_a_list_of_ones_own():
    text = feed_of(IpSet("Head-Office", URL, None, 60.0))
    assert (text.name, text.url, text.shape, text.refresh_s, text.built_in) == ("head_office", URL, None, 60.0, False)
    assert feed_of(IpSet("office", URL, "prefixes[].cidr", 60.0)).path == "prefixes[].cidr"


def test_a_table_may_set_the_pace_of_a_list_of_ours():
    feed = feed_of(IpSet("github", None, None, 600.0))
    assert (feed.url, feed.refresh_s, feed.built_in) == (FEEDS["github"].url, 600.0, True)
    assert feed.key == FEEDS["github"].key


def test_a_table_with_a_url_takes_the_place_of_a_list_of_ours():
    mirror = feed_of(IpSet("github", URL, None, 600.0))
    assert (mirror.url, mirror.shape, mirror.built_in) == (URL, FEEDS["github"].shape, False)
    assert feed_of(IpSet("github", URL, "web[]", 600.0)).path == "web[]"
    assert feed_of(IpSet("gitlab", URL, None, 600.0)).shape is None


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (IpSet("office", None, None, 60.0), "does not say where"),
        (IpSet("github", None, "web[]", 60.0), "does not say where"),
        (IpSet("bitbucket", URL, None, 60.0), "stands for other lists"),
        (IpSet("office", URL, "prefixes[*].cidr", 60.0), "'prefixes[*].cidr' is not a path"),
        (IpSet("office", "http://ranges.example.com/", None, 60.0), "without TLS"),
    ],
)
def test_what_a_table_may_not_say(table: IpSet, what: str):
    with pytest.raises(Mistake) as caught:
        feed_of(table)
    assert what in caught.value.what
    assert caught.value.mend


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_host(host: str):
    assert is_loopback(host)
    check_url(f"http://[{host}]:8080/x" if ":" in host else f"http://{host}:8080/x")


@pytest.mark.parametrize("host", ["", "localhost.example.com", "192.0.2.1", "0.0.0.0", "2001:db8::1", "127.1"])
def test_other_hosts(host: str):
    assert not is_loopback(host)
