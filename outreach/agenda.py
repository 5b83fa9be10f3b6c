"""What a run may still send, in which order, and when: a queue in memory, by recipient domain and place.

Of all that may leave now, first goes whoever was tried before and is due again; then a domain whose own
limit would decide when the mailing ends, because what its limit allows and nobody uses is lost; then whoever
stands first in the list, with those whose turn was taken back at its end. A domain at its limit, or a reader
whose window is closed, holds up nobody else. The agenda only proposes; the ledger decides, by the claim.
Pure: the time, and when a domain is free, are arguments. Times are seconds since the epoch. Known limits: it
holds one entry for each delivery of the run in memory; how long a domain will take is judged by its spacing,
not by its sending hours.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from outreach.pace import Pace
from outreach.places import Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A delivery that waits for its turn."""

    number: int
    domain: str
    due: float = 0.0
    place: Place | None = None
    tried: bool = False


@dataclass(slots=True, eq=False)
class _Line:
    """Those who wait for the same: one domain at one place, tried before or not."""

    domain: str
    place: Place | None
    tried: bool
    waiting: list[tuple[float, int]] = field(default_factory=list)  # heap of (due, number)
    stamp: int = 0  # changes whenever the line is put somewhere else: older mentions of it are void


_NEVER = (math.inf, -math.inf)
_Mention = tuple[float, int, int, _Line]  # (rank, number, stamp, line); no two have one number and stamp


class Agenda:
    """Deliveries with the time each is due."""

    def __init__(self, pace: Pace) -> None:
        """Take what decides when something may leave, and in which order."""
        self._window, self._account_gap, self._gap_of = pace.window, pace.gap, pace.gap_of
        self._lines: dict[tuple[str, Place | None, bool], _Line] = {}
        self._left: Counter[str] = Counter()
        self._gaps: dict[str, float] = {}
        self._queued: set[int] = set()
        self._stamps = 0
        self._later: list[_Mention] = []  # by when they may be ready
        self._again: list[_Mention] = []  # ready, tried before, by when they were due
        self._slow: list[_Mention] = []  # ready, those that take longest by their own limit first
        self._list: list[_Mention] = []  # ready, in the order of the list
        self._hours: dict[Place, tuple[float, float]] = {}  # that were open when last looked at
        self.closed = False  # whether somebody had to wait for the window

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, number: int) -> bool:
        return number in self._queued

    def __iter__(self) -> Iterator[Entry]:
        """Yield everything that waits, in the order of the list."""
        found = [
            Entry(number, line.domain, due, line.place, line.tried)
            for line in self._lines.values()
            for due, number in line.waiting
        ]
        return iter(sorted(found, key=lambda one: one.number))

    def add(self, entry: Entry) -> None:
        """Queue a delivery."""
        key = (entry.domain, entry.place if self._window else None, entry.tried)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(*key)
        heapq.heappush(line.waiting, (entry.due, entry.number))
        self._queued.add(entry.number)
        self._left[entry.domain] += 1
        if line.waiting[0][1] == entry.number:
            self._put_off(line, entry.due)

    def next_at(self) -> float | None:
        """Return when something may leave, as far as is known; None when nothing is queued."""
        if not self._queued:
            return None
        if any(_top(heap) for heap in (self._again, self._list)):
            return 0.0
        return self._later[0][0] if _top(self._later) else 0.0

    def pop(self, now: float, domain_free_at: Callable[[str], float]) -> int | None:
        """Take the next delivery that is due, whose domain is free, and whose reader's window is open."""
        line = self._next(now, domain_free_at)
        if line is None:
            return None
        _, number = heapq.heappop(line.waiting)
        self._queued.discard(number)
        self._left[line.domain] -= 1
        if not line.waiting:
            line.stamp = 0
        elif line.waiting[0][0] <= now:
            self._make_ready(line)
        else:
            self._put_off(line, line.waiting[0][0])
        return number

    def is_due(self, now: float, domain_free_at: Callable[[str], float]) -> bool:
        """Tell whether `pop` would find something."""
        return self._next(now, domain_free_at) is not None

    def waits_at(self) -> Place | None:
        """Return where the next one is, if all wait for something."""
        return None if self.next_at() == 0.0 else self._later[0][3].place if _top(self._later) else None

    def _next(self, now: float, domain_free_at: Callable[[str], float]) -> _Line | None:
        """Return the line whose turn it is; those that turn out to have to wait are put off."""
        while _top(self._later) and self._later[0][0] <= now:
            self._make_ready(heapq.heappop(self._later)[3])
        while (line := self._best()) is not None:
            at = max(line.waiting[0][0], domain_free_at(line.domain), now)
            if line.place is not None:
                start, end = self._hours.get(line.place, _NEVER)
                if not start <= at < end:
                    start, _ = self._hours[line.place] = self._window.hours(at, line.place)
                if start > at:
                    self.closed = True
                    at = start
            if at <= now:
                return line
            self._put_off(line, at)
        return None

    def _best(self) -> _Line | None:
        """Return the ready line that goes first."""
        if line := _top(self._again):
            return line
        everything = len(self._queued) * self._account_gap
        while line := _top(self._slow):
            takes = self._takes(line.domain)
            if takes != -self._slow[0][0]:  # fewer are left than when it was put there
                heapq.heapreplace(self._slow, (-takes, line.waiting[0][1], line.stamp, line))
            elif takes > 0 and takes >= everything:
                return line
            else:
                break
        return _top(self._list)

    def _takes(self, domain: str) -> float:
        """Return how many seconds a domain needs by its own limits, from its next mail to its last."""
        gap = self._gaps.get(domain)
        if gap is None:
            gap = self._gaps[domain] = self._gap_of(domain)
        return (self._left[domain] - 1) * gap

    def _put_off(self, line: _Line, at: float) -> None:
        self._stamps += 1
        line.stamp = self._stamps
        heapq.heappush(self._later, (at, line.waiting[0][1], line.stamp, line))

    def _make_ready(self, line: _Line) -> None:
        self._stamps += 1
        line.stamp = self._stamps
        due, number = line.waiting[0]
        if line.tried:
            heapq.heappush(self._again, (due, number, line.stamp, line))
            return
        heapq.heappush(self._list, (due, number, line.stamp, line))
        takes = self._takes(line.domain)
        if takes > 0 and self._gaps[line.domain] > self._account_gap:
            heapq.heappush(self._slow, (-takes, number, line.stamp, line))


def _top(heap: list[_Mention]) -> _Line | None:
    """Return the first line of a heap, once mentions that are void are dropped."""
    while heap:
        _, _, stamp, line = heap[0]
        if line.stamp == stamp:
            return line
        heapq.heappop(heap)
    return None
