"""The key that signs the console's cookies: one for all workers of a folder, and for those that come after them."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from proxy.config.guarded_files import reach

NAME = "hookward-console.key"
SIZE = 32


def session_key(folder: str | None) -> bytes:
    """The key in ``folder``, made where there is none; without a folder, or where it cannot be had, one of this worker
    alone.
    """
    fresh = secrets.token_bytes(SIZE)
    if folder is None:
        return fresh
    with suppress(OSError), reach(f"{folder}/{NAME}") as spot:
        with suppress(FileExistsError):
            # Whole at once, under another name, and then linked: two workers that begin together have one key.
            name = f"{NAME}.{secrets.token_hex(4)}"
            made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=spot.folder)
            try:
                os.write(made, fresh)
                os.link(name, NAME, src_dir_fd=spot.folder, dst_dir_fd=spot.folder, follow_symlinks=False)
            finally:
                os.close(made)
                os.unlink(name, dir_fd=spot.folder)
        descriptor = spot.open(os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            # One that others could have written, or can read, signs nothing.
            if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
                found = os.read(descriptor, SIZE + 1)
                return found if len(found) == SIZE else fresh
        finally:
            os.close(descriptor)
    return fresh
