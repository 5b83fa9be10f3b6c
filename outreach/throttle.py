"""When may the next mail leave? Computed, never slept.

Every limit is a sliding window over the transactions that the ledger remembers: at most `count` in any
`seconds`, no credit accumulates. Mails are spaced by period / count of the tightest limit, with a jitter
of ± 20 % that depends only on the transaction before, so asking twice gives the same answer. Spacing is
kept against an ideal schedule, so that small delays of a run do not add up; never by more than one mail.
Pure: the time and the history are arguments. Times are seconds since the epoch.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from outreach.agenda import Agenda
from outreach.model import Limit

_JITTER = 0.2


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
    jitter = random.Random(last.seed).uniform(1 - _JITTER, 1 + _JITTER)
    return last.ideal + spacing(limits) * jitter


class _Past:
    """A history in memory, for simulation."""

    def __init__(self, longest: int) -> None:
        self.slots: deque[Slot] = deque(maxlen=max(longest, 1))

    def __call__(self, n: int) -> Slot | None:
        return self.slots[-n] if n <= len(self.slots) else None


def simulate(
    domains: Iterable[str],
    rate: Sequence[Limit],
    per_domain: Sequence[Limit],
    start: float,
    history: History = lambda n: None,
) -> tuple[float, float]:
    """Return when the first and the last of these mails would leave, from `start` on.

    `history` is what the account has already sent. Retries and the network are not foreseen.
    """
    names = list(domains)
    agenda = Agenda()
    for number, name in enumerate(names):
        agenda.add(number, name, 0.0)
    account = _Past(max((limit.count for limit in rate), default=1))
    most = max((limit.count for limit in rate), default=0)
    before = itertools.takewhile(lambda slot: slot is not None, map(history, range(1, most + 1)))
    account.slots.extendleft(slot for slot in before if slot is not None)
    past = {name: _Past(max((limit.count for limit in per_domain), default=1)) for name in names}
    first: float | None = None
    now, seed = start, 0
    while len(agenda):
        now = max(now, earliest(rate, account))
        number_due = agenda.pop(now, lambda name: earliest(per_domain, past[name]))
        if number_due is None:
            now = max(now, agenda.next_at() or now)
            continue
        first = now if first is None else first
        seed += 1
        account.slots.append(Slot(now, ideal(rate, account, now), seed))
        past[names[number_due]].slots.append(Slot(now, now, seed))
    return start if first is None else first, now
