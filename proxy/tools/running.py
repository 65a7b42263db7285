"""Which running hookward a command means: the sockets of its workers, found by process, by path or by place."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from proxy.config.load import load_sets
from proxy.errors import FlagError
from proxy.net.private import PrivateEnd, find, folders
from proxy.values import frozen

_NAME = re.compile(r"hookward-([0-9]+)-([0-9]+)\.sock")


@frozen
class Running:
    """One process and the sockets of its workers, as they are now."""

    process: int
    places: tuple[str, ...]

    def ends(self) -> list[PrivateEnd]:
        """The sockets of its workers now: workers come and go with each reload."""
        return find(self.places, self.process, everywhere=True)


_FOLLOW = "which process: its PID, or the path of a private socket of it; left out, the only one there is"


def add_process_flags(parser: argparse.ArgumentParser, *, metavar: str = "PID", follow: str = _FOLLOW) -> None:
    """Add the flags that say which process is meant, for ``running_process``."""
    parser.add_argument("--follow", metavar=metavar, help=follow)
    parser.add_argument("--state-dir", metavar="PATH", help="its state_dir, where its private sockets are")
    parser.add_argument("-c", "--config", metavar="PATH", help="its TOML file, which says what its state_dir is")


def _ends(places: list[str], state_dir: str | None, process: int | None) -> list[PrivateEnd]:
    # Where a folder is named, what has its socket there is meant, and not another one beside it.
    return find([state_dir] if state_dir else [], process) or find(places, process, everywhere=True)


def running_process(asked: argparse.Namespace) -> Running:
    """The process that is meant. FlagError where there is none, or more than one; ConfigError where the file cannot be
    read.
    """
    follow: str | None = asked.follow
    state_dir = load_sets(asked.config, asked.state_dir, os.environ).state_dir
    places = folders(state_dir, os.environ)
    if follow is not None and not follow.isdecimal():
        named = _NAME.fullmatch(Path(follow).name)
        if named is None:
            raise FlagError.of("--follow", f"{follow[:80]!r} is no private socket", "name a PID or the socket")
        return Running(int(named[1]), (str(Path(follow).parent), *places))
    ends = _ends(places, state_dir, None if follow is None else int(follow))
    processes = sorted({end.process for end in ends if os.access(end.path, os.R_OK | os.W_OK)})
    if not processes:
        which = "no hookward of yours" if follow is None else f"no hookward with the PID {follow}"
        mend = "start it with state_dir (or as a unit, which has a folder for its sockets), or run this as its user"
        raise FlagError.of("--follow", f"{which} was found that could be asked", mend)
    if len(processes) > 1:
        found = ", ".join(map(str, processes))
        raise FlagError.of("--follow", f"several are running: {found}", f"write --follow {processes[0]}")
    return Running(processes[0], tuple(places))
