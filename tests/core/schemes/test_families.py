"""Every provider that signs: genuine deliveries are taken, and whatever differs from one is not."""

from __future__ import annotations

import pytest

from proxy.core.schemes import body_only, body_only_other, keys_and_tokens, listed, parsed_body, timestamped
from tests.deliveries import check_genuine, check_header, check_time, check_wrong, make, slugs

FAMILIES = (body_only, body_only_other, keys_and_tokens, listed, parsed_body, timestamped)
SLUGS = [slug for family in FAMILIES for slug in slugs(family)]
IN_HEADER = [slug for slug in SLUGS if make(slug).fields]


@pytest.mark.parametrize("slug", SLUGS)
def test_genuine_deliveries_are_accepted_however_they_are_cut(slug):
    check_genuine(slug)


@pytest.mark.parametrize("slug", SLUGS)
def test_another_body_or_secret_is_refused(slug):
    check_wrong(slug)


@pytest.mark.parametrize("slug", IN_HEADER)
def test_the_header_must_be_written_exactly(slug):
    check_header(slug)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_window_of_time_is_closed_both_ways(slug):
    check_time(slug)
