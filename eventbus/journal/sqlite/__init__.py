"""The journal in one SQLite file: `journal` is its face on the loop, `reader` a look from outside.

Behind the face, in the order of a call: `writer` (the thread), `file` (opened, committed to, looked after), `store` over `tables`
over `reads` (SQL), `schema` and `integrity` (what the bytes are). Beside it `guard` (lock and mark), `check`, `repair`.
"""

from eventbus.journal.sqlite.journal import SqliteJournal
from eventbus.journal.sqlite.reader import SqliteReader

__all__ = ["SqliteJournal", "SqliteReader"]
