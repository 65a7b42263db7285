"""The manual pages hookward(1) and hookward.toml(5), made from the parsers and from the table of keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from parsers import Option, own_options

import proxy
from proxy.config.flags import ENVIRONMENT_PREFIX
from proxy.config.host import LOOP_VARIABLE, RELOAD_VARIABLE, ExitCode
from proxy.config.keys import Key
from proxy.config.schema import SECTIONS
from proxy.ops.cli import Command

_CODES = {
    ExitCode.OK: "It stopped as asked, or the command succeeded.",
    ExitCode.FAILED: "A command ran, and the result is not what it should be.",
    ExitCode.USAGE: "A flag is wrong.",
    ExitCode.UNAVAILABLE: "An address is in use, or cannot be bound.",
    ExitCode.SOFTWARE: "A bug in hookward.",
    ExitCode.NO_PERMISSION: "Not permitted to listen there: a port below 1024, a socket in another user's folder.",
    ExitCode.CONFIG: "The configuration is wrong, or a file of it cannot be read; each mistake comes with its remedy.",
}
_SIGNALS = {
    "SIGHUP": "Read configuration, secrets, certificates and address lists again; a mistake keeps the old ones.",
    "SIGTERM, SIGINT": "Accept nothing more, finish what is under way, then leave. A second one stops now.",
    "SIGUSR1": "Open the access log again.",
}
_FILES = {
    "/etc/hookward/hookward.toml": "Where packages and examples keep the configuration; none is read unless named.",
    "/var/lib/hookward": "Published address lists and remembered deliveries, where the unit says so.",
}


def command_page(commands: Mapping[str, Command]) -> str:
    """hookward(1)."""
    parser = commands["run"].parser()
    lines = [
        *_head("HOOKWARD", 1),
        ".SH NAME",
        "hookward \\- lets webhooks in and nothing else",
        ".SH SYNOPSIS",
        "\\fBhookward\\fR [\\fBrun\\fR] \\fB\\-\\-listen\\fR \\fIADDRESS\\fR",
        "\\fB\\-\\-upstream\\fR \\fIADDRESS\\fR [\\fIflags\\fR]",
        ".br",
        "\\fBhookward\\fR \\fICOMMAND\\fR [\\fIflags\\fR]",
        ".SH DESCRIPTION",
        *_text(parser.description or ""),
        ".SH COMMANDS",
        *_items({f"\\fB{_plain(name)}\\fR": command.help for name, command in commands.items()}),
    ]
    for group in dict.fromkeys(option.group for option in own_options("run", commands)):
        lines.append(f".SH {_plain(group.upper())}")
        lines += [line for option in own_options("run", commands) if option.group == group for line in _option(option)]
    for name, command in commands.items():
        if name != "run":
            lines += _command(name, command, own_options(name, commands))
    examples = (parser.epilog or "").partition("\n")[2]
    return "\n".join(
        [
            *lines,
            *(".SH SIGNALS", *_items({f"\\fB{name}\\fR": text for name, text in _SIGNALS.items()})),
            *(".SH EXIT STATUS", *_items({f"\\fB{code:d}\\fR": text for code, text in _CODES.items()})),
            *(".SH ENVIRONMENT", *_text("Each flag has a variable of its own, named in brackets above.")),
            *_items({f"\\fB{LOOP_VARIABLE}\\fR": 'The event loop: "asyncio" or "uvloop".'}),
            *_items({f"\\fB{RELOAD_VARIABLE}\\fR": "The path of a socket, at which `reload` hears what came of it."}),
            *(".SH FILES", *_items({f"\\fI{_plain(name)}\\fR": text for name, text in _FILES.items()})),
            *(".SH EXAMPLES", *_verbatim(examples)),
            ".SH SEE ALSO",
            "\\fBhookward.toml\\fR(5)",
            "",
        ]
    )


def file_page() -> str:
    """hookward.toml(5)."""
    lines = [
        *_head("HOOKWARD.TOML", 5),
        ".SH NAME",
        "hookward.toml \\- the configuration of hookward",
        ".SH DESCRIPTION",
        *_text(
            "A TOML file, named by `hookward --config`. Flags come before the environment "
            f"(`{ENVIRONMENT_PREFIX}...`), the environment before the file. Unknown keys are errors, and "
            "`hookward check` tells all mistakes at once. Secrets come by reference only: `file:/path`, `env:NAME` or "
            "`cred:NAME`. Sizes are written as `25MiB`, times as `8s`; a single value stands for a list of one."
        ),
    ]
    for section in SECTIONS.values():
        lines += [f".SH {_plain(section.title.upper() if not section.title.startswith('[') else section.title)}"]
        lines += _text(section.doc)
        for key in section.keys:
            lines += _key(key)
    return "\n".join([*lines, ".SH SEE ALSO", "\\fBhookward\\fR(1)", ""])


def _head(title: str, section: int) -> list[str]:
    about = "User Commands" if section == 1 else "File Formats"
    return [f'.TH {title} {section} "" "hookward {proxy.__version__}" "{about}"', ".nh", ".ad l"]


def _command(name: str, command: Command, options: Sequence[Option]) -> list[str]:
    parser = command.parser()
    lines = [f".SH HOOKWARD {_plain(name.upper())}", *_text(parser.description or f"{command.help}.")]
    if command.of_run:
        lines += _text("It also takes the flags of `run`.")
    for option in options:
        lines += _option(option)
    return [*lines, *([".PP", *_verbatim(parser.epilog)] if parser.epilog else [])]


def _option(option: Option) -> list[str]:
    value = f" \\fI{_plain(option.value)}\\fR" if option.value else ""
    names = ", ".join(f"\\fB{_plain(name)}\\fR" for name in option.names)
    return [".TP", f"{names}{value}".strip(), *_text(option.help)]


def _key(key: Key) -> list[str]:
    kind = "table" if key.table else f"list of {key.kind.name}" if key.many else key.kind.name
    known = [kind]
    if key.default is not None:
        known.append(f"default {_shown(key.default)}")
    if key.minimum is not None and key.maximum is not None:
        known.append(f"from {key.minimum} to {key.maximum}")
    at_limit = f" At the limit: {key.at_limit}." if key.at_limit else ""
    return [".TP", f"\\fB{_plain(key.name)}\\fR ({_plain(', '.join(known))})", *_text(key.doc + at_limit)]


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _items(items: Mapping[str, str]) -> list[str]:
    return [line for term, text in items.items() for line in (".TP", term, *_text(text))]


def _text(text: str) -> list[str]:
    """A paragraph of Markdown, as far as the docs use it: code in bold, links as their words."""
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", " ".join(text.split())).replace("\\*", "*")
    parts = [_plain(part) for part in text.split("`")]
    joined = "".join(f"\\fB{part}\\fR" if at % 2 else part for at, part in enumerate(parts))
    return [_guarded(joined)] if joined else []


def _verbatim(text: str) -> list[str]:
    return [".nf", *(_guarded(_plain(line)) for line in text.rstrip("\n").splitlines()), ".fi"]


def _plain(text: str) -> str:
    for character, name in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("…", "...")):
        text = text.replace(character, name)
    return text


def _guarded(line: str) -> str:
    """A line that begins with a dot would be a request, and man does not like empty ones."""
    return f"\\&{line}" if not line or line.startswith(".") else line
