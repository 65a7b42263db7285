"""What the documents show, works: configurations load, commands are accepted, links lead somewhere, tables agree.

Places of a real host (``/etc/hookward``) are replaced by a folder with those files, and well-known ports by free ones.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from proxy.config.load import load
from proxy.core.metric_families import FAMILIES
from proxy.core.states import ANSWER_MOVES, CLIENT_MOVES, REQUEST_MOVES, UPSTREAM_MOVES
from proxy.reasons import Reason
from tests.deliveries import keys
from tests.kustomized import of_kind, rendered
from tests.pages import PAGES, ROOT, anchors, blocks
from tests.whole.process import Hookward, environment
from tests.whole.recorder import RecordingUpstream

PROXY_COMMAND = re.compile(r"^(?:python -m proxy|hookward)\b.*$", re.MULTILINE)


def texts(language: str, mark: str = "") -> list[object]:
    """The blocks of all pages in that language, named by page and line for pytest."""
    return [pytest.param(block.text, id=block.id) for block in blocks(language, mark)]


@pytest.fixture(scope="module")
def etc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for /etc/hookward."""
    folder = tmp_path_factory.mktemp("etc")
    secrets = ["github.secret", "github.old.secret", "slack.secret", "legacy.token", "office.token"]
    secrets += ["github.2026-q4.secret", "staging.secret"]
    secrets += ["meta.secret", "meta.token"]
    for number, name in enumerate(secrets):
        (folder / name).write_text(f"a secret of the documents {number}")
    (folder / "chat.token").write_text("a-token_of-the-documents")
    issued = trustme.CA().issue_cert("hooks.example.com")
    (folder / "fullchain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "sns.pem").write_bytes(keys().rsa_certificate)
    (folder / "office.txt").write_text("192.0.2.0/24\n")
    (folder / "hookward.toml").write_text(here(blocks("toml")[0].text, folder))
    return folder


def here(text: str, folder: Path) -> str:
    return text.replace("/etc/hookward", str(folder))


@pytest.mark.parametrize("text", texts("toml"))
def test_configurations_load(text: str, etc: Path, tmp_path: Path) -> None:
    path = tmp_path / "hookward.toml"
    path.write_text(here(text, etc))
    loaded = load(["--config", str(path)], {})
    assert loaded.policy.routes


def commands() -> list[object]:
    return [
        pytest.param(line, id=f"{block.id}: {line[:40]}")
        for block in blocks("sh")
        for line in PROXY_COMMAND.findall(block.text.replace("\\\n", " "))
    ]


@pytest.mark.parametrize("line", commands())
def test_commands_are_accepted(line: str, etc: Path) -> None:
    words = shlex.split(here(line, etc), comments=True)
    arguments = words[3:] if words[0] == "python" else words[1:]
    if arguments and (arguments[0].startswith("-") or arguments[0] in {"run", "check"}):
        # Its ports may be another program's on this host.
        arguments = ["check", "--elsewhere", *arguments[arguments[0] in {"run", "check"} :]]
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=etc,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", texts("sh", "send"))
def test_the_delivery_of_the_readme_arrives(script: str, etc: Path) -> None:
    if shutil.which("curl") is None or shutil.which("openssl") is None:
        pytest.skip("curl or openssl is not installed")
    with RecordingUpstream() as upstream:
        hookward = Hookward(
            *("--listen", "127.0.0.1:0", "--upstream", upstream.url, "--path", "/hooks/github"),
            *("--provider", "github", "--secret-file", str(etc / "github.secret")),
        )
        try:
            script = here(script, etc).replace("127.0.0.1:8080", f"127.0.0.1:{hookward.port}")
            done = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        finally:
            hookward.stop()
        assert done.stdout == "ok\n"
        assert len(upstream.complete) == 1


#: Renders instead of asking a cluster.
DRY_RUN = """kubectl() { "$KUBECTL" "$@" --dry-run=client -o json; }
"""


@pytest.mark.parametrize("script", texts("sh", "kubernetes"))
def test_the_secrets_of_the_pods_are_those_that_are_made(script: str, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None or shutil.which("openssl") is None:
        pytest.skip("kubectl or openssl is not installed")
    (tmp_path / "slack.secret").write_text("a secret of the documents")
    issued = trustme.CA().issue_cert("hooks.example.com")
    (tmp_path / "fullchain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", DRY_RUN + script],
        cwd=tmp_path,
        env=environment({"PATH": path, "KUBECTL": kubectl}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = {one["metadata"]["name"]: one["data"] for one in documents(done.stdout[done.stdout.index("{\n") :])}
    assert {name: sorted(data) for name, data in made.items()} == {
        name: sorted(keys) for name, keys in mounted().items()
    }
    url = urlsplit(b64decode(made["hookward"]["redis.url"]).decode())
    assert b64decode(made["hookward-redis"]["password.conf"]).decode() == f"requirepass {url.password}\n"
    assert of_kind(rendered("base"), "Service", str(url.hostname))["spec"]["ports"][0]["port"] == url.port


def documents(text: str) -> Iterator[dict[str, Any]]:
    while text.strip():
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:].lstrip()


def mounted() -> dict[str, set[str]]:
    """Which files of which secrets the pods look for, by what is configured in them."""
    maps = [one["data"] for one in rendered("overlays/aws-nlb") if one["kind"] == "ConfigMap"]
    texts = "".join(text for data in maps for text in data.values())
    found: dict[str, set[str]] = {}
    for one in rendered("overlays/aws-nlb"):
        if one["kind"] == "Deployment":
            spec = one["spec"]["template"]["spec"]
            places = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
            for volume in spec["volumes"]:
                if "secret" in volume:
                    files = re.findall(rf"{places[volume['name']]}/([\w.-]+)", texts)
                    found[volume["secret"]["secretName"]] = set(files)
    return found


@pytest.mark.parametrize("text", texts("json"))
def test_examples_of_json_are_json(text: str) -> None:
    json.loads(text)


def test_the_life_of_a_request_names_functions_that_are_there() -> None:
    table = (ROOT / "docs" / "life-of-a-request.md").read_text().split("| step | function |")[1].split("\n\n")[0]
    for path, names in re.findall(r"`((?:net|core)/\w+\.py)`: ((?:`[\w.]+`(?:, then |, | or )?)+)", table):
        text = (ROOT / "proxy" / path).read_text()
        for name in re.findall(r"`([\w.]+)`", names):
            assert re.search(rf"(?:def|class) {name.split('.')[-1]}\b", text), f"{path}: {name}"


MACHINES = {"client": CLIENT_MOVES, "upstream": UPSTREAM_MOVES, "request": REQUEST_MOVES, "answer": ANSWER_MOVES}


@pytest.mark.parametrize(("mark", "moves"), MACHINES.items(), ids=MACHINES)
def test_the_states_are_those_of_the_code(mark: str, moves: dict[object, frozenset[object]]) -> None:
    drawn = [
        f"{state.value} -> {' '.join(sorted(to.value for to in moves[state]))}"  # type: ignore[attr-defined]
        for state in moves
        if moves[state]
    ]
    [block] = blocks("states", mark)
    assert block.text.splitlines() == drawn


@pytest.mark.parametrize(("name", "moves"), MACHINES.items(), ids=MACHINES)
def test_the_drawings_show_the_states_of_the_code(name: str, moves: dict[Any, frozenset[Any]]) -> None:
    drawing = (ROOT / "docs" / "states" / f"{name}.svg").read_text()
    states = [state.value for state in moves]
    assert re.findall(r"<text x=[^>]+>(.*?)</text>", drawing) == states
    shown = set(re.findall(r"<title>(\w+) to (\w+)</title>", drawing))
    if f"every state may also go to {states[-1]}" in drawing:
        shown |= {(state, states[-1]) for state in states[:-1]}
    assert shown == {(state.value, to.value) for state in moves for to in moves[state]}
    assert runpy.run_path(str(ROOT / "scripts" / "states.py"))["draw"](name, moves) == drawing, "make states"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, fragment in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not fragment or fragment in anchors(there), f"{target}#{fragment}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_metrics_exist(page: Path) -> None:
    names = set(re.findall(r"\bhookward_[a-z_]+", re.sub(r"hookward_(?:start|trial)\b", "", page.read_text())))
    known = {family.name for family in FAMILIES} | {f"{family.name}_bucket" for family in FAMILIES}
    assert names <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_make_lists_its_targets() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    command = [make, "--no-print-directory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("  make help ")


def test_the_readme_knows_how_many_reasons_there_are() -> None:
    [number] = re.findall(r"one of (\d+) words", (ROOT / "README.md").read_text())
    assert int(number) == len(Reason)
