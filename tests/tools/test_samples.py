"""Samples: every file is used and can be read, and every name leads to one."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.tools.samples import FORM, GENERIC, SAMPLES, body_of, choose, samples_of

EVERY = [*{sample.file: sample for samples in SAMPLES.values() for sample in samples}.values(), GENERIC]


@pytest.mark.parametrize("sample", EVERY, ids=lambda sample: sample.file)
def test_a_sample_is_as_it_is_sent(sample):
    body = body_of(sample)
    assert len(body) > 20
    assert not body.endswith(b"\n")
    if sample.content_type == FORM:
        assert b"=" in body
    else:
        assert json.loads(body)
        assert b", " not in body.split(b'"')[0]


def test_every_file_is_used():
    files = {path.name for path in resources.files("proxy.tools").joinpath("samples").iterdir()}
    assert files == {f"{sample.file}.json" for sample in EVERY}


def test_samples_are_of_providers():
    assert set(SAMPLES) <= set(PROVIDERS)


def test_people_and_hosts_are_invented():
    for sample in EVERY:
        text = body_of(sample).decode()
        assert "@example.com" in text or "@" not in text.replace("<@", "").replace("@odata", "").replace("%40", "")


@pytest.mark.parametrize(
    ("slug", "event", "file"),
    [
        ("github", None, "github.push"),
        ("github", "ping", "github.ping"),
        ("gitlab", "Merge Request Hook", "gitlab.merge_request"),
        ("gitlab", "merge_request", "gitlab.merge_request"),
        ("svix", None, "standard_webhooks.user.created"),
        ("zendesk", None, "generic.test"),
        ("zendesk", "whatever", "generic.test"),
    ],
)
def test_an_event_is_chosen(slug: str, event: str | None, file: str):
    assert choose(PROVIDERS[slug], event).file == file


@pytest.mark.parametrize(
    ("event", "mend"), [("pulls_request", "did you mean 'pull_request'"), ("xyzzy", "there are push, ping")]
)
def test_an_unknown_event(event: str, mend: str):
    with pytest.raises(ValueError, match=mend):
        choose(PROVIDERS["github"], event)


def test_nobody_is_without_a_sample():
    assert all(samples_of(provider) for provider in PROVIDERS.values())
