"""What would keep a configuration from starting on this host, though it is right: files, folders, stores and ports.

The counterpart of what ``run`` does between the load and the first connection, without doing it: nothing stays behind,
and nothing is listened on.
"""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from proxy.config.flags import Words
from proxy.config.guarded_files import reach
from proxy.config.host import find_group, find_user, how_to_add
from proxy.config.load import OnHost, load_on_host
from proxy.config.settings import Loaded, Settings, identity_of
from proxy.errors import ConfigError, Problem
from proxy.net.sockets import AddressInUseError, Holder, ListenError, NotPermittedError, holder_of, try_all
from proxy.queue.folder import DATABASE, look_at_ours
from proxy.tools.units import InstalledUnit

#: What every file of SQLite begins with.
_SQLITE = b"SQLite format 3\0"
#: The numbers of users that are services: of the system, and those that systemd makes (DynamicUser).
_SERVICES = (range(1, 1000), range(61184, 65520))
_LET_WRITE = "let the user that hookward runs as write there"


def check_user(settings: Settings) -> None:
    """Raises NotPermittedError where this process could not become the user that is named."""
    identity = identity_of(settings)
    if identity is not None and not identity.is_ours and os.geteuid() != 0:
        raise NotPermittedError(f"cannot run as {identity.name}: only root can become another user")


def all_at_once(error: ConfigError, arguments: Words, environ: Mapping[str, str]) -> ConfigError:
    """``error`` of a load, and with it what this host lacks: the user, the group, a place for the access log."""
    on_host = load_on_host(arguments, environ)
    lacking = [*problems_with_user(on_host), *problems_with_log(on_host, None)]
    told = {one.what for one in lacking}
    return ConfigError([*(one for one in error.problems if one.what not in told), *lacking])


def problems_with_user(named: OnHost) -> Iterator[Problem]:
    """What this host does not have: the user, the group."""
    for name, find, key in ((named.user, find_user, "user"), (named.group, find_group, "group")):
        try:
            if name is not None:
                find(name, named.where(key))
        except ConfigError as error:
            yield from error.problems


def problems_with_log(named: OnHost, unit: InstalledUnit | None) -> Iterator[Problem]:
    """What keeps the effective user from writing the access log; ``unit`` is what starts the service."""
    path, where = named.access_log, named.where("access_log")
    folder = str(Path(path).absolute().parent)
    if path in {"-", "off"}:
        return
    if unit is not None and not unit.writable(path):
        what = f"{path} cannot be written by the service: the sandbox of {unit.path} leaves that folder out"
        yield Problem(where, what, f"add LogsDirectory= or ReadWritePaths={folder} to the unit")
        return
    why = None if unit is not None and unit.makes(folder) else _why_not_written(path)
    if why is not None:
        mend = _LET_WRITE if Path(folder).exists() else f"create its folder: mkdir -p {shlex.quote(folder)}"
        yield Problem(where, f"{path} cannot be opened ({why})", mend)


def _why_not_written(path: str) -> str | None:
    """Why the effective user could not open a file to write to it, or make it; None where it could."""
    try:
        with reach(path) as spot:
            try:
                mode = spot.look().st_mode
            except FileNotFoundError:
                may = os.access(".", os.W_OK | os.X_OK, dir_fd=spot.folder, effective_ids=True)
                return None if may else "Permission denied"
            if stat.S_ISDIR(mode):
                return "Is a directory"
            may = os.access(spot.name, os.W_OK, dir_fd=spot.folder, effective_ids=True)
            return None if may else "Permission denied"
    except OSError as error:
        return error.strerror


def problems_with_stores(loaded: Loaded) -> Iterator[Problem]:
    """What keeps the effective user from the memory of deliveries, the console's file, and a queue in use."""
    settings = loaded.settings
    yield from _of_memory(settings)
    if settings.console is not None and settings.console.store is not None:
        yield from _of_file("console.store", settings.console.store, settings)
    keeps = any(route.delivery is not None for route in loaded.policy.routes)
    if keeps and settings.queue is not None and settings.queue.path is not None:
        what = _why_no_folder(Path(settings.queue.path)) or _why_no_queue(Path(settings.queue.path))
        if what is not None:
            yield Problem("queue", what, f"{_LET_WRITE}, or name another folder: `path` in [queue]")


def _why_no_folder(folder: Path) -> str | None:
    """Why the effective user could not keep files in a folder, made where it is missing; None where it could. It is
    tried: where nothing can be made (/proc), no mode says so.
    """
    around = [folder.absolute(), *folder.absolute().parents]
    at = 0
    try:
        at = next(number for number, one in enumerate(around) if one.exists())
        Path(tempfile.mkdtemp(prefix=".hookward-check-", dir=around[at])).rmdir()
    except OSError as error:
        return f"{around[max(at - 1, 0)]}: {error.strerror}"
    return None


def _why_no_queue(folder: Path) -> str | None:
    """Why a folder that is there cannot be that of a queue: it is for one user alone."""
    try:
        look_at_ours(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{folder}: {error.strerror}"
    database = str(folder / DATABASE)
    why = _why_not_written(database) or _why_no_database(database, stays_root=False)
    return why and f"{database}: {why}"


def _of_file(key: str, path: str, settings: Settings) -> Iterator[Problem]:
    why = _why_not_written(path) or _why_no_database(path, stays_root=settings.user is None)
    if why is not None:
        yield Problem(key, f"{path} cannot be used ({why})", f"{_LET_WRITE}, or name another file")


def _of_memory(settings: Settings) -> Iterator[Problem]:
    if settings.duplicates.path is not None:
        yield from _of_file("duplicates.path", settings.duplicates.path, settings)
    if settings.duplicates.url is not None and find_spec("redis") is None:
        yield Problem("duplicates.store", "the client for Redis is not installed", how_to_add("redis"))


def _why_no_database(path: str, *, stays_root: bool) -> str | None:
    with reach(path) as spot:
        if os.geteuid() == 0 and stays_root and not spot.certain:
            return "root keeps no database where another user may exchange it: name the user to become, --user NAME"
        try:
            with os.fdopen(spot.open(os.O_RDONLY), "rb") as file:
                begins = file.read(len(_SQLITE))
        except FileNotFoundError:
            return None
    return "file is not a database" if begins not in {b"", _SQLITE} else None


def _is_ours(holder: Holder, settings: Settings) -> bool:
    """Whether it is a hookward, and of a user that may be the service's: anybody can call a process so."""
    known = {0, os.geteuid()}
    if settings.user is not None:
        known.add(find_user(settings.user).pw_uid)
    of_service = any(holder.uid in numbers for numbers in _SERVICES) if holder.uid is not None else False
    return holder.is_hookward and (holder.uid in known or of_service)


def errors_of_ports(settings: Settings) -> tuple[list[ListenError], list[str]]:
    """What keeps addresses from being listened on, and what is only said: that another user's process, which cannot be
    seen, has one. Those that a hookward holds are as they should be.
    """
    wanted = [*settings.listen, *(forward.listen for forward in settings.tcp)]
    wanted += [settings.admin] if settings.admin is not None else []
    wanted += [settings.console.listen] if settings.console is not None else []
    errors, warnings = [], []
    for address, error in try_all(wanted):
        holder = holder_of(address) if isinstance(error, AddressInUseError) else None
        if holder is None:
            errors.append(error)
        elif holder.pid is None:
            warnings.append(f"{address} is in use, by {holder}: where that is hookward, all is well")
        elif not _is_ours(holder, settings):
            what = f"cannot listen on {address}: {holder} does"
            errors.append(AddressInUseError(f"{what}\n    end it, or listen elsewhere"))
    return errors, warnings
