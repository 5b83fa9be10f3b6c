"""A run whose clock jumps from mail to mail: the real throttle and agenda, no server, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from outreach import forecast, throttle
from outreach.agenda import Agenda, Entry
from outreach.forecast import Foreseen, Past
from outreach.institutions import DomainLimits
from outreach.model import Limit
from outreach.pace import Pace
from outreach.throttle import History, Slot


def foresee(
    domains: Sequence[str],
    rate: Sequence[Limit],
    limits: DomainLimits,
    start: float,
    history: History = throttle.nothing,
    domain_history: Callable[[str], History] = lambda domain: throttle.nothing,
) -> Foreseen:
    """Foresee a mailing of one letter to each of these domains, without sending hours."""
    entries = [Entry(number, name) for number, name in enumerate(domains)]
    return forecast.simulate(entries, Pace(tuple(rate), limits), start, Past(history, domain_history))


@dataclass
class Run:
    """An account whose ledger survives restarts; every mail leaves as soon as it may, or a little later."""

    limits: Sequence[Limit]
    slots: list[Slot] = field(default_factory=list)

    def history(self, n: int) -> Slot | None:
        return self.slots[-max(n, 1)] if n <= len(self.slots) and self.slots else None

    def send(self, now: float, late: Callable[[], float] = lambda: 0.0) -> float:
        now = max(now, throttle.earliest(self.limits, self.history)) + late()
        self.slots.append(Slot(now, throttle.ideal(self.limits, self.history, now), len(self.slots) + 1))
        return now

    def check(self) -> None:
        """No `count + 1` transactions lie within any `seconds`."""
        times = [slot.at for slot in self.slots]
        assert times == sorted(times)
        for limit in self.limits:
            for first, too_many in zip(times, times[limit.count :], strict=False):
                assert too_many - first >= limit.seconds - 1e-3


def sent_by_a_run(
    domains: Sequence[str],
    rate: Sequence[Limit],
    limits: DomainLimits,
    start: float,
    before: Sequence[Slot] = (),
    before_each: Sequence[Slot] = (),
) -> list[tuple[float, str]]:
    """Send as the loop does, with a clock that jumps to the next moment at which anything may leave."""
    account = Run(rate, list(before))
    each = {name: Run(limits.of(name), list(before_each)) for name in domains}
    agenda = Agenda(Pace(tuple(rate), limits))
    for number, name in enumerate(domains):
        agenda.add(Entry(number, name))
    now, sent = start, []
    while len(agenda):
        now = max(now, throttle.earliest(rate, account.history))
        number = agenda.pop(now, lambda name: throttle.earliest(each[name].limits, each[name].history))
        if number is None:
            now = max(now, agenda.next_at() or now)
            continue
        run = each[domains[number]]
        seed = len(sent) + 1
        account.slots.append(Slot(now, throttle.ideal(rate, account.history, now), seed))
        run.slots.append(Slot(now, throttle.ideal(run.limits, run.history, now), seed))
        sent.append((now, domains[number]))
    return sent
