"""What first bytes are, in any pieces; what OpenSSL's words mean; and that labels are of a closed list."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import setup_faults
from proxy.core.setup_faults import TLS_WORDS, SetupFault, Spoken, client_certificate_fault, spoken, tls_fault

KNOWN = [
    (b"\x16\x03\x01\x02\x00\x01", Spoken.TLS),
    (b"GET / HTTP/1.1\r\n", Spoken.HTTP),
    (b"OPTIONS * HTTP/1.1\r\n", Spoken.HTTP),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Spoken.HTTP),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n", Spoken.PROXY),
    (b"PROXY UNKNOWN\r\n", Spoken.PROXY),
    (b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", Spoken.PROXY),
    (b"SSH-2.0-OpenSSH_9.2\r\n", Spoken.NOTHING),
    (b"get / HTTP/1.1\r\n", Spoken.NOTHING),
    (b"\r\nGET / HTTP/1.1\r\n", Spoken.NOTHING),
    (b"\x80\x2e\x01\x00\x02", Spoken.NOTHING),
]


@pytest.mark.parametrize(("data", "what"), KNOWN)
def test_what_first_bytes_are(data: bytes, what: Spoken) -> None:
    assert spoken(data) is what


@given(st.one_of(st.sampled_from([data for data, _ in KNOWN]), st.binary(max_size=40)))
def test_it_is_decided_once_and_soon(data: bytes) -> None:
    """However the bytes come, what is said of a beginning is said of the whole."""
    said = [spoken(data[:size]) for size in range(len(data) + 1)]
    decided = [one for one in said if one is not Spoken.UNDECIDED]
    assert len(set(decided)) <= 1
    assert said[:13].count(Spoken.UNDECIDED) == said.count(Spoken.UNDECIDED), "after 12 bytes it is known"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", "untrusted"),
        ("NO_SHARED_CIPHER", "cipher"),
        ("UNSUPPORTED_PROTOCOL", "protocol"),
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "client_certificate"),
        ("A_WORD_OF_TOMORROW", "other"),
        ("", "other"),
    ],
)
def test_what_openssl_means(reason: str, word: str) -> None:
    fault = tls_fault(reason, ", after the handshake")
    assert fault.word == word
    assert fault.said.startswith("TLS failed: ")
    assert ", after the handshake" in fault.said
    assert reason.lower().replace("_", " ") in fault.said
    assert fault.mend


def test_labels_are_of_a_closed_list() -> None:
    assert len(set(TLS_WORDS)) == len(TLS_WORDS)
    assert {tls_fault(reason).word for reason in (*setup_faults._MEANINGS, "")} <= set(TLS_WORDS)
    assert client_certificate_fault("expired").word in TLS_WORDS


def test_the_names_of_reasons_are_those_of_openssl() -> None:
    """A name that OpenSSL does not have would never be seen; those of newer ones than ours are let pass."""
    names = {name for _, name in ssl._ssl.err_codes_to_names.items()}  # type: ignore[attr-defined]  # no other list
    newer = {"NO_SHARED_GROUPS", "NO_SUITABLE_GROUPS"}
    assert set(setup_faults._MEANINGS) - names <= newer


def test_each_says_its_mend() -> None:
    faults = [one for one in vars(setup_faults).values() if isinstance(one, SetupFault)]
    assert len(faults) > 10
    assert all(one.word and len(one.said) > 10 and len(one.mend) > 10 for one in faults)
