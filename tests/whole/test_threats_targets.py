"""Request targets: a route never forwards what its path does not own, whoever reads the target behind us.

The judges are a real nginx, Werkzeug's routing on what WSGI makes of a path, a model of Tomcat (parameters go, the rest
is decoded and normalised), and the most lenient reader that we can imagine. What is let through, each of them must
place below the route's path.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, RequestRedirect, Rule

from proxy.core.grammar import parse_target
from proxy.errors import ProtocolError
from tests.examples import examples
from tests.whole.process import Hookward
from tests.whole.servers import nginx
from tests.whole.stage import Stage
from tests.whole.wire import Client, once, request

GUARDED = "/github"
OPEN = "/open"

REFUSED = (
    # dots, plain, encoded once and twice, with parameters, blanks and in other alphabets
    *("/open/.", "/open/..", "/open/./", "/open/../", "/open/../github", "/open/./../github", "/open/x/../../github"),
    *(
        "/./open",
        "/../open",
        "/..",
        "/.",
        "/open/...",
        "/open/....",
        "/open/.;/x",
        "/open/..;/github",
        "/open/..;x=1/github",
    ),
    *(
        "/open/%2e",
        "/open/%2E%2e",
        "/open/%2e%2e/github",
        "/open/.%2e/github",
        "/open/%2e./github",
        "/open/%2ex",
        "/%2e/open",
    ),
    *("/open/%252e", "/open/%252e%252e/github", "/open/%25252e", "/open/%%32%65", "/open/%25", "/open/%2525"),
    *(
        "/open/..%20/github",
        "/open/%20../github",
        "/open/.%20",
        "/open/..%c2%a0/github",
        "/open/%e2%80%82..",
        "/open/..%09",
    ),
    *("/open/%ef%bc%8e%ef%bc%8e/github", "/open/%e2%80%a5/github", "/open/%e2%80%a6", "/open/%e2%80%a4."),
    # separators
    *("//", "//open", "/open//", "/open//github", "///github", "/open/x//y", "//github", "//evil/open", "//@evil/"),
    *(
        "/open/..%2fgithub",
        "/open%2f..%2fgithub",
        "/open%2Fx",
        "/%2fopen",
        "/open/%2f",
        "/open%252fgithub",
        "/%2f%2fevil",
    ),
    *("/open\\..\\github", "/open\\x", "\\open", "/\\open", "/open/..\\github", "/open%5cx", "/open/..%5c..%5cgithub"),
    *(
        "/open/%255c",
        "/open%e2%88%95github",
        "/open%ef%bc%8fgithub",
        "/open/%e2%81%84x",
        "/open%ef%bc%bcx",
        "/open%ef%b9%a8x",
    ),
    # parameters
    *(
        "/open;x",
        "/open;x=1/y",
        "/open/;",
        "/open/;/github",
        "/;/open",
        "/open;/../github",
        "/open%3bx",
        "/open/%3B/",
        "/;x/open",
    ),
    *("/open/x%ef%bc%9by",),
    # fragments, bad escapes, bytes that no path holds
    *(
        "/open#",
        "/open#/../github",
        "/open/#x",
        "/#/open",
        "/open%",
        "/open%2",
        "/open%zz",
        "/open/%2z",
        "/open/%u002e",
    ),
    *(
        "/open/%u2215",
        "/open/%x2e",
        "/open/%-1",
        '/open/"',
        "/open/<x>",
        "/open/{x}",
        "/open/|",
        "/open/^",
        "/open/`",
        "/open/[x]",
    ),
    *("/open/%00", "/open%00.html", "/open/%01", "/open/%0a", "/open/%0d%0ax", "/open/%1b", "/open/%7f", "/open/%09"),
    *(
        "/open/%c0%af",
        "/open/%c0%ae%c0%ae/",
        "/open/%e0%80%af",
        "/open/%f0%80%80%af",
        "/open/%c0%2e",
        "/open/%ff",
        "/open/%c3",
    ),
    *("/open/%ed%a0%80", "/open/%f4%90%80%80", "/open/%80", "/open/%c2%85", "/open/%c2%9f", "/open/%c3%28"),
    # letters and digits that nobody needs to encode
    *("/%6fpen", "/ope%6E", "/%67ithub", "/open/%61", "/open/%2d", "/open/%5f", "/open/%7e", "/open/%30", "/open/%41"),
)


@pytest.mark.parametrize("target", REFUSED)
def test_targets_that_two_servers_may_read_differently(stage: Stage, target: str) -> None:
    stage.refuses(request("POST", target, {}, b"{}"), 400, "bad_request")
    stage.refuses(request("POST", f"http://hooks.example.com{target}", {}, b"{}"), 400, "bad_request")


UNKNOWN = (
    *(
        "/",
        "/ope",
        "/openx",
        "/open-x",
        "/open.x",
        "/open,x",
        "/open=x",
        "/open@x",
        "/open:x",
        "/open%20",
        "/open!",
        "/open+",
    ),
    *(
        "/OPEN",
        "/Open",
        "/opeN/x",
        "/x/open",
        "/open%c3%a9",
        "/open%3f",
        "/open%23",
        "/githubx",
        "/GITHUB",
        "/open%26",
        "/open%3d",
    ),
)


@pytest.mark.parametrize("target", UNKNOWN)
def test_targets_that_no_route_owns(stage: Stage, target: str) -> None:
    stage.refuses_each(request("POST", target, {}, b"{}"), 404, "path_not_matched")


FINE = (
    *(
        "/open",
        "/open/",
        "/open/x",
        "/open/x/",
        "/open/x/y.z",
        "/open/.x",
        "/open/x.",
        "/open/x..y",
        "/open/..x",
        "/open/x..",
    ),
    *(
        "/open/a%20b",
        "/open/%c3%a9",
        "/open/%e6%97%a5",
        "/open/%F0%9F%98%80",
        "/open/%2b",
        "/open/a+b",
        "/open/%40",
        "/open/%3a",
    ),
    *(
        "/open/%3f",
        "/open/%23",
        "/open/%26",
        "/open/a:b",
        "/open/a@b",
        "/open/a!$&'()*+,=b",
        "/open/~x",
        "/open/-",
        "/open/_",
    ),
    *(
        "/open/github",
        "/open/github/",
        "/open?",
        "/open?x",
        "/open?/../github",
        "/open/x?a=%2e%2e%2f&b=//&c=;d",
        "/open?a=%00",
    ),
    *(
        "/open?http://evil/",
        "/open/x?\\..\\",
        "/open??",
        "/open?a=%zz",
        '/open/x?{}|^`<>"[]',
        "/open/%22",
        "/open/%3c",
        "/open/%7b",
    ),
)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hookward, int]]:
    """hookward with one open and one guarded route before an nginx that tells where it sees itself."""
    folder = tmp_path_factory.mktemp("targets")
    server = (
        'location / { return 200 "nowhere $uri"; }'
        f'location {OPEN}/ {{ return 200 "open $uri"; }} location = {OPEN} {{ return 200 "open $uri"; }}'
        f'location {GUARDED} {{ return 200 "guarded $uri"; }}'
    )
    (folder / "secret").write_bytes(b"a secret of this test")
    with nginx(folder, server) as port:
        (folder / "hookward.toml").write_text(
            f"""
            listen = ["127.0.0.1:0"]
            upstream = "http://127.0.0.1:{port}"
            [route.guarded]
            path = "{GUARDED}"
            provider = "github"
            secrets = ["file:{folder}/secret"]
            [route.open]
            path = "{OPEN}"
            methods = ["GET", "POST"]
            allow = ["127.0.0.0/8"]
            """
        )
        hookward = Hookward("--config", str(folder / "hookward.toml"))
        yield hookward, port
        hookward.stop()


def test_nginx_sees_only_what_the_route_owns(behind: tuple[Hookward, int]) -> None:
    hookward, _ = behind
    with Client(hookward.address) as client:
        for target in FINE:
            answer = client.ask(request("GET", target))
            assert (target, answer.status) == (target, 200)
            assert answer.content.startswith((b"open /open/", b"open /open")), target
    for target in (*REFUSED, *UNKNOWN):
        assert once(hookward.address, request("GET", target)).status in {400, 404}, target


# -- the judges


def nginx_path(client: Client, path: str) -> str | None:
    """Where a real nginx sees itself; None where it refuses."""
    answer = client.ask(request("GET", path))
    return answer.content.decode().partition(" ")[2] if answer.status == 200 else None


def normalised(path: str) -> str:
    return posixpath.normpath(re.sub("/+", "/", path)) if path else "/"


def tomcat_path(path: str) -> str:
    """Parameters are cut from each segment, then the path is decoded, then normalised."""
    bare = "/".join(segment.partition(";")[0] for segment in path.split("/"))
    return normalised(unquote_to_bytes(bare).decode("utf-8", "replace").replace("\\", "/"))


def lenient_path(path: str) -> str:
    """Everything that some server somewhere has done, over and over until it changes nothing more."""
    for _ in range(4):
        path = unquote_to_bytes(path).decode("utf-8", "replace")
        path = unicodedata.normalize("NFKC", path).replace("\\", "/")
        path = "/".join(segment.partition(";")[0].strip() for segment in path.split("/"))
    return normalised(path).casefold()


FLASK = Map(
    [
        *(Rule(path, endpoint="open") for path in (OPEN, f"{OPEN}/", f"{OPEN}/<path:rest>")),
        *(Rule(path, endpoint="guarded") for path in (GUARDED, f"{GUARDED}/", f"{GUARDED}/<path:rest>")),
        Rule("/<path:rest>", endpoint="nowhere"),
    ]
).bind("hooks.example.com")


def flask_endpoint(path: str) -> str:
    """Which view answers, with the redirects followed that Werkzeug makes by itself."""
    decoded = unquote_to_bytes(path).decode("utf-8", "replace")  # PEP 3333: PATH_INFO is decoded
    for _ in range(5):
        try:
            return str(FLASK.match(decoded)[0])
        except RequestRedirect as redirect:
            decoded = unquote_to_bytes(redirect.new_url.removeprefix("http://hooks.example.com")).decode()
        except HTTPException:
            return "error"
    return "error"


def let_through(path: str) -> bool:
    try:
        parsed = parse_target(b"POST", path.encode(), b"hooks.example.com")
    except ProtocolError:
        return False
    return parsed.path.decode() == OPEN or parsed.path.decode().startswith(f"{OPEN}/")


def owned(path: str) -> bool:
    return path == OPEN or path.startswith(f"{OPEN}/")


PIECES = (
    *("open", "github", ".", "..", "%2e", "%2E", "%252e", "%c0%ae", "%ef%bc%8e", "%e2%80%a5", "...", "x", "%", "%25"),
    *(
        ";",
        ";x=1",
        "%3b",
        "%ef%bc%9b",
        "%20",
        " ",
        "\t",
        "%09",
        "%00",
        "%0d%0a",
        "%c2%a0",
        "%e3%80%80",
        "%c2%ad",
        "%e2%80%8b",
    ),
    *(
        "?",
        "%3f",
        "#",
        "%23",
        "%ef%bc%9f",
        "OPEN",
        "GITHUB",
        "%67ithub",
        "%u002e",
        "%e2%80%ae",
        "%cc%b8",
        "%ef%bb%bf",
        "é",
    ),
)
SEPARATORS = [
    *(
        "/",
        "/",
        "/",
        "//",
        "\\",
        "%2f",
        "%2F",
        "%5c",
        "%252f",
        "%c0%af",
        "%ef%bc%8f",
        "%e2%88%95",
        "%ef%bc%bc",
        "",
        "/./",
    ),
    *("/;/", "/../", "/..;/", "%e2%81%84", "%e2%a7%b8"),
]
CLEAN = ("open", "github", "x", "a.b", ".x", "x.", "..x", "-", "a:b", "@", "%20x", "%3f", "%c3%a9")
ENCODED = st.characters(exclude_categories=["Cs"]).map(lambda char: quote(char, safe=""))
PARTS = st.tuples(
    st.sampled_from(["/"] * 40 + [""] * 20 + SEPARATORS),
    st.one_of(st.sampled_from(CLEAN), st.sampled_from(CLEAN), ENCODED, st.sampled_from(PIECES)),
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(
    lambda parts: f"{OPEN}/" + "".join(separator + piece for separator, piece in parts).lstrip("/")
)


def check_models(path: str) -> None:
    assert owned(tomcat_path(path)), "Tomcat"
    assert owned(lenient_path(path)), "lenient"
    assert flask_endpoint(path) == "open", "Flask"


@examples(400)
@given(PATHS)
@example("/open/%3f/../github")
@example("/open/%e2%80%8b../github")
@example("/open/%cc%b8")
def test_what_passes_is_owned_whoever_reads_it(path: str) -> None:
    if let_through(path):
        check_models(path.partition("?")[0])


@pytest.mark.parametrize("target", [*REFUSED, *UNKNOWN])
def test_the_table_of_refusals_is_refused(target: str) -> None:
    assert not let_through(target)


def test_the_judges_judge() -> None:
    """That the models see through what they are there to see through."""
    fooled = (
        "/open/../github",
        "/open/%2e%2e/github",
        "/open/..;x/github",
        "/open/..%5cgithub",
        "/open/%2e%2e%2fgithub",
    )
    for path in fooled:
        assert tomcat_path(path) == GUARDED
        assert lenient_path(path) == GUARDED
    for path in ("/open/%252e%252e%252fgithub", "/open/%ef%bc%8e%ef%bc%8e%ef%bc%8fgithub", "/open/.. /github"):
        assert lenient_path(path) == GUARDED
    assert flask_endpoint("//github") == "guarded"
    assert flask_endpoint("/githu%62/x") == "guarded"


def test_a_real_nginx_agrees(behind: tuple[Hookward, int]) -> None:
    """As many of the same paths as fit into a second, at nginx itself."""
    _, port = behind

    @examples(100)
    @given(PATHS)
    def agrees(path: str) -> None:
        if let_through(path):
            seen = nginx_path(client, path)
            assert seen is None or owned(seen), path

    with Client(("127.0.0.1", port)) as client:
        for path in FINE:
            bare = path.partition("?")[0]
            seen = nginx_path(client, bare)
            assert seen is not None
            assert owned(seen)
            check_models(bare)
        agrees()
