"""The lock files of the runs on a ledger: who lives, and who died.

Each run holds an operating-system lock on a file of its own beside the ledger. It is dead exactly when that
lock can be taken: no clock is asked, and a crash is told from a slow neighbour. The files are named after the
ledger's real path, so that whoever comes by another name finds the same ones.
Raises OSError when a lock file cannot be made.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from pathlib import Path
from typing import BinaryIO


class Locks:
    """The lock of this run, once it has one, and a look at those of the others."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger.resolve()
        self._handle: BinaryIO | None = None
        self.own: str | None = None  # the name of this run

    def take(self) -> None:
        """Give this run a name, and hold its lock."""
        while self._handle is None:
            run = secrets.token_hex(8)
            with contextlib.suppress(BlockingIOError):  # somebody just asks whether it lives
                self._handle, self.own = _hold(self._path(run), create=True), run

    def give_back(self) -> None:
        """Let go; whatever this run has leased is free from then on."""
        if self._handle is not None and self.own is not None:
            with contextlib.suppress(OSError):  # a folder that became read-only; the next run removes it
                self._path(self.own).unlink(missing_ok=True)
            self._handle.close()
        self._handle = self.own = None

    @property
    def lost(self) -> bool:
        """Tell whether somebody removed the file of the lock we hold: others take us for dead then."""
        return self._handle is not None and not _has_name(self._handle, self._path(self.own or ""))

    def others(self) -> list[str]:
        """Return the other runs that have a lock file, living or dead."""
        start = f"{self._ledger.name}.run-"
        found = self._ledger.parent.glob(f"{glob.escape(start)}{'[0-9a-f]' * 16}")
        runs = [path.name.removeprefix(start) for path in found if path.stat().st_size == 0]
        return [run for run in runs if run != self.own]

    def is_dead(self, run: str) -> bool:
        """Tell whether a run is dead; who cannot be asked counts as living."""
        if run == self.own:
            return False
        try:
            _hold(self._path(run)).close()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def bury(self, run: str) -> None:
        """Remove the lock file of a dead run, while holding it: nobody else can take it meanwhile."""
        path = self._path(run)
        with contextlib.suppress(OSError), _hold(path):
            path.unlink()

    def _path(self, run: str) -> Path:
        return self._ledger.with_name(f"{self._ledger.name}.run-{run}")


def _hold(path: Path, create: bool = False) -> BinaryIO:
    """Open a file and hold an exclusive lock on it.

    Raises BlockingIOError when another process does, or when the file was removed meanwhile;
    FileNotFoundError when it is not there.
    """
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    handle = os.fdopen(os.open(path, flags, 0o600), "r+b")
    try:
        if os.name == "nt":
            import msvcrt

            try:
                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            except OSError:
                raise BlockingIOError from None
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A lock on a file that has lost its name would be seen by nobody.
            if not _has_name(handle, path):
                raise BlockingIOError
    except BaseException:
        handle.close()
        raise
    return handle


def _has_name(handle: BinaryIO, path: Path) -> bool:
    """Tell whether an open file is still what the path names."""
    try:
        return path.stat().st_ino == os.fstat(handle.fileno()).st_ino
    except FileNotFoundError:
        return False
