"""When would a mailing end, which limit decides that, and when would it end without this limit?

Worked out by playing it through: the agenda and the throttle of a run, with a clock that jumps to the next
moment at which anything may leave. Once with all that holds letters back, once more without each limit that a
mail waited for. The limit without which the end comes soonest binds; where two are equally tight, and neither
alone makes a difference, the one that takes longest by its own count. Pure. Known limits: neither retries nor
the network are foreseen; what a domain got before is looked up for the busiest ones only, and not far back;
of single domains with limits of their own, those that end last are tried, as far as the time allows
(`_MOST_MAILS`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from outreach import institutions, throttle
from outreach.agenda import Agenda, Entry
from outreach.institutions import DomainLimits
from outreach.model import Limit
from outreach.pace import Pace
from outreach.throttle import History, Stream
from outreach.windows import ALWAYS

MANY = 20  # letters; a domain with more is told of
_MOST_MAILS = 250_000  # simulated in all: some seconds
_TRIES = 5  # limits that are tried however many the mails are
_DIFFERENCE = 0.01  # of the whole time: less is the jitter's doing
_HOUR, _DAY = 3600, 86400
# What a simulation asks of the histories of domains, as each answer may be a query.
_BUSIEST = 50  # domains
_FAR_BACK = 100  # mails of each


@dataclass(frozen=True, slots=True)
class Past:
    """What was sent before: by the account, and to a recipient domain; and the number of the last slot.

    The jitter depends on the numbers of slots, so a run that nothing else disturbs is foreseen exactly.
    """

    account: History = throttle.nothing
    domain: Callable[[str], History] = lambda domain: throttle.nothing
    slots: int = 0


NOTHING = Past()


@dataclass(frozen=True, slots=True)
class Foreseen:
    """When mails would leave."""

    first: float
    last: float
    ends: Mapping[str, float]  # when the last one of each domain leaves
    account: frozenset[Limit]  # the limits of the account without which some mail would leave earlier
    held: Mapping[str, frozenset[Limit]]  # the same for domains in which some mail waited
    closed: bool  # whether some mail waited for its reader's window
    times: Mapping[str, Sequence[float]]  # of the domains that were asked about


def simulate(
    entries: Iterable[Entry],
    pace: Pace,
    start: float,
    past: Past = NOTHING,
    watch: Collection[str] = (),
) -> Foreseen:
    """Return when these mails would leave, from `start` on, in the order in which a run takes them.

    Of the domains in `watch`, every time is kept.
    """
    waiting = list(entries)
    letters = Counter(one.domain for one in waiting)
    now = max(start, pace.resume_at)
    if not pace.counts and not pace.window and all(one.due <= now for one in waiting):
        times = {name: [now] * letters[name] for name in watch}
        return Foreseen(now, now, dict.fromkeys(letters, now), frozenset(), {}, False, times)
    account = Stream(pace.rate, pace.gap, past.account) if pace.rate or pace.least else None
    streams: dict[str, Stream] = {}
    for rank, (name, _) in enumerate(letters.most_common() if pace.domains else ()):
        if own := pace.domains.of(name):
            before = past.domain(name) if rank < _BUSIEST else throttle.nothing
            streams[name] = Stream(own, pace.gap_of(name), before, _FAR_BACK)
    agenda = Agenda(pace)
    for number, one in enumerate(waiting):
        agenda.add(replace(one, number=number))
    ends: dict[str, float] = {}
    times = {name: [] for name in watch}
    first: float | None = None
    account_held, held, slot = False, set[str](), past.slots

    def free(domain: str) -> float:
        stream = streams.get(domain)
        if stream is None:
            return 0.0
        if stream.free > now:
            held.add(domain)
        return stream.free

    while len(agenda):
        if account is not None and account.free > now:
            now, account_held = account.free, True
        found = agenda.pop(now, free)
        if found is None:
            now = max(now, agenda.next_at() or now)
            continue
        name = waiting[found].domain
        first = now if first is None else first
        ends[name] = now
        if name in times:
            times[name].append(now)
        slot += 1
        if account is not None:
            account.take(now, slot)
        if stream := streams.get(name):
            stream.take(now, slot)
    return Foreseen(
        start if first is None else first,
        max(ends.values(), default=start),
        ends,
        frozenset(account.tight if account is not None and account_held else ()),
        {name: frozenset(streams[name].tight) for name in held},
        agenda.closed,
        times,
    )


# Which limit binds --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class End:
    """When some mails end; the limit that binds, in words, and the end without it. None: nothing binds."""

    at: float
    limit: str | None
    without: float | None


@dataclass(frozen=True, slots=True)
class DomainEnd:
    """The same for the mails to one recipient domain, and the most that its gateway sees."""

    domain: str
    letters: int
    kind: str  # institution or free-mail
    end: End
    most_in_an_hour: int
    most_in_a_day: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is foreseen of a mailing: the whole, and each domain with many letters, most letters first."""

    starts: float
    end: End
    domains: tuple[DomainEnd, ...]


@dataclass(frozen=True, slots=True)
class _Try:
    """What holds letters back, and what would happen without it."""

    words: str
    gap: float  # seconds between two of those that it counts together
    letters: Callable[[str], int]  # how many those are at this domain; 0: it does not hold there
    foreseen: Foreseen


def make(
    entries: Iterable[Entry],
    pace: Pace,
    start: float,
    past: Past = NOTHING,
) -> Forecast:
    """Foresee when these mails end; the arguments are those of `simulate`."""
    waiting = list(entries)
    counted = Counter(one.domain for one in waiting)
    many = [name for name, count in counted.items() if count > MANY]

    def without(less: Pace) -> Foreseen:
        return simulate(waiting, less, start, past)

    base = simulate(waiting, pace, start, past, many)
    tries = []
    if base.closed:
        less = replace(pace, window=ALWAYS)
        tries.append(_Try(f"window {pace.window}", 0.0, lambda domain: len(waiting), without(less)))
    if pace.least and pace.least == pace.gap:
        less = replace(pace, least=0.0)
        tries.append(
            _Try("what the server asked for", pace.least, lambda domain: len(waiting), without(less))
        )
    for limit in (one for one in dict.fromkeys(pace.rate) if one in base.account):
        less = replace(pace, rate=tuple(one for one in pace.rate if one != limit))
        gap = limit.seconds / limit.count
        tries.append(_Try(str(limit), gap, lambda domain: len(waiting), without(less)))
    last_first = dict(sorted(base.held.items(), key=lambda pair: (-base.ends[pair[0]], pair[0])))
    for words, limit, fewer in pace.domains.without_each(last_first):
        if len(tries) >= max(_TRIES, _MOST_MAILS // len(waiting)):
            break
        foreseen = without(replace(pace, domains=fewer))
        tries.append(_Try(words, limit.seconds / limit.count, _letters(counted, pace, fewer), foreseen))
    last = max(base.ends, key=lambda domain: base.ends[domain], default="")
    end = _end(base.last, start, [(one, one.letters(last), one.foreseen.last) for one in tries])
    told = [
        DomainEnd(
            name,
            counted[name],
            "free-mail" if institutions.is_free_mail(name) else "institution",
            _end(base.ends[name], start, [(o, o.letters(name), o.foreseen.ends[name]) for o in tries]),
            _most_within(base.times[name], _HOUR),
            _most_within(base.times[name], _DAY),
        )
        for name in sorted(many, key=lambda name: (-counted[name], name))
    ]
    return Forecast(base.first, end, tuple(told))


def _letters(counted: Counter[str], pace: Pace, less: DomainLimits) -> Callable[[str], int]:
    return lambda domain: counted[domain] if less.of(domain) != pace.domains.of(domain) else 0


def _end(at: float, start: float, tried: Sequence[tuple[_Try, int, float]]) -> End:
    """Choose the limit that binds among those tried: each with its letters, and the end without it."""
    holding = [one for one in tried if one[1]]
    if at <= start or not holding:
        return End(at, None, None)
    best, _, without = min(holding, key=lambda one: one[2])
    if at - without < _DIFFERENCE * (at - start):
        best, _, without = max(holding, key=lambda one: one[1] * one[0].gap)
    return End(at, best.words, min(without, at))


def _most_within(times: Sequence[float], seconds: float) -> int:
    """Return how many of some times, in order, lie within so many seconds at most."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
