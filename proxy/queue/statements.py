"""What the store in SQLite says to its database."""

from __future__ import annotations

#: The counts of a lane, in the order of their columns.
COUNTED = ("live", "dead", "bytes", "accepted", "delivered", "died", "dropped")

USED = "SELECT coalesce(sum(bytes), 0) FROM lanes"
#: Bytes of the file that were used once, and are used again before it grows.
FREE = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
COUNT = """INSERT INTO lanes (lane, live, dead, bytes, accepted, delivered, died, dropped)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (lane) DO UPDATE SET live = live + excluded.live, dead = dead + excluded.dead,
bytes = bytes + excluded.bytes, accepted = accepted + excluded.accepted, delivered = delivered + excluded.delivered,
died = died + excluded.died, dropped = dropped + excluded.dropped"""
PAUSE = "INSERT INTO lanes (lane, paused) VALUES (?, ?) ON CONFLICT (lane) DO UPDATE SET paused = excluded.paused"
LANES = "SELECT lane FROM lanes"
COUNTS = "SELECT lane, paused, live, dead, bytes, accepted, delivered, died, dropped FROM lanes ORDER BY lane"

INSERT = """INSERT INTO deliveries (id, lane, condition, due, accepted, begun, attempts, sequence, same, cost, size,
facts, keys, head, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
#: For each further row of the same statement.
ONE_MORE = ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
IS_BEHIND = "SELECT 1 FROM deliveries WHERE lane = ? AND sequence = ? AND sequence <> '' AND condition < 3 LIMIT 1"
IS_BEHIND_OTHER = """SELECT 1 FROM deliveries WHERE lane = ? AND sequence = ? AND sequence <> '' AND condition < 2
AND number <> ? LIMIT 1"""
LET_NEXT = """UPDATE deliveries SET condition = 0 WHERE number = (SELECT min(number) FROM deliveries
WHERE lane = ?1 AND sequence = ?2 AND sequence <> '' AND condition = 2)
AND NOT EXISTS (SELECT 1 FROM deliveries WHERE lane = ?1 AND sequence = ?2 AND sequence <> '' AND condition < 2)"""

TAKE = """SELECT number, id, lane, accepted, begun, attempts, sequence, same, size, facts, keys, head, body
FROM deliveries WHERE lane = ? AND condition = 0 AND due <= ?
ORDER BY due, number LIMIT ?"""
SET_TAKEN = "UPDATE deliveries SET condition = 1 WHERE number IN"  # and a list of numbers, as for those below
GIVE_BACK = "UPDATE deliveries SET condition = 0 WHERE number = ? AND condition = 1"
TAKEN = "SELECT number, attempts FROM deliveries WHERE lane = ? AND condition = 1"

#: ``ROWS`` and ``SAME`` give these columns.
LANE, CONDITION, SEQUENCE, ATTEMPTS = 2, 5, 6, 7
ROWS = "SELECT number, id, lane, cost, size, condition, sequence, attempts FROM deliveries WHERE number IN"
SAME = """SELECT number, id, lane, cost, size, condition, sequence, attempts FROM deliveries
WHERE lane = ? AND same = ? AND same <> '' AND condition IN (0, 2)"""
TRY = """INSERT OR REPLACE INTO tries (number, attempt, at, status, word, detail, lasted, upstream)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
SETTLE = "UPDATE deliveries SET condition = ?, due = ?, attempts = ? WHERE number = ?"
DELETE = "DELETE FROM deliveries WHERE number IN"
DELETE_TRIES = "DELETE FROM tries WHERE number IN"
REPLAY = "UPDATE deliveries SET condition = ?, due = ?, begun = ? WHERE number = ?"

HAS_ID = "SELECT 1 FROM deliveries WHERE id = ?"
FIRST = "SELECT number, accepted, condition FROM deliveries ORDER BY number LIMIT ?"
#: Among the first of all: to look through all would take its time where very many are dead.
OLDEST = """SELECT min(accepted) FROM (SELECT lane, accepted, condition FROM deliveries ORDER BY number LIMIT 5000)
WHERE lane = ? AND condition < 3"""
NEXT_DUE = "SELECT min(due) FROM deliveries WHERE lane = ? AND condition = 0"
TRIES = "SELECT at, status, word, detail, lasted, upstream FROM tries WHERE number = ? ORDER BY attempt"

PAGE_CONDITION, PAGE_DUE = 13, 14
#: What is meant is put in for the braces: "?"s, and words of our own.
PAGE = """SELECT number, id, lane, accepted, begun, attempts, sequence, same, size, facts, keys, head,
{body}, condition, due FROM deliveries WHERE {where} ORDER BY number LIMIT ?"""
