"""Samples: every file is used and can be read, and every name leads to one."""

from __future__ import annotations

import json
import re
from importlib import resources
from urllib.parse import unquote_plus

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.tools.samples import GENERIC, SAMPLES, Moment, body_of, choose, samples_of

FOLDER = resources.files("proxy.tools").joinpath("samples")
INCLUDED = re.compile(r'"@include": "([^"]+)"')
MARK = re.compile(rb'"@(now|id|hex|uuid|include)')
HOST = re.compile(r"[\w.-]+@([\w.-]+)")
MOMENT = Moment(1772356500.25, "demo-1")
EVERY = [*{sample.file: sample for samples in SAMPLES.values() for sample in samples}.values(), GENERIC]


@pytest.mark.parametrize("sample", EVERY, ids=lambda sample: sample.file)
def test_a_sample_is_as_it_is_sent(sample):
    body = body_of(sample, MOMENT)
    assert len(body) > 20
    assert not body.endswith(b"\n")
    if sample.is_form:
        assert b"=" in body
    else:
        assert json.loads(body)
        assert sample.indent is not None or b", " not in body.split(b'"')[0]
    assert not MARK.search(body), "every mark is filled in"


def test_every_file_is_used():
    files = {path.name for path in FOLDER.iterdir()}
    parts = {name for file in files for name in INCLUDED.findall((FOLDER / file).read_text())}
    assert files == {f"{name}.json" for name in {sample.file for sample in EVERY} | parts}


def test_samples_are_of_providers():
    assert set(SAMPLES) <= set(PROVIDERS)


def test_people_and_hosts_are_invented():
    for sample in EVERY:
        text = unquote_plus(body_of(sample, MOMENT).decode())
        hosts = set(HOST.findall(text)) - {"ismtpd-555"}
        assert {host for host in hosts if not re.search(r"(^|\.)example(\.com)?$", host)} == set()


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


def test_ids_belong_to_the_delivery_and_times_to_now():
    first, again = (json.loads(body_of(choose(PROVIDERS["stripe"], None), MOMENT)) for _ in range(2))
    other = json.loads(body_of(choose(PROVIDERS["stripe"], None), Moment(1772356501.0, "demo-2")))
    assert first == again
    assert first["id"] != other["id"]
    assert first["id"].startswith("evt_1")
    assert (first["created"], other["created"]) == (1772356500, 1772356501)
    assert json.loads(body_of(choose(PROVIDERS["linear"], None), MOMENT))["webhookTimestamp"] == 1772356500250


def test_what_is_included_may_be_changed():
    push = json.loads(body_of(choose(PROVIDERS["github"], "push"), MOMENT))
    assert push["repository"]["owner"] == push["sender"] | {"name": "octo", "email": "octo@example.com"}
    assert push["repository"]["forks_url"].endswith("/octo/hello/forks")
    assert push["head_commit"] == push["commits"][0]
    assert push["head_commit"]["committer"]["username"] == "octo"
