"""The scheme language itself."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.core.signing.scheme import Claims, Method, Scheme, Timestamp


def test_a_scheme_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scheme((b"x",)).signed = "{body}"


def test_two_part_secrets_are_split_at_the_first_colon():
    assert Scheme((b"x",), two_part=True).split_key(b"a:b:c") == (b"a", b"b:c")
    assert Scheme((b"x",)).split_key(b"a:b") == (b"", b"a:b")


def test_who_needs_the_public_url():
    assert not Scheme((b"x",)).signs_url
    assert Scheme((b"x",), signed="{url}{body}").signs_url
    assert Scheme((b"x",), signed="{sorted_url}").signs_url
    assert Scheme((b"x",), method=Method.JWT, claims=Claims(url="url_hash")).signs_url


def test_every_header_that_the_check_reads_is_named():
    scheme = Scheme(
        (b"s-1", b"s-2"),
        signed="{id}{nonce}{timestamp}{header:X-Other}{body}",
        timestamp=Timestamp(b"t"),
        identity=b"i",
        nonce=b"n",
        required=((b"v", b"1"),),
    )
    assert scheme.header_names == {b"s-1", b"s-2", b"t", b"i", b"n", b"v", b"x-other"}
