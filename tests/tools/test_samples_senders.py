"""What providers put around the proof: known schemes go along, names are spelt as they publish them."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.tools.samples import AGENT, SENDERS, choose, sender_of, spelt
from proxy.tools.sending import Delivery, Order, compose

SECRET = b"a secret of the tests of senders"


def sent(slug: str, event: str | None = None, **more: str) -> tuple[Delivery, dict[str, str]]:
    order = Order(PROVIDERS[slug], SECRET, "https://hooks.example.com/in", choose(PROVIDERS[slug], event), 1e9, **more)
    delivery = compose(order)
    names = [name.lower() for name, _ in delivery.fields]
    assert len(names) == len(set(names)), "no field comes twice"
    return delivery, {name: value.decode("latin-1") for name, value in delivery.fields}


def test_senders_are_providers_and_so_is_what_goes_along():
    assert set(SENDERS) <= set(PROVIDERS)
    assert {slug for sender in SENDERS.values() for slug in sender.also} <= set(PROVIDERS)


@pytest.mark.parametrize("slug", SENDERS)
def test_every_field_is_filled_in(slug: str):
    texts = [value for _, value in SENDERS[slug].fields]
    filled = [value.format(id="i", uuid="u", event="e", time="t", s="s", ms="m") for value in texts]
    assert all(filled)
    assert not re.search(r"[{}]", "".join(filled))


def test_github_signs_both_ways_and_names_its_hook():
    delivery, fields = sent("github")
    for name, digest in {"X-Hub-Signature": "sha1", "X-Hub-Signature-256": "sha256"}.items():
        assert fields[name] == f"{digest}={hmac.new(SECRET, delivery.body, digest).hexdigest()}"
    assert fields["User-Agent"] == "GitHub-Hookshot/044aadd"
    assert fields["X-GitHub-Hook-Installation-Target-Type"] == "repository"
    assert set(fields) >= {"Accept", "X-GitHub-Hook-ID", "X-GitHub-Hook-Installation-Target-ID", "X-GitHub-Delivery"}
    assert delivery.proof == {"x-hub-signature", "x-hub-signature-256"}


def test_a_form_carries_the_json_and_is_what_is_signed():
    delivery, fields = sent("github", form="payload")
    assert fields["Content-Type"] == "application/x-www-form-urlencoded"
    assert delivery.body.startswith(b"payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22")
    assert fields["X-Hub-Signature-256"] == f"sha256={hmac.new(SECRET, delivery.body, hashlib.sha256).hexdigest()}"


def test_gitea_speaks_as_github_too():
    _, fields = sent("gitea")
    assert fields["X-Gitea-Delivery"] == fields["X-Gogs-Delivery"] == fields["X-GitHub-Delivery"]
    assert "sha256=" + fields["X-Gitea-Signature"] == fields["X-Hub-Signature-256"]


def test_ids_have_the_form_of_the_provider():
    _, standard = sent("standard_webhooks")
    assert re.fullmatch(r"msg_[0-9A-Za-z]{27}", standard["webhook-id"])
    assert standard["User-Agent"] == AGENT
    _, gitlab = sent("gitlab_signing_token")
    assert gitlab["Idempotency-Key"] == gitlab["webhook-id"]
    _, shopify = sent("shopify", "app/uninstalled")
    assert shopify["X-Shopify-Triggered-At"] == "2001-09-09T01:46:40Z"
    assert shopify["X-Shopify-Topic"] == "app/uninstalled"


def test_stripe_indents_and_twilio_sends_a_form():
    stripe, fields = sent("stripe")
    assert stripe.body.startswith(b'{\n  "id": "evt_1')
    assert fields["Content-Type"] == "application/json; charset=utf-8"
    twilio, fields = sent("twilio", "call")
    assert b"CallStatus=ringing" in twilio.body
    assert fields["Content-Type"] == "application/x-www-form-urlencoded; charset=UTF-8"


@pytest.mark.parametrize(
    ("name", "written"),
    [("x-github-event", "X-GitHub-Event"), ("Webhook-Id", "webhook-id"), ("stripe-signature", "Stripe-Signature")],
)
def test_names_are_spelt_as_published(name: str, written: str):
    assert spelt(name) == written


def test_an_unknown_sender_says_what_it_is():
    assert sender_of(PROVIDERS["zendesk"]).agent == AGENT
