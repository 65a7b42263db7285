from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from proxy.config.flags import environment_tree, flag_tree, unknown_variables
from proxy.config.load import parse_flags
from proxy.config.parsers import RunParser, add_run_flags
from proxy.config.problems import Problems
from proxy.config.tree import Table
from proxy.errors import FlagError, dotted


def values(tree: Table) -> dict[str, object]:
    return {dotted(path): entry.value for path, entry in tree.leaves()}


def wrong(*argv: str) -> list[tuple[str, str, str]]:
    with pytest.raises(FlagError) as caught:
        flag_tree(parse_flags(argv), Problems())
    return [(p.where, p.what, p.mend) for p in caught.value.problems]


def test_flags_are_keys() -> None:
    flags = ["--path", "/a", "--method", "POST", "--method", "PUT", "--max-body", "1MiB", "--open", "--drain=5s"]
    assert values(flag_tree(parse_flags(flags), Problems())) == {
        "route.default.path": b"/a",
        "route.default.methods": (b"POST", b"PUT"),
        "limits.max_body": 1 << 20,
        "open": True,
        "drain": 5.0,
    }


def test_secrets_of_flags_are_references() -> None:
    flags = ["--secret-file", "a", "--secret-env", "B", "--secret-file", "c", "--token-file", "d"]
    assert values(flag_tree(parse_flags(flags), Problems())) == {
        "route.default.secrets[0].from": "file:a",
        "route.default.secrets[1].from": "file:c",
        "route.default.secrets[2].from": "env:B",
        "route.default.token.secrets[0].from": "file:d",
    }


def test_tcp() -> None:
    tree = flag_tree(parse_flags(["--tcp", "2222=127.0.0.1:22", "--tcp", "mail=2525=127.0.0.1:25"]), Problems())
    assert list(tree.named("tcp")) == ["tcp-1", "mail"]


def test_a_dash_is_a_value() -> None:
    assert values(flag_tree(parse_flags(["--access-log", "-"]), Problems())) == {"access_log": "-"}


def test_process_flags() -> None:
    namespace = parse_flags(["-c", "x.toml", "-t"])
    assert (namespace.config, namespace.check_config) == ("x.toml", True)
    assert not flag_tree(namespace, Problems()).entries


def test_unknown_flags_are_all_named_with_suggestions() -> None:
    assert wrong("--listn", "x", "--secrt-file=hunter2", "--zzz") == [
        ("--listn", "unknown flag", "did you mean '--listen'?"),
        ("--secrt-file", "unknown flag", "did you mean '--secret-file'?"),
        ("--zzz", "unknown flag", "see --help for the flags"),
    ]


def test_abbreviations_are_not_guessed() -> None:
    assert wrong("--list", ":1")[0][2] == "did you mean '--listen'?"


@pytest.mark.parametrize(
    "argv",
    [
        ["hunter2"],
        ["--secret", "hunter2"],
        ["--secret=hunter2"],
        ["--token", "hunter2"],
        ["--open=hunter2"],
        ["--password", "hunter2"],
        ["--bogus", "hunter2"],
        ["--verify-token=hunter2"],
    ],
    ids=" ".join,
)
def test_what_was_typed_is_not_repeated(argv: list[str]) -> None:
    assert "hunter2" not in str(wrong(*argv))


def test_no_flag_takes_a_secret_and_the_error_says_why() -> None:
    [(where, what, mend)] = wrong("--secret", "hunter2")
    assert where == "--secret"
    assert "every user of this host" in what
    assert "--secret-file" in mend
    assert "--secret-env" in mend


def test_a_missing_value() -> None:
    assert wrong("--listen")[0][:2] == ("--listen", "expected one argument")
    assert wrong("--config")[0][0] == "--config"


def test_all_wrong_values_at_once() -> None:
    assert [where for where, _, _ in wrong("--max-body", "25m", "--drain", "30", "--listen", "x", "--body", "x")] == [
        "--listen",
        "--drain",
        "--max-body",
        "--body",
    ]


def test_a_route_that_is_given_twice_needs_a_file() -> None:
    one = ["--path", "/g", "--provider", "github", "--secret-file", "ok.secret"]
    two = ["--path", "/s", "--provider", "slack", "--secret-file", "s2.secret"]
    [(where, what, mend)] = wrong("--listen", "127.0.0.1:8080", *one, *two)
    assert where == "--path, --provider"
    assert "several routes need a file" in what
    assert '[route.github]\n    path = "/g"' in mend
    assert 'secrets = ["file:s2.secret"]' in mend


def test_a_flag_of_one_value_is_given_once() -> None:
    assert wrong("--admin", "127.0.0.1:1", "--admin", "127.0.0.1:2")[0][:2] == (
        "--admin",
        "is given twice, and takes one value",
    )
    assert wrong("--config", "a.toml", "--config", "b.toml")[0][0] == "--config"
    same = parse_flags(["--admin", "127.0.0.1:1", "--admin", "127.0.0.1:1", "--open", "--open"])
    assert set(values(flag_tree(same, Problems()))) == {"admin", "open"}


def test_a_word_is_the_file(tmp_path: Path) -> None:
    assert parse_flags(["x.toml", "--open"]).config == "x.toml"
    (tmp_path / "conf").touch()
    assert parse_flags(["--open", str(tmp_path / "conf")]).config == str(tmp_path / "conf")
    assert parse_flags(["-c", "x.toml", "x.toml"]).config == "x.toml"
    assert wrong("-c", "a.toml", "b.toml")[0][1].startswith("two files")
    assert wrong("a.toml", "b.toml")[0][1].startswith("a word belongs to no flag")


def test_help_names_every_variable() -> None:
    parser = RunParser(prog="hookward")
    add_run_flags(parser)
    text = parser.format_help()
    assert "HOOKWARD_MAX_BODY" in text.replace("\n", "")
    assert "--secret " not in text


def test_a_flag_error_of_a_parser_without_an_argument() -> None:
    with pytest.raises(FlagError):
        RunParser(prog="x").error("something else")
    assert issubclass(RunParser, argparse.ArgumentParser)


def test_variables_are_keys() -> None:
    problems = Problems()
    environ = {
        "HOOKWARD_LISTEN": "0.0.0.0:443, [::]:443",
        "HOOKWARD_OPEN": "yes",
        "HOOKWARD_PATH": "/a",
        "HOOKWARD_MAX_FIELDS": "50",
        "HOOKWARD_SECRET_ENV": "A,B",
        "HOOKWARD_DRAIN": "",
        "OTHER": "x",
    }
    tree = environment_tree(environ, problems)
    assert not problems.found
    assert [str(one) for one in values(tree)["listen"]] == ["0.0.0.0:443", "[::]:443"]  # type: ignore[attr-defined]
    assert values(tree)["open"] is True
    assert values(tree)["limits.max_fields"] == 50
    assert values(tree)["route.default.secrets[1].from"] == "env:B"
    assert "drain" not in values(tree)


def test_wrong_variables() -> None:
    problems = Problems()
    tree = environment_tree({"HOOKWARD_DRAIN": "30", "HOOKWARD_OPEN": "maybe"}, problems)
    assert [problem.where for problem in problems.found] == ["HOOKWARD_OPEN", "HOOKWARD_DRAIN"]
    assert tree.doubtful("drain")
    assert tree.doubtful("open")
    assert not tree.doubtful("listen")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HOOKWARD_LISTN", "HOOKWARD_LISTEN"),
        ("HOOKWARD_TRUSTED_PROXIES", "HOOKWARD_TRUSTED_PROXY"),
        ("HOOKWARD_METHODS", "HOOKWARD_METHOD"),
        ("HOOKWARD_SECRET", "HOOKWARD_SECRET_ENV"),
        ("HOOKWARD_max_body", "HOOKWARD_MAX_BODY"),
    ],
)
def test_misspelt_variables(name: str, meant: str) -> None:
    problems = Problems()
    unknown_variables({name: "hunter2"}, [], problems)
    assert not problems.warnings
    [problem] = problems.found
    assert problem.where == name
    assert meant in problem.mend
    assert "hunter2" not in str(problem)


def test_variables_of_others_are_left_alone() -> None:
    problems = Problems()
    environ = {
        "HOOKWARD_PORT": "tcp://10.0.0.1:80",
        "HOOKWARD_PORT_80_TCP_ADDR": "10.0.0.1",
        "HOOKWARD_SERVICE_HOST": "10.0.0.1",
        "HOOKWARD_LOOP": "asyncio",
        "HOOKWARD_SECRET": "referenced",
        "HOOKWARD_CONFIG": "x",
        "HOOKWARD_IMAGE_VERSION": "1",
    }
    unknown_variables(environ, ["HOOKWARD_SECRET"], problems)
    assert not problems.found
    assert problems.warnings == ["HOOKWARD_IMAGE_VERSION: no setting has this name; it is ignored"]
