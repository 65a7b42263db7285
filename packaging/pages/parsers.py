"""The words of the command line, read back from the parsers themselves: manual pages and completions are made of them.

So neither can name a flag that is not there, nor forget one.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence

from proxy.config import kinds
from proxy.config.flags import FLAGS
from proxy.config.host import HelpfulParser
from proxy.core.schemes import PROVIDERS
from proxy.ops.cli import Command
from proxy.values import frozen


@frozen
class Option:
    """A flag, or (without names) a word at a place of its own. ``value`` is empty where a flag takes none."""

    names: tuple[str, ...]
    value: str
    help: str
    group: str
    words: tuple[str, ...] = ()  # the values that are possible, where they can be listed
    file: bool = False  # its value names a file


_FILES = {flag.option for flag in FLAGS if flag.key.kind is kinds.FILE or flag.prefix == "file:"}
_WORDS = {flag.option: flag.key.kind.name for flag in FLAGS}
_CHOICE = re.compile(r'"([^"]+)"')


def options_of(parser: HelpfulParser) -> list[Option]:
    """What ``parser`` takes, in its order, without what its help does not show."""
    assert isinstance(parser, argparse.ArgumentParser)
    return [
        _option(action, group.title or "")
        for group in parser._action_groups  # noqa: SLF001  # argparse shows its groups in no other way
        for action in group._group_actions  # noqa: SLF001
        if action.help != argparse.SUPPRESS and action.dest != "help"
    ]


def own_options(name: str, commands: Mapping[str, Command]) -> list[Option]:
    """The options of a command, without those that it shares with ``run``."""
    options = options_of(commands[name].parser())
    shared = set() if name == "run" else {option.names for option in options_of(commands["run"].parser())}
    return [option for option in options if not (commands[name].of_run and option.names in shared)]


def all_options(name: str, commands: Mapping[str, Command]) -> list[Option]:
    """The options of a command, with those that it shares with ``run``."""
    shared = options_of(commands["run"].parser()) if commands[name].of_run else []
    return [*own_options(name, commands), *shared]


def _option(action: argparse.Action, group: str) -> Option:
    names = tuple(action.option_strings)
    value = "" if action.nargs == 0 else _value(action)
    return Option(
        names, value, (action.help or "").replace("%%", "%"), group, _words(action, value), _is_file(names, value)
    )


def _value(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper().replace("_", "-"))


def _words(action: argparse.Action, value: str) -> tuple[str, ...]:
    if action.choices is not None:
        return tuple(map(str, action.choices))
    if value == "PROVIDER":
        return tuple(PROVIDERS)
    return tuple(word for name in action.option_strings for word in _CHOICE.findall(_WORDS.get(name, "")))


def _is_file(names: Sequence[str], value: str) -> bool:
    return (value in {"FILE", "FOLDER", "PATH"} and "--path" not in names) or any(name in _FILES for name in names)
