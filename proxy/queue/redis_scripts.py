"""What the store in Redis says to it: scripts, each of which Redis runs as one step, whole or not at all.

The record of a delivery is an entry of the stream ``log``, whose id is its number; it leaves the stream only when it is
acknowledged (or dropped). Where it stands is in the hash ``d:NUMBER``, what was tried in the list ``t:NUMBER``, a large
body in ``body:NUMBER``. What is TAKEN is pending in the stream's consumer group, for the consumer that has it. A
consumer is a courier; it lives as long as its key ``alive:NAME``, which it renews. ``owners`` says which courier a lane
belongs to: while it lives no other takes from that lane, so pace, concurrency and order are those of one.
Numbers in ARGV stay texts, for Lua would round them. What each takes and gives is told in its file, in ``scripts``.
"""

from __future__ import annotations

from importlib.resources import files

#: The version of all this. A newer one is refused.
VERSION = 1

_FOLDER = files("proxy.queue") / "scripts"
_COMMON = (_FOLDER / "common.lua").read_text()


def _script(name: str) -> str:
    return f"{_COMMON}\n{(_FOLDER / f'{name}.lua').read_text()}"


APPEND = _script("append")
HOLD = _script("hold")
LET_GO = _script("let_go")
TAKE = _script("take")
SETTLE = _script("settle")
GIVE_BACK = _script("give_back")
RECOVER = _script("recover")
BEAT = _script("beat")
REPLAY = _script("replay")
DROP = _script("drop")
EXPIRE = _script("expire")
PAUSE = _script("pause")
COUNTS = _script("counts")
FIND = _script("find")
