"""Mail as the sources give it: in batches small enough for memory, each with the bookmarks kept with it.

What is bookmarked is not read again. Whoever keeps no bookmarks reads everything anew, and the tail of an
interrupted reading comes again, so the caller throws out doubles by their content.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

MOST = 2_000_000  # bytes of a mail that are read; what is longer is cut there
MOST_MAILS, MOST_BYTES = 50, 4_000_000  # of a batch

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it arrived; of a Sent folder only headers."""

    at: float  # when it arrived: INTERNALDATE; of files their mtime; of mbox the From_ line's date, else 0.0
    raw: bytes  # at most MOST bytes
    where: str  # for people: the folder, or the file


@dataclass(frozen=True, slots=True)
class Batch:
    """Some mails, and what is to be remembered in the same commit. Without mails: they had gone."""

    place: str  # under what the bookmarks are kept
    mails: tuple[Mail, ...]
    bookmarks: tuple[str, ...]
    sent: bool = False  # from a Sent folder


class Mailbox(Protocol):
    """Where answers arrive. Nothing in it is changed by reading."""

    def batches(self, known: Callable[[str], Collection[str]], since: float = 0.0) -> Iterator[Batch]:
        """Yield the mails whose bookmark is not known; `known` gives the bookmarks kept for a place.

        `since` (seconds since the epoch, IMAP only): what arrived before the day before is not read. A later
        read with an earlier `since` does not go back behind the bookmarks.
        """
        ...

    def wait(self, seconds: float, stop: int | None = None) -> None:
        """Return after `seconds`, or when `stop` can be read from; sooner when there may be new mail."""
        ...

    def close(self) -> None:
        """End the session, if there is one."""
        ...


def grouped(items: Iterable[tuple[_T, int]]) -> Iterator[list[_T]]:
    """Put together what makes a batch, out of things and their sizes in bytes."""
    group: list[_T] = []
    total = 0
    for item, size in items:
        if group and (len(group) == MOST_MAILS or total + size > MOST_BYTES):
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group
