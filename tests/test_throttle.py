"""The throttle: no window is ever too full, whatever happens to the run, and no time is wasted."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated import Run, foresee

from outreach import throttle
from outreach.institutions import DomainLimits
from outreach.model import Limit
from outreach.pace import spacing
from outreach.throttle import Slot

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests

MINUTE, HOUR, DAY = 60, 3600, 86400
START = 1_337_000_000.0


def past(*slots: Slot | float) -> throttle.History:
    """A history of transactions, oldest first."""
    all_slots = [one if isinstance(one, Slot) else Slot(one, one, n) for n, one in enumerate(slots)]
    return lambda n: all_slots[-max(n, 1)] if n <= len(all_slots) and all_slots else None


def no_history(n: int) -> Slot | None:
    raise AssertionError("the history was asked")


def no_domain(domain: str) -> throttle.History:
    raise AssertionError("the history of a domain was asked")


# Tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ([], 0),
        ([Limit(1, 1)], 1),
        ([Limit(100, HOUR)], 36),
        ([Limit(100, HOUR), Limit(400, DAY)], 216),  # the tightest one spaces
        ([Limit(400, DAY), Limit(100, HOUR)], 216),
        ([Limit(60, MINUTE), Limit(60, HOUR)], 60),
        ([Limit(1, DAY)], DAY),
    ],
)
def test_mails_are_spaced_by_the_tightest_limit(limits: Sequence[Limit], seconds: float) -> None:
    assert spacing(limits) == seconds


@pytest.mark.parametrize(
    ("limits", "history", "first", "last"),
    [
        ([Limit(60, HOUR)], past(), 0, 0),  # nothing sent yet: now
        ([Limit(60, HOUR)], past(START), START + 48, START + 72),  # a minute ± 20 %
        ([Limit(100, HOUR), Limit(400, DAY)], past(START), START + 172.8, START + 259.2),
        ([Limit(1, HOUR)], past(START), START + HOUR, START + 1.2 * HOUR),  # never less than the hour
        ([Limit(2, MINUTE)], past(START, START + 1), START + 60, START + 60),  # full: the first must be old
        ([Limit(2, MINUTE)], past(START, START + 50), START + 74, START + 86),
        ([Limit(3, MINUTE)], past(START, START + 1, START + 2), START + 60, START + 60),
        ([Limit(2, MINUTE)], past(START - 99, START, START + 1), START + 60, START + 60),
        ([Limit(100, MINUTE), Limit(2, HOUR)], past(START, START + 1), START + HOUR, START + HOUR),
        ([Limit(2, MINUTE), Limit(3, DAY)], past(START, START + 40, START + 80), START + DAY, START + DAY),
        # The schedule counts from the ideal time, so a late mail does not delay the next.
        ([Limit(60, HOUR)], past(Slot(START + 50, START, 7)), START + 48, START + 72),
    ],
)
def test_when_the_next_mail_may_leave(
    limits: Sequence[Limit], history: throttle.History, first: float, last: float
) -> None:
    assert first <= throttle.earliest(limits, history) <= last


@pytest.mark.parametrize(
    ("limits", "history", "now", "first", "last"),
    [
        ([], past(), START, START, START),
        ([Limit(60, HOUR)], past(), START, START, START),
        (
            [Limit(60, HOUR)],
            past(START),
            START + 61,
            START + 48,
            START + 61,
        ),  # the schedule, if later than it
        ([Limit(60, HOUR)], past(START), START + 60, START + 48, START + 60),
        ([Limit(60, HOUR)], past(START), START + 107, START + 48, START + 72),  # late, but no pause
        ([Limit(60, HOUR)], past(START), START + 1_000, START + 1_000, START + 1_000),  # a pause is no credit
        ([Limit(60, HOUR)], past(START), START + 10**6, START + 10**6, START + 10**6),
        ([Limit(20, 2)], past(START), START + 0.5, START + 0.4, START + 0.4),  # a hiccup: one gap of credit
        ([Limit(20, 2)], past(START), START + 5, START + 5, START + 5),
        ([Limit(60, HOUR)], past(START), START + 10, START + 10, START + 10),  # never in the future
    ],
)
def test_the_ideal_time_of_a_mail_is_its_schedule_until_a_pause(
    limits: Sequence[Limit], history: throttle.History, now: float, first: float, last: float
) -> None:
    assert first <= throttle.ideal(limits, history, now) <= last


def test_asking_twice_gives_the_same_answer() -> None:
    limits = [Limit(60, HOUR)]
    answers = {throttle.earliest(limits, past(Slot(START, START, seed))) for seed in range(50) for _ in "ab"}
    assert len(answers) == 50


def test_the_jitter_is_a_fifth_at_most_and_fair() -> None:
    gaps = [
        throttle.earliest([Limit(60, HOUR)], past(Slot(START, START, seed))) - START for seed in range(1000)
    ]
    assert 48 <= min(gaps) < 50
    assert 70 < max(gaps) <= 72
    assert 59 < sum(gaps) / len(gaps) < 61


def test_unlimited_costs_no_look_at_the_history() -> None:
    assert throttle.earliest([], no_history) == 0
    assert throttle.ideal([], no_history, START) == START
    foreseen = foresee(["a.example"] * 100, [], DomainLimits(), START, no_history, no_domain)
    assert (foreseen.first, foreseen.last, foreseen.ends) == (START, START, {"a.example": START})


# A run with a simulated clock --------------------------------------------------------------------


_LIMIT = st.builds(Limit, st.integers(1, 40), st.sampled_from([1, 7, MINUTE, HOUR, DAY]))
_LIMITS = st.lists(_LIMIT, min_size=1, max_size=3)
_PAUSES = st.lists(st.tuples(st.integers(1, 30), st.floats(0, 2 * DAY)), max_size=6)


@PROPERTY
@given(_LIMITS, _PAUSES, st.integers(0, 2**16))
def test_no_sliding_window_is_ever_too_full_whatever_the_restarts_and_delays(
    limits: Sequence[Limit], pauses: Sequence[tuple[int, float]], seed: int
) -> None:
    random = Random(seed)
    run = Run(limits)
    now = START
    for mails, pause in pauses:
        for _ in range(mails):
            now = run.send(now, lambda: random.choice([0.0, 0.0, random.random(), random.random() * HOUR]))
        now += pause  # the process is gone; only the ledger stays
    for _ in range(60):
        now = run.send(now)
    run.check()


@PROPERTY
@given(_LIMITS)
def test_the_mean_pace_is_at_least_95_percent_of_the_tightest_limit(limits: Sequence[Limit]) -> None:
    run = Run(limits)
    now = START
    for _ in range(400):
        now = run.send(now)
    run.check()
    ideal = 399 * spacing(limits)
    assert run.slots[-1].at - run.slots[0].at <= ideal / 0.95


@PROPERTY
@given(st.integers(5, 40), st.integers(0, 2**16))
def test_small_delays_do_not_add_up(count: int, seed: int) -> None:
    """Each mail leaves up to half a gap late, as a loop that has other things to do."""
    random = Random(seed)
    run = Run([Limit(count, HOUR)])
    gap = HOUR / count
    now = START
    for _ in range(400):
        now = run.send(now, lambda: random.random() * gap / 2)
    run.check()
    assert now - START <= 400 * gap / 0.90


def test_no_credit_accumulates_during_a_pause() -> None:
    run = Run([Limit(60, HOUR)])
    run.send(START)
    now = START + 10 * DAY
    times = [now := run.send(now) for _ in range(10)]
    assert times[-1] - times[0] >= 9 * 60 * 0.8
