"""The same bytes to hookward before a server and to that server itself: never are they read as different requests.

Four readers that are not ours: nginx, gunicorn, and uvicorn with h11 and with llhttp, the parser of Node. Each writes
down what it reads; every request of a case carries the case's number in its target. For each case:

* behind hookward the server reads exactly as many requests as hookward has let through, no more and no fewer;
* as far as both read, hookward and the server read the same: method, target and content. One of them may refuse and
  stop where the other goes on; neither may find a request where the other sees content.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bench.load.process import free_port
from tests.whole.process import Hookward
from tests.whole.servers import nginx, served
from tests.whole.wire import PATIENCE_S, once, request

SEEN = b"<<seen>>"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
#: Who says nothing for so long waits for more bytes, which do not come; or is slow, and is given more time.
QUIET_S = 0.4
PATIENT_QUIET_S = (1.0, 4.0, 8.0)  # one try after the other
AT_ONCE = 24

WSGI = """
import json, os
LOG = os.open(os.environ["SEEN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def application(environ, start_response):
    content = environ["wsgi.input"].read()
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isdigit() or int(length) == len(content):
        line = [environ["REQUEST_METHOD"], environ["RAW_URI"], content.decode("latin-1")]
        os.write(LOG, json.dumps(line).encode() + b"\\n")
    start_response("200 OK", [("Content-Length", "0"), ("X-Seen", "<<seen>>")])
    return []
"""
ASGI = """
import json, os
LOG = os.open(os.environ["SEEN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def application(scope, receive, send):
    assert scope["type"] == "http"
    content, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        content += event.get("body", b"")
        more = event.get("more_body", False)
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    os.write(LOG, json.dumps([scope["method"], target.decode(), content.decode("latin-1")]).encode() + b"\\n")
    headers = [(b"content-length", b"0"), (b"x-seen", b"<<seen>>")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
"""
NGINX = """
location / {{
    access_log {log} seen if=$is_whole;
    add_header X-Seen "<<seen>>" always;
    client_body_buffer_size 64k;
    proxy_http_version 1.1;
    proxy_pass http://127.0.0.1:{inner};
}}
"""
# A request that ends in its content is written down as well: as one that was bad, or whose client went away.
NGINX_HTTP = """
map $status $is_whole {{ default 1; 400 0; 408 0; 499 0; }}
log_format seen escape=json '["$request_method","$request_uri","$request_body"]';
server {{ listen 127.0.0.1:{inner}; location / {{ return 204; }} }}
"""

Request = tuple[str, str, str]


@contextmanager
def nginx_server(folder: Path, log: Path) -> Iterator[int]:
    inner = free_port()
    with nginx(folder, NGINX.format(log=log, inner=inner), NGINX_HTTP.format(inner=inner)) as port:
        yield port


@contextmanager
def gunicorn_server(folder: Path, log: Path) -> Iterator[int]:
    (folder / "wsgi.py").write_text(WSGI)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "8"]
    command += ["--keep-alive", "75"]
    with served([*command, "wsgi:application"], port, folder, SEEN_LOG=str(log), PYTHONWARNINGS="default"):
        yield port


def uvicorn_server(parser: str) -> Callable[[Path, Path], object]:
    @contextmanager
    def server(folder: Path, log: Path) -> Iterator[int]:
        (folder / "asgi.py").write_text(ASGI)
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--http", parser, "--log-level", "error"]
        command += ["--timeout-keep-alive", "75"]
        with served([*command, "asgi:application"], port, folder, SEEN_LOG=str(log), PYTHONWARNINGS="default"):
            yield port

    return server


SERVERS = {
    "nginx": (nginx_server, ""),
    "gunicorn": (gunicorn_server, "gunicorn"),
    "uvicorn_h11": (uvicorn_server("h11"), "uvicorn"),
    "uvicorn_llhttp": (uvicorn_server("httptools"), "httptools"),
}


@dataclass
class Pair:
    """A server, hookward before it, and the log of what the server read."""

    name: str
    port: int
    hookward: Hookward
    log: Path
    numbers: Iterator[int]
    read: int = 0

    def seen(self) -> list[Request]:
        """What is new in the log. A last request over a new connection shows that nothing is on its way."""
        mark = f"/fence/{next(self.numbers)}"
        for address in (self.hookward.address, ("127.0.0.1", self.port)):
            assert once(address, request("GET", mark)).status in {200, 204}
        deadline = monotonic() + PATIENCE_S
        while True:
            # In nginx's JSON bytes over 0x7f stand as they came.
            lines = self.log.read_text("latin-1").splitlines()
            read = [tuple(json.loads(line)) for line in lines[self.read :] if line.endswith("]")]
            if sum(line[1] == mark for line in read) == 2:
                self.read = len(lines)
                return read
            assert monotonic() < deadline, f"{self.name} did not write down {mark}"

    def play(self, port: int, messages: Sequence[bytes]) -> tuple[list[int], list[Request]]:
        """Send each over a connection of its own: how many answers of the server each has got, and what it has read."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            counts = list(pool.map(lambda data: exchange(port, data), messages))
        return counts, self.seen()


@pytest.fixture(scope="module", params=SERVERS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    start, module = SERVERS[request.param]
    if module and find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    log = folder / "seen.log"
    with ExitStack() as stack:
        port: int = stack.enter_context(start(folder, log))
        (folder / "hookward.toml").write_text(
            f"""
            listen = ["127.0.0.1:0"]
            upstream = "http://127.0.0.1:{port}"
            [route.all]
            path = "/"
            methods = {list(METHODS)}
            allow = ["127.0.0.0/8"]
            """
        )
        hookward = Hookward("--config", str(folder / "hookward.toml"))
        yield Pair(request.param, port, hookward, log, itertools.count())
        hookward.stop()


def exchange(port: int, data: bytes, quiet_s: float = QUIET_S) -> int:
    """Send the bytes and wait until the other end has nothing more to say; how many requests it says it has seen."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=quiet_s) as sock:
        try:
            sock.sendall(data)
            while piece := sock.recv(1 << 16):
                received += piece
        except (TimeoutError, ConnectionError):
            pass
    return received.count(SEEN)


def of_case(lines: Sequence[Request], mark: str) -> list[Request]:
    """What was read of a case, targets in origin-form, without what hookward reads as well and answers with 405."""
    bare = [(method, re.sub(r"^https?://[^/?#]*", "", target), content) for method, target, content in lines]
    return [line for line in bare if line[1].startswith(mark) and line[0] in METHODS]


def check(pair: Pair, cases: Sequence[Callable[[bytes], bytes]]) -> None:
    """Play the cases, which write down their bytes when given the beginning of their targets."""
    marks = [f"/{next(pair.numbers)}/case" for _ in cases]
    messages = [case(mark.encode()) for case, mark in zip(cases, marks, strict=True)]
    counts, behind = pair.play(pair.hookward.port, messages)
    _, direct = pair.play(pair.port, messages)
    for data, mark, answers in zip(messages, marks, counts, strict=True):
        through, alone = of_case(behind, mark), of_case(direct, mark)
        told = f"{pair.name}: {data!r}\nbehind: {through}\ndirect: {alone}"
        for quiet_s in PATIENT_QUIET_S:
            if len(through) == answers:
                break
            # On a busy machine we may have left between two of its answers: what a patient client sees counts.
            answers = exchange(pair.hookward.port, data, quiet_s)  # noqa: PLW2901 - of the last try
            through = of_case(pair.seen(), mark)
        assert len(through) == answers, told
        for ours, theirs in zip(through, alone, strict=False):
            assert ours == theirs, told


# -- the corpus


def message(
    lines: Sequence[bytes], content: bytes, start: bytes = b"POST %b/first HTTP/1.1"
) -> Callable[[bytes], bytes]:
    """A request with these field lines, a second one behind it, and an end."""

    def write(mark: bytes) -> bytes:
        first = b"\r\n".join([start.replace(b"%b", mark), b"Host: a.example", *lines, b"", b""])
        return first + content.replace(b"%b", mark) + second(mark) + end(mark)

    return write


def second(mark: bytes) -> bytes:
    return b"POST %b/second HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc" % mark


def end(mark: bytes) -> bytes:
    return b"GET %b/end HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n" % mark


SMUGGLED = b"GET %b/smuggled HTTP/1.1\r\nHost: a.example\r\nX: "
CL, TE = b"Content-Length: ", b"Transfer-Encoding: "
FRAMINGS: tuple[tuple[bytes, ...], ...] = (
    *((), (CL + b"0",), (CL + b"5",), (TE + b"chunked",), (CL + b"5", TE + b"chunked"), (TE + b"chunked", CL + b"5")),
    *((CL + b"5", CL + b"5"), (CL + b"5", CL + b"0"), (CL + b"5, 5",), (CL + b"+5",), (CL + b"05",), (CL + b"5 ",)),
    *((CL + b"0x5",), (CL + b"5_0",), (CL,), (CL + b"\t5",), (b"Content-Length : 5",), (b"Content_Length: 5",)),
    *(
        (b"Content-Length:\r\n 5",),
        (CL + b"18446744073709551621",),
        (b"content-length:5",),
        (b"X: y\nContent-Length: 5",),
    ),
    *(
        (TE + b"xchunked",),
        (TE + b"chunked, identity",),
        (TE + b"identity",),
        (TE + b"gzip, chunked",),
        (TE + b"Chunked",),
    ),
    *(
        (TE + b"\tchunked",),
        (TE + b"\x0bchunked",),
        (TE + b"chunked\r\n" + TE + b"identity",),
        (b"Transfer-Encoding : chunked",),
    ),
    *(
        (b"Transfer_Encoding: chunked",),
        (b"X: y\r\n Transfer-Encoding: chunked",),
        (b"X: y\rTransfer-Encoding: chunked",),
    ),
    *((TE + b'"chunked"',), (TE,), (TE + b"chunked,",), (TE + b", chunked",), (b"Expect: 100-continue", CL + b"5")),
    *(
        (b"Connection: Content-Length", CL + b"5"),
        (b"Connection: Transfer-Encoding", TE + b"chunked"),
        (b"Trailer: X", TE + b"chunked"),
    ),
    *((b"Connection: close, keep-alive", CL + b"5"), (b"Connection: close", TE + b"chunked")),
)
CONTENTS = (
    *(
        b"",
        b"hello",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"5;a=b\r\nhello\r\n0\r\n\r\n",
    ),
    *(
        b"5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
        b"0\r\n\r\n" + SMUGGLED,
        b"5\r\nhello\n0\n\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"05\r\nhello\r\n00\r\n\r\n",
    ),
    *(
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhello\r\n0\r\n\n",
    ),
    *(
        b"5;\n" + SMUGGLED + b"\r\nhello\r\n0\r\n\r\n",
        b'5;a="\r\n' + SMUGGLED + b'"\r\nhello\r\n0\r\n\r\n',
        b"-5\r\nhello\r\n0\r\n\r\n",
    ),
    *(
        b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    ),
)
STARTS = (
    *(b"POST %b/first HTTP/1.0", b"GET %b/first HTTP/1.1", b"HEAD %b/first HTTP/1.1", b"PUT %b/first HTTP/1.1"),
    *(b"POST  %b/first HTTP/1.1", b"POST %b/first  HTTP/1.1", b"POST\t%b/first HTTP/1.1", b"POST %b/first HTTP/1.1 "),
    *(
        b"POST %b/first",
        b"POST %b/first HTTP/2.0",
        b"POST %b/first HTTP/1.2",
        b"POST %b/first HTTP/0.9",
        b"post %b/first HTTP/1.1",
    ),
    *(
        b"POST http://a.example%b/first HTTP/1.1",
        b"POST http://b.example%b/first HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
    ),
    *(
        b"\r\nPOST %b/first HTTP/1.1",
        b"\r\n\r\nPOST %b/first HTTP/1.1",
        b"\nPOST %b/first HTTP/1.1",
        b" POST %b/first HTTP/1.1",
    ),
    *(
        b"POST %b/first?a=b HTTP/1.1",
        b"POST %b/first#a HTTP/1.1",
        b"POST %b/first%20x HTTP/1.1",
        b"POST %b/first\x00 HTTP/1.1",
    ),
    *(
        b"POST %b/first HTTP/1.1\r\nX: y\n\nGET %b/lf HTTP/1.1",
        b"POST %b/first HTTP/1.1\r\n Host: b",
        b"POST %b/first HTTP/1.1\r\nHost: b",
    ),
)


def test_the_corpus_of_framings(pair: Pair) -> None:
    check(pair, [message(lines, content) for lines in FRAMINGS for content in CONTENTS])


def test_the_corpus_of_request_lines(pair: Pair) -> None:
    framings = ((), (CL + b"5",), (TE + b"chunked",), (CL + b"5", TE + b"chunked"))
    contents = (b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n")
    check(pair, [message(lines, content, start) for start in STARTS for lines in framings for content in contents])


# -- the generator

BREAKS = st.sampled_from([b"\r\n"] * 80 + [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n ", b"\r\n\t", b""])
FIELDS = st.one_of(
    st.sampled_from([line for lines in FRAMINGS for line in lines]),
    st.sampled_from(
        [b"X: y", b"X:", b": y", b"X", b"X y: z", b"Host: b.example", b"Connection: close", b"Connection: keep-alive"]
    ),
    st.tuples(
        st.sampled_from(
            [b"Content-Length", b"Transfer-Encoding", b"content-length", b"Transfer-Encoding\x0b", b"X-A", b""]
        ),
        st.sampled_from([b":", b": ", b" :", b":\t", b":  ", b"\x00:"]),
        st.sampled_from([b"5", b"0", b"chunked", b"", b"5\x00", b"chunked\x0b", b" 5", b"5,", b"CHUNKED", b"3"]),
    ).map(b"".join),
)
CHUNKS = st.tuples(
    st.sampled_from([b"5", b"05", b"0", b"00", b"3", b" 5", b"5 ", b"5;a", b"5;", b"0x5", b"-0", b"a", b"5;a=\xff"]),
    st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\n\r\n"]),
    st.sampled_from([b"hello", b"", b"abc", b"0123456789", SMUGGLED, b"hello\r\n"]),
    st.sampled_from([b"\r\n"] * 20 + [b"\n", b"", b"\r", b"XX"]),
).map(b"".join)
BODIES = st.one_of(st.sampled_from(CONTENTS), st.lists(CHUNKS, max_size=4).map(b"".join))


@st.composite
def generated(draw: st.DrawFn) -> bytes:
    """Up to two requests with all that may be wrong with each, a genuine one behind them, and an end; ``%b`` marks."""
    found = b""
    for name in draw(st.sampled_from([(b"first",), (b"first", b"next")])):
        start = draw(st.sampled_from([b"POST %b/first HTTP/1.1"] * 20 + list(STARTS))).replace(b"first", name)
        lines = [b"Host: a.example", *draw(st.lists(FIELDS, max_size=3))]
        found += start + draw(BREAKS) + b"".join(line + draw(BREAKS) for line in lines) + draw(BREAKS) + draw(BODIES)
    return found


GOOD = (
    *(
        b"first HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",
        b"first HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    *(b"first HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a\r\nabc\r\n0\r\n\r\n",),
    *(b"first HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a.example\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",),
    *(b"first HTTP/1.1\r\nHost: a.example\r\nContent-Length: 30\r\nX: y\r\n\r\n" + SMUGGLED[:30],),
)
SCARS = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n ",
        b" ",
        b"\t",
        b"\x00",
        b"\x0b",
        b":",
        b";",
        b",",
        b"0",
        b"5",
        b"-",
        b"+",
        b"_",
        b"\xff",
        b"",
    ),
    *(
        b"\r\nContent-Length: 0",
        b"\r\nTransfer-Encoding: chunked",
        b"\nTransfer-Encoding: chunked\n",
        b"0\r\n\r\n",
        b"\r\n\r\n",
    ),
)


@st.composite
def scarred(draw: st.DrawFn) -> bytes:
    """A good request with up to two wounds: something put in, or put in the place of a byte or two."""
    text = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(SCARS)) + text[at + draw(st.integers(0, 2)) :]
    return b"POST %b/" + text


def marked(data: bytes) -> Callable[[bytes], bytes]:
    return lambda mark: data.replace(b"%b", mark) + second(mark) + end(mark)


@pytest.mark.parametrize("messages", [generated(), scarred()], ids=["composed", "scarred"])
def test_generated_messages(pair: Pair, messages: st.SearchStrategy[bytes]) -> None:
    @settings(max_examples=4, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(st.lists(messages, min_size=60, max_size=60))
    def agrees(found: list[bytes]) -> None:
        check(pair, [marked(data) for data in found])

    agrees()
