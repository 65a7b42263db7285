"""Everything that reads bytes of a peer raises its own errors and no others: one table, and a row for every reader.

A reader is what is called like one (``parse…``, ``read…``, ``decode…``, ``feed``, ``begin``, …) and is given bytes,
text or a head. Who writes a new one and gives it no row finds out here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import heads, kept
from fuzz.readers import LIMITS, READERS, run
from fuzz.witness import check_request, check_response
from proxy.core.request_head import read_request_head
from proxy.core.response_head import read_response_head
from tests.examples import examples

ROOT = Path(__file__).resolve().parents[1]
CALLED = re.compile(
    r"(?:parse|read|decode|open|check|feed|begin|decide|find_check|diagnose|strip|split|unescape)(?:_|$)"
)
GIVEN = re.compile(r"\b(?:bytes|Piece|str|RequestHead|Case)\b")
#: What is called like a reader and is given nothing of a peer.
OTHERS = {
    "agent.keys.KeyShelf.open_code",  # a name that was read already
    "agent.keys.read_relay",  # a flag
    *("agent.talk.read_count", "net.access_log.LogSink.open", "net.tcp_forward.PipeEnd.begin_with"),
    *("core.payload.Pointer.parse", "core.payload.Glob.parse"),  # the configuration's
    "core.recurring.HeadForm.read",  # one of those that ``HeadForms.read`` asks
    "core.content.Passage.begin",  # a head that we have written
}
PLACES = [
    *(ROOT / "proxy" / "core").rglob("*.py"),
    *(ROOT / "proxy" / "net").rglob("*.py"),
    *(ROOT / "proxy/agent" / f"{name}.py" for name in ("talk", "keys")),
    ROOT / "proxy/ops/worker_processes.py",
    ROOT / "proxy/tools/pasted.py",
    ROOT / "proxy/tools/saved_delivery.py",
]


def readers(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from readers(child, f"{prefix}.{child.name}")
        elif isinstance(child, ast.FunctionDef) and CALLED.match(child.name):
            arguments = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
            if any(one.annotation is not None and GIVEN.search(ast.unparse(one.annotation)) for one in arguments):
                yield f"{prefix}.{child.name}"


def found() -> set[str]:
    names: set[str] = set()
    for path in PLACES:
        prefix = ".".join(path.relative_to(ROOT / "proxy").with_suffix("").parts).removesuffix(".__init__")
        names.update(readers(ast.parse(path.read_text()), prefix))
    return names


def test_every_reader_has_a_row() -> None:
    rows = [name for row in READERS.values() for name in row.covers]
    assert len(rows) == len(set(rows))
    assert sorted(found() - set(rows) - OTHERS) == [], "give it a row in fuzz/readers.py"
    assert sorted(set(rows) - found()) == [], "there is no such reader any more"


WORDS = re.findall(r'^"(.*)"$', (ROOT / "fuzz" / "http.dict").read_text(), re.MULTILINE)
DICTIONARY = [word.encode("latin-1").decode("unicode_escape").encode("latin-1") for word in WORDS]


@pytest.mark.parametrize("name", READERS)
def test_it_raises_nothing_else(name: str) -> None:
    pieces = st.one_of(st.sampled_from(DICTIONARY), st.sampled_from(kept.load(name)), st.binary(max_size=8))
    grown = st.lists(pieces, max_size=8).map(b"".join)

    @examples(30)
    @given(st.one_of(st.binary(max_size=200), grown))
    def holds(data: bytes) -> None:
        run(name, data)

    holds()


@pytest.mark.parametrize("name", READERS)
def test_what_the_fuzzer_has_learned_stays_true(name: str) -> None:
    corpus = kept.load(name)
    assert corpus
    for data in corpus:
        run(name, data)


def test_the_corpus_is_as_it_would_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in READERS:
        path = kept.FOLDER / f"{name}.txt"
        before = path.read_bytes()
        inputs = kept.load(name)
        monkeypatch.setattr(kept, "FOLDER", tmp_path)
        assert kept.save(name, reversed(inputs)) == len(inputs)
        assert (tmp_path / path.name).read_bytes() == before
        monkeypatch.undo()


def test_mutated_heads_are_read_as_h11_reads_them() -> None:
    """The short form of what ``make fuzz`` does with a million of them."""
    assert heads.play(seed=1, count=2000) == []


@pytest.mark.parametrize("spoilt", [b"GET", b"/other", b"HTTP/1.0", b"X-Other: 1"])
def test_the_witness_tells_another_reading(spoilt: bytes) -> None:
    data = b"POST /hooks HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n"
    found = read_request_head(data, LIMITS)
    assert found is not None
    check_request(found[0], data)
    swap = {b"GET": b"POST", b"/other": b"/hooks", b"HTTP/1.0": b"HTTP/1.1", b"X-Other: 1": b"X-A: 1"}
    with pytest.raises(AssertionError):
        check_request(found[0], data.replace(swap[spoilt], spoilt))


def test_the_witness_tells_what_h11_refuses() -> None:
    found = read_request_head(b"POST /hooks HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS)
    assert found is not None
    with pytest.raises(AssertionError, match="h11 refuses"):
        check_request(found[0], b"POST /hooks HTTP/1.1\r\nHost : a\r\n\r\n")
    answer = read_response_head(b"HTTP/1.1 200 OK\r\n\r\n", b"POST")
    assert answer is not None
    with pytest.raises(AssertionError, match="h11 refuses"):
        check_response(answer[0], b"HTTP/1.1 20\r\n\r\n", b"POST")
