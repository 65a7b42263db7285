"""Prints ``docs/configuration.md``: every key, flag and environment name, from the one table that also parses them.

python scripts/configuration_page.py > docs/configuration.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy.config.flags import FLAGS, Flag
from proxy.config.keys import Key, Section
from proxy.config.kinds import TABLE
from proxy.config.schema import SECTIONS

INTRODUCTION = """\
# Configuration

<!-- Made by `python scripts/configuration_page.py`; a test compares. -->

Flags make one route; a TOML file makes any number. What is said twice is taken from the flags, then from the
environment, then from the file. Unknown keys are errors. All mistakes are told at once, with file and line, flag or
variable, and how to mend them; `hookward check` (or `-t`) tells them without listening, and says what a good
configuration means.

## How values are written

- **Sizes**: `"25MiB"`, `"16KiB"`, `"512B"`; a bare number is bytes. `KB`, `MB` and `GB` are powers of 1000.
- **Times**: `"8s"`, `"500ms"`, `"5m"`, `"1h"`, `"7d"`. A bare number has no unit and is refused, but for `0`.
- **Lists**: a single value stands for a list of one. In the environment, lists are separated by commas.
- **Paths** of files that are relative start from the folder of the file that names them; in flags and the
  environment, from the working directory.
- **Secrets** come by reference only: `"file:/path"`, `"env:NAME"`, or `"cred:NAME"` for systemd's credentials. One
  trailing newline of a file is removed, and said. A file may hold 64 KiB, must not be empty, and a file that other
  users may read is said. No flag takes a secret's value, because every user of a host can read the arguments of every
  process.
- **Two-part secrets** (Basic, Braintree, LiveKit) are written `first:second`.
- **Addresses**: `"192.0.2.0/24"`, `"2001:db8::7"` (one address), `"unix:"` (peers on our unix sockets), `"all"`,
  `"file:/path"` (one entry a line, `#` begins a comment, at most
  64 MiB) and `"set:NAME"` or `"set:NAME?query"` (published lists).
- **Listening addresses**: `"0.0.0.0:443"`, `"[::]:443"`, `":443"` (every address), `"unix:/run/hookward.sock"`,
  `"fd:NAME"` (socket activation).
- **Upstreams**: `"http://127.0.0.1:8000"`, `"127.0.0.1:8000"`, `"https://app:8443"`, `"unix:/run/app.sock"`. A
  path in it stands before all paths there: `"http://127.0.0.1:8000/base"`, `"unix:/run/app.sock:/base"`; see
  [guards.md](guards.md#another-path-at-the-application).

## What the keys mean together

- **Nothing configured** (no route, no `allow`, no `open`): local-only. HTTP/1.1 requests of this host to a loopback
  name are forwarded, if they have no field that a proxy, tunnel or CDN adds and no `Origin` or `Sec-Fetch-Site` of
  another site. All others are refused.
- **Flags and a file.** Flags of the group *route* make the route `default`, or change `[route.default]` of the file.
  Beside other routes of a file they need `--path`. `--allow` and `--upstream` are the top level's keys.
- **Only `allow`** at the top level, and no route, makes the route `default` with the path `/`.
- **Nested paths.** The longest path that owns a request decides alone: what its routes refuse is refused, and never
  offered to the routes of a shorter path. So a route's guards are all that counts at its path and below it.
- **Several routes on one path** are tried in the order of the file. The first whose method, address, token and
  signature header hold takes the request, and its verdict on the body is final: two routes with the same provider and
  different secrets are one route with both secrets (`check` says so). Where all refuse, the refusal that is told and
  logged is that of the route whose token or signature was there; failing that, of the one whose checks went furthest.
- **A route without a guard** (`allow`, `provider` or `token`) is an error, unless `open = true` says that it
  forwards without any check.
- **A route's own `allow` replaces** the top level's. Where every route has one, their union is what is admitted at
  accept; every other peer is reset. A route that only observes keeps its list all the same.
- **`deny` wins over `allow`**, and adds up: what the top level denies, no route and no plain TCP forward takes. It is
  no guard by itself. What every route refuses is reset at accept, or dropped by the kernel filter; what one of them
  takes is judged with its request. A published list that has no copy here yet denies every address.
- **Limits** of a route may only be tighter than the global ones.
- **Variables** that begin with `HOOKWARD_`, mean nothing and look like a misspelt name are errors; others are warned
  of. Those that hold a referenced secret, and those that Kubernetes sets, are left alone.
"""


def reference() -> str:
    """The whole page, with a final newline."""
    blocks = [INTRODUCTION]
    for name, section in SECTIONS.items():
        if name != "route_limits":
            blocks.append(_section(name, section))
    blocks.append(_flags())
    return "\n".join(blocks)


def _section(name: str, section: Section) -> str:
    title = section.title if name in {"", "secret", "upstream", "health"} else f"`{section.title}`"
    lines = [f"## {title}", ""]
    if section.doc:
        lines += [section.doc, ""]
    keys = [key for key in section.keys if key.kind is not TABLE]
    tables = [key for key in section.keys if key.kind is TABLE]
    if name == "limits":
        lines += _table(("key", "default", "least", "most", "at the limit", "what it bounds"), map(_limit_row, keys))
    else:
        lines += _table(("key", "kind", "default", "meaning"), map(_row, keys))
    if tables:
        lines += ["", "Tables:", ""]
        lines += [f"- `{key.name}`: {key.doc}" for key in tables]
    return "\n".join([*lines, ""])


def _row(key: Key) -> Sequence[str]:
    kind = f"list of {key.kind.name}" if key.many else key.kind.name
    meaning = key.doc
    if key.minimum is not None and key.kind.name == "time":
        meaning += f" From {_shown(key.minimum)} to {_shown(key.maximum)}."
    if key.at_limit:
        meaning += f" At the limit: {key.at_limit}."
    return f"`{key.name}`", kind, _shown(key.default), meaning


def _limit_row(key: Key) -> Sequence[str]:
    star = " \\*" if key.tighten else ""
    return (f"`{key.name}`{star}", _shown(key.default), _shown(key.minimum), _shown(key.maximum), key.at_limit, key.doc)


def _flags() -> str:
    lines = ["## Flags and environment", "", "`--config` (`-c`, `HOOKWARD_CONFIG`) names the file; `--check-config` "]
    lines[-1] += "(`-t`) checks and leaves. A flag marked with … may be given several times."
    for group in dict.fromkeys(flag.group for flag in FLAGS):
        rows = [_flag_row(flag) for flag in FLAGS if flag.group == group]
        lines += ["", f"### {group[0].upper()}{group[1:]}", "", *_table(("flag", "environment", "key"), rows)]
    return "\n".join([*lines, ""])


def _flag_row(flag: Flag) -> Sequence[str]:
    key = ".".join(str(part) for part in flag.path if not isinstance(part, int))
    prefix = f", with `{flag.prefix}` before it" if flag.prefix else ""
    return f"`{flag.option}`{' …' if flag.many else ''}", f"`{flag.variable}`", f"`{key}`{prefix}"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return f"`[{', '.join(_quoted(item) for item in value)}]`"
    return f"`{_quoted(value)}`"


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [_line(heads), _line(["---"] * len(heads))]
    return lines + [_line([cell.replace("|", "\\|") for cell in row]) for row in rows]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(reference(), end="")
