"""When would a mailing end, which limit decides that, and when would it end without this limit?

Worked out by simulation: once with all limits, once more without each limit that a mail waited for. The limit
without which the end comes soonest binds; where two are equally tight, and neither alone makes a difference,
the one that takes longest by its own count. Pure. Known limits: what a simulation does not foresee
(throttle.py); of single domains with limits of their own, those that end last are tried, as far as the time
allows (`_MOST_MAILS`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from outreach import institutions, throttle
from outreach.institutions import DomainLimits
from outreach.model import Limit
from outreach.throttle import Foreseen, History

MANY = 20  # letters; a domain with more is told of
_MOST_MAILS = 500_000  # simulated in all: a few seconds
_TRIES = 5  # limits that are tried however many the mails are
_DIFFERENCE = 0.01  # of the whole time: less is the jitter's doing


@dataclass(frozen=True, slots=True)
class End:
    """When some mails end; the limit that binds, in words, and the end without it. None: nothing binds."""

    at: float
    limit: str | None
    without: float | None


@dataclass(frozen=True, slots=True)
class DomainEnd:
    """The same for the mails to one recipient domain."""

    domain: str
    letters: int
    kind: str  # institution or free-mail
    end: End


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is foreseen of a mailing: the whole, and each domain with many letters, most letters first."""

    starts: float
    end: End
    domains: tuple[DomainEnd, ...]


@dataclass(frozen=True, slots=True)
class _Try:
    """A limit, and what would happen without it."""

    words: str
    limit: Limit
    letters: Callable[[str], int]  # how many it counts together at this domain; 0: it does not hold there
    foreseen: Foreseen


def make(
    domains: Iterable[str],
    rate: Sequence[Limit],
    limits: DomainLimits,
    start: float,
    history: History,
    domain_history: Callable[[str], History],
) -> Forecast:
    """Foresee when mails to these domains end; the arguments are those of `throttle.simulate`."""
    names = list(domains)
    counted = Counter(names)

    def run(rate: Sequence[Limit], limits: DomainLimits) -> Foreseen:
        return throttle.simulate(names, rate, limits, start, history, domain_history)

    base = run(rate, limits)
    tries = []
    for limit in (one for one in dict.fromkeys(rate) if one in base.account):
        foreseen = run([one for one in rate if one != limit], limits)
        tries.append(_Try(str(limit), limit, lambda domain: len(names), foreseen))
    last_first = dict(sorted(base.held.items(), key=lambda pair: (-base.ends[pair[0]], pair[0])))
    for words, limit, less in limits.without_each(last_first):
        if len(tries) >= max(_TRIES, _MOST_MAILS // len(names)):
            break
        tries.append(_Try(words, limit, _letters(counted, limits, less), run(rate, less)))
    last = max(base.ends, key=lambda domain: base.ends[domain], default="")
    end = _end(base.last, start, [(one, one.letters(last), one.foreseen.last) for one in tries])
    told = [
        DomainEnd(
            name,
            count,
            "free-mail" if institutions.is_free_mail(name) else "institution",
            _end(base.ends[name], start, [(o, o.letters(name), o.foreseen.ends[name]) for o in tries]),
        )
        for name, count in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
        if count > MANY
    ]
    return Forecast(base.first, end, tuple(told))


def _letters(counted: Counter[str], limits: DomainLimits, less: DomainLimits) -> Callable[[str], int]:
    return lambda domain: counted[domain] if less.of(domain) != limits.of(domain) else 0


def _end(at: float, start: float, tried: Sequence[tuple[_Try, int, float]]) -> End:
    """Choose the limit that binds among those tried: each with its letters, and the end without it."""
    holding = [one for one in tried if one[1]]
    if at <= start or not holding:
        return End(at, None, None)
    best, _, without = min(holding, key=lambda one: one[2])
    if at - without < _DIFFERENCE * (at - start):
        best, _, without = max(holding, key=lambda one: one[1] * one[0].limit.seconds / one[0].limit.count)
    return End(at, best.words, min(without, at))
