"""Paths into feed documents: what they find, what they refuse, and that they raise only their own error."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.ip_sets import FeedError, Shape

GITHUB = {"hooks": ["192.0.2.0/24", "2001:db8:10::/48"], "web": ["198.51.100.0/24"]}
ATLASSIAN = {
    "syncToken": 1764000000,
    "items": [
        {"cidr": "192.0.2.0/25", "region": ["us-east-1"], "product": ["bitbucket"], "direction": ["egress"]},
        {
            "cidr": "2001:db8::/40",
            "region": ["global"],
            "product": ["jira", "trello"],
            "direction": ["ingress", "egress"],
        },
        {"cidr": "198.51.100.0/24", "region": ["global"], "product": ["jira"], "direction": ["ingress"]},
    ],
}
AWS = {
    "prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "us-east-1", "service": "EC2"}],
    "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32", "region": "us-east-1", "service": "EC2"}],
}
GOOGLE = {"prefixes": [{"ipv4Prefix": "192.0.2.0/24"}, {"ipv6Prefix": "2001:db8::/32", "scope": "x"}]}
AZURE = {"values": [{"name": "ActionGroup", "properties": {"addressPrefixes": ["192.0.2.0/24", "2001:db8::/32"]}}]}
SVIX = {"us": ["192.0.2.1"], "eu": ["192.0.2.2", "192.0.2.3"]}


def found(text: str, document: object, *attributes: str) -> list[str]:
    groups = Shape.parse(text, attributes).find(document)
    return sorted(prefix for prefixes in groups.values() for prefix in prefixes)


@pytest.mark.parametrize(
    ("path", "document", "prefixes"),
    [
        ("hooks[]", GITHUB, ["192.0.2.0/24", "2001:db8:10::/48"]),
        ("web[], hooks[]", GITHUB, ["192.0.2.0/24", "198.51.100.0/24", "2001:db8:10::/48"]),
        ("items[].cidr", ATLASSIAN, ["192.0.2.0/25", "198.51.100.0/24", "2001:db8::/40"]),
        ("items[direction=egress].cidr", ATLASSIAN, ["192.0.2.0/25", "2001:db8::/40"]),
        ("items[direction=egress][product=trello].cidr", ATLASSIAN, ["2001:db8::/40"]),
        ("prefixes[].ip_prefix, ipv6_prefixes[].ipv6_prefix", AWS, ["192.0.2.0/24", "2001:db8::/32"]),
        ("prefixes[].ipv4Prefix,prefixes[].ipv6Prefix", GOOGLE, ["192.0.2.0/24", "2001:db8::/32"]),
        ("values[name=ActionGroup].properties.addressPrefixes[]", AZURE, ["192.0.2.0/24", "2001:db8::/32"]),
        ("{region}[]", SVIX, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        ("parts[].{region}[]", {"parts": [{"us": ["192.0.2.1"]}, {"eu": ["192.0.2.2"]}]}, ["192.0.2.1", "192.0.2.2"]),
        ("[]", ["192.0.2.1"], ["192.0.2.1"]),
        ("[].ip", [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], ["192.0.2.1", "192.0.2.2"]),
        ("[on=true].ip", [{"ip": "192.0.2.1", "on": "true"}, {"ip": "192.0.2.2"}], ["192.0.2.1"]),
        ("[n=7].ip", [{"ip": "192.0.2.1", "n": 7}, {"ip": "192.0.2.2", "n": 8}], ["192.0.2.1"]),
        ("one", {"one": "192.0.2.1"}, ["192.0.2.1"]),
        ("hooks[], web[]", {"hooks": [], "web": ["192.0.2.1"]}, ["192.0.2.1"]),
    ],
)
def test_finds(path: str, document: object, prefixes: list[str]):
    assert found(path, document) == prefixes


def test_attributes_stand_beside_the_prefix_or_above_it():
    groups = Shape.parse("items[direction=egress].cidr", ("product", "region")).find(ATLASSIAN)
    assert groups == {
        (("product", ("bitbucket",)), ("region", ("us-east-1",))): ["192.0.2.0/25"],
        (("product", ("jira", "trello")), ("region", ("global",))): ["2001:db8::/40"],
    }
    [(attributes, _)] = Shape.parse("values[].properties.addressPrefixes[]", ("name",)).find(AZURE).items()
    assert attributes == (("name", ("ActionGroup",)),)
    assert set(Shape.parse("{region}[]").find(SVIX)) == {(("region", ("us",)),), (("region", ("eu",)),)}


@pytest.mark.parametrize(
    ("path", "document", "why"),
    [
        ("hooks[]", {"web": []}, "there is no hooks"),
        ("hooks[]", [], "no object where hooks"),
        ("hooks[]", {"hooks": "192.0.2.1"}, "hooks is not a list"),
        ("hooks[]", {"hooks": {"a": "192.0.2.1"}}, "hooks is not a list"),
        ("hooks[]", {"hooks": ["192.0.2.1", 7]}, "hooks is not a text"),
        ("hooks", {"hooks": ["192.0.2.1"]}, "hooks is not a text"),
        ("[]", {"a": 1}, r"\[\] is not a list"),
        ("prefixes[].ipv4Prefix", {"prefixes": [{"ipv6Prefix": "2001:db8::/32"}]}, "there is no ipv4Prefix"),
        ("items[a=b].cidr", {"items": ["192.0.2.1"]}, "no object where a"),
        ("items[].cidr", {"items": ["192.0.2.1"]}, "no object where cidr"),
        ("items[].cidr", {"items": [{"cidr": None}]}, "cidr is not a text"),
        ("{region}[]", {"us": ["192.0.2.1"], "version": 3}, r"\{region\} is not a list"),
    ],
)
def test_a_document_of_another_form_is_refused(path: str, document: object, why: str):
    with pytest.raises(FeedError, match=why):
        Shape.parse(path).find(document)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[",
        "a]",
        "a[]b",
        "a[].[]",
        "a[][]",
        "a[b]",
        "a[b=]",
        "a[=b]",
        "a[b=c][]",
        "a b",
        "a,",
        "a[*]",
        "$.a",
        "a[0]",
        "{A}[]",
        "{}",
        "*",
        "a" * 65,
        "a." * 300 + "a",
        "a\nb",
    ],
)
def test_what_is_no_path(path: str):
    with pytest.raises(ValueError, match=r"not a path|too long"):
        Shape.parse(path)


def test_a_path_may_be_as_long_as_this():
    assert len(Shape.parse("a," * 255 + "aa").paths) == 256
    with pytest.raises(ValueError, match="too long"):
        Shape.parse("a," * 256 + "a")


TEXTS = st.text("abc.[]{}=, 1*", max_size=24)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("abc1./:", max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=20,
)


@given(TEXTS)
@example("a[b=c].a")
def test_a_path_is_parsed_or_refused(text: str):
    try:
        shape = Shape.parse(text)
    except ValueError:
        return
    assert all(shape.paths)


@given(
    st.sampled_from(
        ["a", "a[]", "[]", "[].a", "a[].b", "a[b=c].a", "{x}[]", "{x}.a[]", "a.b[], c[]", "[a=b][b=c].a[]"]
    ),
    JSON,
)
def test_any_document_gives_texts_or_a_feed_error(path: str, document: object):
    try:
        groups = Shape.parse(path, ("a", "b")).find(document)
    except FeedError:
        return
    assert all(isinstance(text, str) for texts in groups.values() for text in texts)
