"""What is foreseen of a mailing: when it begins and ends, and what holds it back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated import foresee, sent_by_a_run

from outreach.forecast import Foreseen
from outreach.institutions import DomainLimits
from outreach.model import Limit
from outreach.pace import spacing
from outreach.throttle import History, Slot

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests
MINUTE, HOUR, DAY = 60, 3600, 86400
START = 1_337_000_000.0
_LIMIT = st.builds(Limit, st.integers(1, 40), st.sampled_from([1, 7, MINUTE, HOUR, DAY]))


def past(*slots: Slot | float) -> History:
    """A history of transactions, oldest first."""
    all_slots = [one if isinstance(one, Slot) else Slot(one, one, n) for n, one in enumerate(slots)]
    return lambda n: all_slots[-max(n, 1)] if n <= len(all_slots) and all_slots else None


# What `plan` foresees ----------------------------------------------------------------------------


@PROPERTY
@given(
    st.lists(st.sampled_from("abcde"), max_size=40),
    st.lists(_LIMIT, max_size=2),
    st.lists(_LIMIT, max_size=2),
    st.lists(st.floats(0, DAY), max_size=50),
    st.sampled_from([START, START + DAY]),
)
def test_the_simulation_foresees_what_a_run_does(
    domains: Sequence[str],
    rate: Sequence[Limit],
    per_domain: Sequence[Limit],
    ago: Sequence[float],
    start: float,
) -> None:
    before = [Slot(at, at, n) for n, at in enumerate(sorted(START - gap for gap in ago))]
    limits = DomainLimits(tuple(per_domain))
    made = foresee(domains, rate, limits, start, past(*before), lambda domain: past(*before))
    sent = sent_by_a_run(domains, rate, limits, start, before, before)
    assert made.first == pytest.approx(min((at for at, _ in sent), default=start), abs=1e-3)
    assert made.last == pytest.approx(max((at for at, _ in sent), default=start), abs=1e-3)
    assert made.ends == pytest.approx({name: at for at, name in sent}, abs=1e-3)


@pytest.mark.parametrize(
    ("domains", "rate", "per_domain", "first", "earliest_end", "latest_end"),
    [
        ([], [Limit(1, DAY)], [], 0, 0, 0),
        (["a"], [Limit(1, DAY)], [Limit(1, DAY)], 0, 0, 0),
        (["a"] * 1000, [], [], 0, 0, 0),
        (["a"] * 2, [Limit(1, DAY)], [], 0, DAY, 1.2 * DAY),
        (["a"] * 401, [Limit(400, DAY)], [], 0, 0.95 * DAY, 1.05 * DAY),
        (["a"] * 61, [], [Limit(60, HOUR)], 0, HOUR, 1.1 * HOUR),
        (["a", "b", "c"] * 10, [], [Limit(1, MINUTE)], 0, 9 * MINUTE, 9 * 1.2 * MINUTE),
        (["a"] * 11 + ["b"], [Limit(60, MINUTE)], [Limit(1, MINUTE)], 0, 10 * MINUTE, 12 * MINUTE),
    ],
)
def test_the_expected_end_of_a_mailing(
    domains: Sequence[str],
    rate: Sequence[Limit],
    per_domain: Sequence[Limit],
    first: float,
    earliest_end: float,
    latest_end: float,
) -> None:
    foreseen = foresee(domains, rate, DomainLimits(tuple(per_domain)), START)
    assert foreseen.first - START == first
    assert earliest_end <= foreseen.last - START <= latest_end


def test_what_the_account_has_sent_today_delays_the_first_mail() -> None:
    sent = past(*(START - 60 + n for n in range(10)))
    foreseen = foresee(["a"] * 3, [Limit(10, HOUR)], DomainLimits(), START, sent)
    assert foreseen.first == START - 60 + HOUR
    assert foreseen.last > foreseen.first


def test_what_a_domain_got_today_delays_its_first_mail_and_no_other() -> None:
    def history(domain: str) -> History:
        return past(*(START - 60 + n for n in range(10))) if domain == "a" else past()

    limits = DomainLimits((Limit(10, HOUR),))
    foreseen = foresee(["a", "b"], [], limits, START, past(), history)
    assert foreseen.ends == {"a": START - 60 + HOUR, "b": START}
    assert foreseen.held == {"a": {Limit(10, HOUR)}}


@PROPERTY
@given(
    st.lists(st.sampled_from("abc"), max_size=40),
    st.lists(_LIMIT, max_size=3, unique=True),
    st.lists(_LIMIT, max_size=3, unique=True),
    st.lists(st.floats(0, DAY), max_size=20),
)
def test_without_a_limit_that_nobody_waited_for_all_is_the_same(
    domains: Sequence[str], rate: Sequence[Limit], per_domain: Sequence[Limit], ago: Sequence[float]
) -> None:
    before = past(*sorted(START - gap for gap in ago))

    def run(rate: Sequence[Limit], per_domain: Sequence[Limit]) -> Foreseen:
        limits = DomainLimits(tuple(per_domain))
        return foresee(domains, rate, limits, START, before, lambda domain: before)

    made = run(rate, per_domain)
    for limit in set(rate) - made.account:
        assert run([one for one in rate if one != limit], per_domain).ends == made.ends
    for limit in set(per_domain).difference(*made.held.values()):
        others = [one for one in per_domain if one != limit]
        if spacing(others) == spacing(per_domain):  # else who goes first may be somebody else
            assert run(rate, others).ends == made.ends


def test_a_limit_of_the_account_and_of_a_domain_are_told_apart() -> None:
    waits = ["a"] * 3 + ["b"]
    by_account = foresee(waits, [Limit(1, HOUR)], DomainLimits((Limit(9, HOUR),)), START)
    assert (by_account.account, by_account.held) == ({Limit(1, HOUR)}, {})
    by_domain = foresee(waits, [Limit(9, HOUR)], DomainLimits((Limit(1, HOUR),)), START)
    assert by_domain.held == {"a": {Limit(1, HOUR)}}


def test_a_simulation_may_start_at_any_time() -> None:
    assert foresee(["a", "b"], [Limit(1, MINUTE)], DomainLimits(), 0.0).first == 0.0


def test_a_big_mailing_is_simulated_quickly_enough_to_ask_first() -> None:
    """Work grows with the mails, not with their square: 20,000 letters ask the history this often."""
    asked = 0

    def history(n: int) -> None:
        nonlocal asked
        asked += 1

    domains = [f"d{n % 500}.example" for n in range(20_000)]
    limits = DomainLimits((Limit(60, HOUR),))
    foreseen = foresee(domains, [Limit(1000, HOUR)], limits, START, history, lambda d: history)
    assert asked <= 1000
    assert foreseen.last - foreseen.first == pytest.approx(20 * HOUR, rel=0.05)
