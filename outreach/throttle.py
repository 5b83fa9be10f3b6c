"""When may the next mail leave? Computed, never slept.

Every limit is a sliding window over the transactions that the ledger remembers: at most `count` in any
`seconds`, no credit accumulates. Mails are spaced by period / count of the tightest limit, with a jitter
of ± 20 % that depends only on the transaction before, so asking twice gives the same answer. Spacing is
kept against an ideal schedule, so that small delays of a run do not add up; after a pause it begins anew.
A transaction counts from when the server had answered it, so the windows hold by the server's clock as well.
Pure: the time and the history are arguments. Times are seconds since the epoch.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from outreach.model import Limit
from outreach.pace import spacing

_JITTER = 0.2
_64_BITS = 2**64 - 1
_MOST_SLOWED = 8  # times the usual gap
_MOST_SLOWED_GAP = 60.0  # seconds, where the usual gap is small
_HICCUP = 1.0  # seconds: as late as a run is that does not pause, however small the gap
_WATCHED = 100  # mails by which the pace of an unlimited run is judged


@dataclass(frozen=True, slots=True)
class Slot:
    """One transaction in the history: when it was over, and when it ideally had begun."""

    at: float
    ideal: float
    seed: int


# The n-th most recent transaction, by when it was over; LAST is the one that began last.
History = Callable[[int], Slot | None]
LAST = 0


def nothing(n: int) -> None:
    """Be the history of whoever has sent nothing."""


def earliest(limits: Sequence[Limit], history: History, gap: float | None = None) -> float:
    """Return when the next transaction may begin; 0 when nothing holds it.

    `gap` is the mean seconds between two; without it, the spacing of the limits.
    """
    gap = spacing(limits) if gap is None else gap
    if not limits and not gap:
        return 0.0
    last = history(LAST)
    if last is None:
        return 0.0
    when = _next_ideal(gap, last)
    for limit in limits:
        if oldest := history(limit.count):
            when = max(when, oldest.at + limit.seconds)
    return when


def ideal(limits: Sequence[Limit], history: History, now: float, gap: float | None = None) -> float:
    """Return the ideal time of a transaction that begins now: that of its schedule, but for a pause."""
    gap = spacing(limits) if gap is None else gap
    last = history(LAST) if gap else None
    if last is None:
        return now
    return _kept(_next_ideal(gap, last), gap, now)


def _kept(planned: float, gap: float, now: float) -> float:
    """Return where the schedule is when a mail leaves now: at most one gap late, and not behind a pause."""
    late = now - planned
    if late <= gap:
        return min(now, planned)
    return now - gap if late <= _HICCUP else now


def _next_ideal(gap: float, last: Slot) -> float:
    return last.ideal + gap * _jitter(last.seed)


def _jitter(seed: int) -> float:
    """Return a factor around 1 that looks random: splitmix64, many times quicker than random.Random."""
    mixed = (seed + 1) * 0x9E3779B97F4A7C15 & _64_BITS
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _64_BITS
    return 1 - _JITTER + 2 * _JITTER * (mixed >> 11) / 2**53


# When the server asks for less --------------------------------------------------------------------


def halved(usual: float, least: float, history: History) -> float:
    """Return twice the gap of now, in seconds: the server has asked for less.

    `usual` is the gap of the settings, `least` the one that an earlier request has left. Without either, it
    is the mean gap of the last mails. The end is 8 times the usual gap, or a minute if that is more.
    """
    now = max(usual, least)
    if now <= 0:
        slots = list(itertools.takewhile(lambda one: one is not None, map(history, range(1, _WATCHED + 1))))
        times = [one.at for one in slots if one is not None]
        now = (times[0] - times[-1]) / (len(times) - 1) if len(times) > 1 else 0.5
    return max(now, min(2 * now, max(_MOST_SLOWED * usual, _MOST_SLOWED_GAP)))


# For a simulation --------------------------------------------------------------------------------


class Stream:
    """What has left under some limits, and when the next may: `earliest` and `ideal`, kept up to date."""

    __slots__ = ("at", "free", "gap", "limits", "planned", "tight")

    def __init__(self, limits: Sequence[Limit], gap: float, before: History, most: int = sys.maxsize) -> None:
        """Begin with what left before, at most so many of them."""
        most = min(most, max((limit.count for limit in limits), default=1))
        slots = list(itertools.takewhile(lambda slot: slot is not None, map(before, range(1, most + 1))))
        self.limits, self.gap = limits, gap
        self.at = [slot.at for slot in reversed(slots) if slot is not None]
        self.free = earliest(limits, before, gap)
        last = before(LAST)
        self.planned = None if last is None else _next_ideal(gap, last)
        # The tightest limit, and those whose window was full.
        self.tight = {max(limits, key=lambda limit: limit.seconds / limit.count)} if limits else set[Limit]()
        self.tight.update(limit for limit in limits if limit.count <= len(self.at))

    def take(self, now: float, seed: int) -> None:
        """Let one leave now; `seed` is the number that its slot would have."""
        ideal = now
        if self.planned is not None:
            ideal = _kept(self.planned, self.gap, now)
        free = self.planned = ideal + self.gap * _jitter(seed)
        self.at.append(now)
        for limit in self.limits:
            if limit.count <= len(self.at):
                again = self.at[-limit.count] + limit.seconds
                if again > free:
                    free = again
                    self.tight.add(limit)
        self.free = free
