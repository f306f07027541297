"""The care of a ledger: backups, checks, and SQL that only reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _core
from ..moments import Moment, unix_ns
from .filters import Selection
from .query import TIMEOUT, Rows, query

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Backup", "Care", "Check", "ProgressCallback", "Pruned", "checked", "quick_check", "restore"]

ProgressCallback = Callable[[int, int], object]
"""Called some twenty times a second with how much is done and how much there is; with two zeros while that is not known."""


class Backup(NamedTuple):
    """What a backup or a restored ledger has."""

    events: int
    """The number of events."""
    size: int
    """The bytes of the file."""
    kept: Path | None = None
    """Where the ledger is that a restored one has replaced; `None` if there was no ledger."""


class Check(NamedTuple):
    """The state of a ledger."""

    faults: tuple[str, ...]
    """What is damaged."""
    is_complete: bool
    """Whether the check came to its end within its time."""
    events: int
    """The number of events."""
    size: int
    """The bytes of the file."""
    free: int
    """The bytes of its unused pages; `compact` gives them back."""


class Pruned(NamedTuple):
    """What was deleted."""

    events: int
    """The number of calls."""
    free: int
    """The bytes of the file that are unused and could not be given back; `compact` does."""


class Care:
    """The methods of `Ledger` that care for its file."""

    timezone: tzinfo

    @property
    def path(self) -> Path:
        """The ledger's file."""
        raise NotImplementedError

    def _bring_up_to_date(self) -> None:
        """Run before the ledger is read."""

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), *, timeout: float | None = TIMEOUT) -> Rows:
        """Run an SQL statement that only reads, such as `SELECT`; see `docs/ledger.md` for the tables.

        SQLite refuses everything else: statements that write, `ATTACH`, extensions, and pragmas that change something. Costs are
        exact texts: `decimal_sum(cost_usd)` adds them exactly, `sum()` as floating-point numbers.

        Args:
            sql: One statement.
            parameters: The values of its question marks, or a mapping of the values of names such as `:team`.
            timeout: Seconds until it is stopped, the time in which its rows are taken included; `None` for no limit. Meanwhile the
                ledger cannot reuse space of its write-ahead log.

        Returns:
            The rows, read while they are iterated.

        Raises:
            ValueError: The statement is invalid or does not only read; the message names the nearest column or table.
            LedgerError: The ledger cannot be read, or the time is over.
        """
        self._bring_up_to_date()
        return query(self.path, sql, parameters, timeout)

    def backup(self, target: str | PathLike[str], *, replace: bool = False, progress: ProgressCallback | None = None) -> Backup:
        """Copy the ledger to a file, as it is at one moment. Programs go on writing meanwhile.

        Args:
            target: The new file. Only its owner can access it.
            replace: Whether the file may exist.
            progress: Called with the pages that are copied, and all pages.

        Raises:
            ValueError: There is no ledger, the file exists or is no regular one, or its directory does not exist.
            LedgerError: The ledger cannot be read, or the file not written. An existing file is then unchanged.
        """
        if not (directory := Path(target).absolute().parent).is_dir():
            raise ValueError(f"target: there is no directory {str(directory)!r}; create it, or name another file")
        if Path(target).exists() and not Path(target).is_file():
            # The backup would take the place of a device such as /dev/null.
            raise ValueError(f"target: {str(target)!r} is not a regular file; name another file")
        self._bring_up_to_date()
        done = _core.ledger_backup(self.path, target, replace, progress)
        return Backup(done["events"], done["bytes"])

    def restore(self, source: str | PathLike[str], *, progress: ProgressCallback | None = None) -> Backup:
        """Put a copy of a backup in the ledger's place. The replaced ledger is kept beside it.

        Programs may go on writing: what they track from then on is in the restored ledger.

        Args:
            source: The backup.
            progress: Called with the pages that are copied, and all pages.

        Raises:
            ValueError: There is no such file, or it is the ledger itself.
            LedgerError: The file is not a ledger, from a newer version, or damaged; or the ledger cannot be replaced. Then nothing is
                changed.
        """
        return restore(self.path, source, progress)

    def prune(
        self,
        before: Moment | None = None,
        *,
        customer: str | None = None,
        user: str | None = None,
        keep_rollups: bool = False,
        dry_run: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Pruned:
        """Delete calls, in batches between which programs write. The sums of reports change with them, so that reports agree.

        Args:
            before: Only calls that began before this moment; see `report`.
            customer: Only calls of this customer. Unused parts of the file may still have bytes of them until `compact`.
            user: Only calls of this user, likewise.
            keep_rollups: Whether reports still count the calls.
            dry_run: Whether to only count the calls.
            progress: Called with the calls that are deleted, and all that will be.

        Raises:
            ValueError: None of `before`, `customer` and `user` is given, or one of them is invalid.
            LedgerError: The ledger cannot be read or written. What was deleted before stays deleted, with its sums.
        """
        of = {name: value for name, value in (("customer", customer), ("user", user)) if value is not None}
        if before is None and not of:
            raise ValueError("prune: give before, customer or user")
        for name, value in of.items():
            if not value:
                raise ValueError(f"{name}: the name is empty")
        self._bring_up_to_date()
        until = unix_ns("before", before, self.timezone)
        chosen = Selection.of(None, None, of or None, self.timezone)._replace(until=until)
        return Pruned(*_core.ledger_prune(self.path, *chosen, keep_rollups, bool(of), dry_run, progress))

    def compact(self, *, progress: ProgressCallback | None = None) -> tuple[int, int]:
        """Rewrite the file without unused pages. This needs as much space again. Events wait in the journals meanwhile.

        Args:
            progress: Called meanwhile.

        Returns:
            The bytes of the file before and after.

        Raises:
            ValueError: There is no ledger.
            LedgerError: It cannot be written. Then it is as before.
        """
        return _core.ledger_compact(self.path, progress)


def restore(path: Path, source: str | PathLike[str], progress: ProgressCallback | None = None) -> Backup:
    """Put a copy of a backup in the place of a ledger, which may be damaged. See `Ledger.restore`."""
    done = _core.ledger_restore(path, source, progress)
    return Backup(done["events"], done["bytes"], None if done["kept"] is None else Path(done["kept"]))


def quick_check(path: Path, timeout: float) -> Check:
    """Check the structure of a ledger's file, for at most so many seconds.

    Raises:
        LedgerError: The file is not a ledger, or cannot be read.
    """
    return checked(_core.ledger_check(path, False, timeout, None))


def checked(found: Mapping[str, Any]) -> Check:
    """Return what the core has found."""
    return Check(tuple(found["faults"]), found["is_complete"], found["events"], found["bytes"], found["free_bytes"])
