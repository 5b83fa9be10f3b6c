"""When may the next mail leave, and when would the last? Computed, never slept.

Every limit is a sliding window over the transactions that the ledger remembers: at most `count` in any
`seconds`, no credit accumulates. Mails are spaced by period / count of the tightest limit, with a jitter
of ± 20 % that depends only on the transaction before, so asking twice gives the same answer. Spacing is
kept against an ideal schedule, so that small delays of a run do not add up; never by more than one mail.
Pure: the time and the history are arguments. Times are seconds since the epoch. Known limits: a simulation
foresees neither retries nor the network, and looks up what a domain got before for the busiest ones only,
and not far back.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from outreach.institutions import DomainLimits
from outreach.model import Limit

_JITTER = 0.2
_64_BITS = 2**64 - 1
# What a simulation asks of the histories of domains, as each answer may be a query.
_BUSIEST = 50  # domains
_FAR_BACK = 100  # mails of each


@dataclass(frozen=True, slots=True)
class Slot:
    """One transaction in the history: when it began, and when it ideally had."""

    at: float
    ideal: float
    seed: int


History = Callable[[int], Slot | None]  # the n-th most recent transaction; 1 is the last


def spacing(limits: Sequence[Limit]) -> float:
    """Return the mean gap between two mails in seconds; 0 when unlimited."""
    return max((limit.seconds / limit.count for limit in limits), default=0.0)


def earliest(limits: Sequence[Limit], history: History) -> float:
    """Return when the next transaction may begin; 0 when nothing holds it."""
    if not limits:
        return 0.0
    last = history(1)
    if last is None:
        return 0.0
    when = _next_ideal(limits, last)
    for limit in limits:
        if oldest := history(limit.count):
            when = max(when, oldest.at + limit.seconds)
    return when


def ideal(limits: Sequence[Limit], history: History, now: float) -> float:
    """Return the ideal time of a transaction that begins now: its schedule, at most one gap late."""
    last = history(1) if limits else None
    if last is None:
        return now
    return min(now, max(_next_ideal(limits, last), now - spacing(limits)))


def _next_ideal(limits: Sequence[Limit], last: Slot) -> float:
    return last.ideal + spacing(limits) * _jitter(last.seed)


def _jitter(seed: int) -> float:
    """Return a factor around 1 that looks random: splitmix64, many times quicker than random.Random."""
    mixed = (seed + 1) * 0x9E3779B97F4A7C15 & _64_BITS
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _64_BITS
    return 1 - _JITTER + 2 * _JITTER * (mixed >> 11) / 2**53


# Simulation -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Foreseen:
    """When mails would leave."""

    first: float
    last: float
    ends: Mapping[str, float]  # when the last one of each domain leaves
    account: frozenset[Limit]  # the limits of the account without which some mail would leave earlier
    held: Mapping[str, frozenset[Limit]]  # the same for domains in which some mail waited


class _Stream:
    """What has left under some limits, and when the next may: `earliest` and `ideal`, kept up to date."""

    __slots__ = ("at", "free", "gap", "ideals", "limits", "planned", "seed", "tight")

    def __init__(self, limits: Sequence[Limit], ideals: bool, before: History, most: int) -> None:
        most = min(most, max(limit.count for limit in limits))
        slots = list(itertools.takewhile(lambda slot: slot is not None, map(before, range(1, most + 1))))
        self.limits, self.gap, self.ideals = limits, spacing(limits), ideals
        self.at = [slot.at for slot in reversed(slots) if slot is not None]
        self.free = earliest(limits, before)
        last = slots[0] if slots else None
        self.planned = None if last is None else _next_ideal(limits, last)
        self.seed = 0
        self.tight = {max(limits, key=lambda limit: limit.seconds / limit.count)}  # and whose window was full
        self.tight.update(limit for limit in limits if limit.count <= len(self.at))

    def take(self, now: float) -> None:
        """Let one leave now."""
        self.seed += 1
        ideal = now
        if self.ideals and self.planned is not None:
            ideal = min(now, max(self.planned, now - self.gap))
        free = self.planned = ideal + self.gap * _jitter(self.seed)
        self.at.append(now)
        for limit in self.limits:
            if limit.count <= len(self.at):
                again = self.at[-limit.count] + limit.seconds
                if again > free:
                    free = again
                    self.tight.add(limit)
        self.free = free


def nothing(n: int) -> None:
    """Be the history of whoever has sent nothing."""


def simulate(
    domains: Iterable[str],
    rate: Sequence[Limit],
    limits: DomainLimits,
    start: float,
    history: History = nothing,
    domain_history: Callable[[str], History] = lambda domain: nothing,
) -> Foreseen:
    """Return when these mails would leave, from `start` on, in the order in which a run takes them.

    `history` is what the account has already sent, `domain_history` what a recipient domain was sent.
    """
    names = list(domains)
    letters = Counter(names)
    if not names or not (rate or limits):
        return Foreseen(start, start, dict.fromkeys(letters, start), frozenset(), {})
    account = _Stream(rate, True, history, sys.maxsize) if rate else None
    streams: dict[str, _Stream] = {}
    for rank, (name, _) in enumerate(letters.most_common() if limits else ()):
        if own := limits.of(name):
            before = domain_history(name) if rank < _BUSIEST else nothing
            streams[name] = _Stream(own, False, before, _FAR_BACK)
    waiting: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        waiting.setdefault(name, []).append(number)
    for numbers in waiting.values():
        numbers.reverse()
    # As agenda.py: who is due longest, then who stands first in the list; a held domain comes back when free.
    queue = [(0.0, numbers[-1], name) for name, numbers in waiting.items()]
    ends: dict[str, float] = {}
    first: float | None = None
    now, account_held, held = start, False, set[str]()
    while queue:
        due, number, name = queue[0]
        if account is not None and account.free > now:
            now, account_held = account.free, True
        now = max(now, due)
        stream = streams.get(name)
        if stream is not None and stream.free > now:
            held.add(name)
            heapq.heapreplace(queue, (stream.free, number, name))
            continue
        first = now if first is None else first
        ends[name] = now
        if account is not None:
            account.take(now)
        if stream is not None:
            stream.take(now)
        numbers = waiting[name]
        numbers.pop()
        if numbers:
            heapq.heapreplace(queue, (0.0, numbers[-1], name))
        else:
            heapq.heappop(queue)
    return Foreseen(
        start if first is None else first,
        now,
        ends,
        frozenset(account.tight if account is not None and account_held else ()),
        {name: frozenset(streams[name].tight) for name in held},
    )
