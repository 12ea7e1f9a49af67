"""What is wrong with a database that cannot be used: for callers, and for the operator."""

import sqlite3
from dataclasses import dataclass

import sqlalchemy as sa

from web.errors import EaselError
from web.sqlite import code_of

_KEPT = "Accepted generations are kept and continue"


@dataclass(frozen=True)
class Fault:
    """`detail` is for callers, `advice` for the operator's log."""

    name: str
    detail: str
    advice: str
    retry_after: float = 5.0


SILENT = Fault(
    "no answer",
    "The database does not answer, so nothing can be accepted or looked up now. "
    f"{_KEPT} when it is back; try again then",
    "see whether the database runs and can be reached",
)
_FULL = Fault(
    "disk full",
    f"The disk of the database is full, so nothing can be accepted now. {_KEPT} when there is "
    "room; try again then",
    "free some space on the database's disk: the work goes on by itself then",
    30.0,
)
_DISK = Fault(
    "disk error",
    "The disk of the database cannot be read or written, so nothing can be accepted now. "
    f"{_KEPT} when it works again; try again then",
    "look at the database's disk, and at its free space; if it does not recover, restore a backup "
    "on another: ./startup.sh restore FILE",
    30.0,
)
_READ_ONLY = Fault(
    "read-only",
    "The database cannot be written to, so nothing can be accepted now. "
    f"{_KEPT} when it can; try again then",
    "make the database and its folder writable again",
    30.0,
)
_DAMAGED = Fault(
    "damaged",
    "The database is damaged, so this cannot be accepted or looked up now. Whoever runs this "
    "server has to restore it; try again then",
    "stop the services, keep a copy of the file, and restore a backup: ./startup.sh restore FILE",
    60.0,
)
_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _DISK,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
_POSTGRESQL = {"53100": _FULL, "58030": _DISK, "25006": _READ_ONLY, "XX001": _DAMAGED}
_POSTGRESQL |= {"XX002": _DAMAGED}


class DatabaseAway(EaselError, code="no_gpu", status=503):
    """The database cannot be used. What was being committed may be committed, or not."""

    title = "The database does not answer"

    def __init__(self, fault: Fault = SILENT) -> None:
        super().__init__(fault.detail, retry_after=fault.retry_after)


def fault_of(error: BaseException) -> Fault:
    """Return what an exception of SQLAlchemy or the driver says of the database."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    return _SQLITE.get(code_of(cause)) or _POSTGRESQL.get(state) or SILENT


def is_about_the_request(error: sa.exc.DBAPIError) -> bool:
    """Whether the database works and only these values are at fault."""
    return isinstance(error, sa.exc.IntegrityError | sa.exc.DataError)
