"""By what a delivery is known again, whoever signs it: the same for every copy, another for every other delivery."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from proxy.core.schemes import PROVIDERS, find
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import Secret
from proxy.reasons import Reason
from tests.deliveries import BODY, NOW, Delivery, b64, check_for, head_of, mac, make

SIGNING = [slug for slug, provider in PROVIDERS.items() if provider.scheme is not None]
#: One word or one token serves any number of deliveries.
WITHOUT = {"microsoft_graph", "monday"}
#: What is signed does not hold the body that ``make`` is given.
FIXED = {slug for slug in SIGNING if slug not in WITHOUT and make(slug).body != BODY} | {"mercado_pago"}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def marks(check: SignatureCheck, delivery: Delivery, *, whole: bool = True) -> list[bytes]:
    verification = check.begin(head_of(delivery), NOW)
    assert not isinstance(verification, Reason)
    if whole:
        verdict = verification.verify(delivery.body)
    else:
        for at in range(0, len(delivery.body), 7):
            verification.update(delivery.body[at : at + 7])
        verdict = verification.finish()
    assert isinstance(verdict, str)
    return verification.marks()


@pytest.mark.parametrize("slug", SIGNING)
def test_a_copy_leaves_the_same_marks_however_it_is_cut(slug):
    delivery = make(slug)
    check = check_for(PROVIDERS[slug], delivery.secret)
    once = marks(check, delivery)
    assert marks(check, delivery, whole=False) == once
    assert bool(once) == (slug not in WITHOUT)
    assert delivery.secret not in b"".join(once)


@pytest.mark.parametrize("slug", [slug for slug in SIGNING if slug not in FIXED | WITHOUT])
def test_another_body_leaves_other_marks(slug):
    one, other = make(slug), make(slug, body=b'{"another":"body"}')
    check = check_for(PROVIDERS[slug], one.secret)
    assert not set(marks(check, one)) & set(marks(check, other))


def test_a_signature_that_is_left_out_makes_no_other_delivery():
    """A provider that rotates signs twice; who replays may drop either."""
    provider = find("stripe")
    old, new = b"old", b"new"
    check = SignatureCheck(provider.scheme, (Secret("new", new), Secret("old", old)))
    signatures = [mac(key, b"%d.%b" % (NOW, BODY)).hex().encode() for key in (old, new)]

    def delivery(*given: bytes) -> Delivery:
        listed = b"".join(b",v1=%b" % one for one in given)
        return Delivery([("Stripe-Signature", b"t=%d%b" % (NOW, listed))])

    both = set(marks(check, delivery(*signatures)))
    assert len(both) == 2
    for one in signatures:
        assert set(marks(check, delivery(one))) < both
        assert set(marks(check, delivery(one, b"00" * 32))) < both


def test_both_forms_of_a_body_that_one_signature_covers_are_one_delivery():
    provider = find("box")
    delivery = make("box", body='{"é":1}'.encode())
    check = check_for(provider, delivery.secret)
    stamp = dict(delivery.fields)[delivery.stamp]
    signature = b64(mac(delivery.secret, b'{"\\u00e9":1}' + stamp))
    fields = [(name, signature if "PRIMARY" in name else value) for name, value in delivery.fields]
    fields = [(name, value) for name, value in fields if "SECONDARY" not in name]
    sent = replace(delivery, fields=fields)
    rewritten = replace(sent, body=b'{"\\u00e9":1}')
    assert set(marks(check, sent)) == set(marks(check, rewritten))


def test_the_other_signature_that_anybody_can_make_of_an_ecdsa_signature_is_no_other_delivery():
    provider = find("sendgrid")
    delivery = make("sendgrid")
    check = check_for(provider, delivery.secret)
    [(name, value), *rest] = delivery.fields
    r, s = decode_dss_signature(base64.b64decode(value))
    twin = base64.b64encode(encode_dss_signature(r, P256_ORDER - s))
    assert twin != value
    assert marks(check, replace(delivery, fields=[(name, twin), *rest])) == marks(check, delivery)


def test_a_mark_is_no_signature_that_could_be_sent_where_it_need_not_be():
    """Public keys leave a digest of what was signed; only MACs are themselves, and are hashed before they are kept."""
    delivery = make("discord")
    check = check_for(PROVIDERS["discord"], delivery.secret)
    [mark] = marks(check, delivery)
    assert mark == hashlib.sha256(dict(delivery.fields)[delivery.stamp] + delivery.body).digest()
