"""The queue of a run: everybody has a turn, in a good order, and nobody holds up the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach import windows
from outreach.agenda import Agenda, Entry
from outreach.institutions import DomainLimits
from outreach.model import Limit
from outreach.pace import Pace
from outreach.places import Place

MINUTE, HOUR, DAY = 60, 3600, 86400
NOW = 1_795_608_000.0  # 25 November 2026, 12:00 UTC, a Wednesday


def free(domain: str) -> float:
    return 0.0


def taken(agenda: Agenda, now: float = NOW) -> list[int]:
    """Return everything that may leave now, in its order."""
    found = []
    while (number := agenda.pop(now, free)) is not None:
        found.append(number)
    return found


def agenda_of(pace: Pace, *entries: Entry) -> Agenda:
    agenda = Agenda(pace)
    for one in entries:
        agenda.add(one)
    return agenda


def test_without_limits_the_order_is_that_of_the_list() -> None:
    agenda = agenda_of(Pace(), *(Entry(n, f"d{n % 3}.example") for n in (4, 1, 3, 0, 2)))
    assert taken(agenda) == [0, 1, 2, 3, 4]
    assert (len(agenda), agenda.next_at()) == (0, None)


def test_who_was_tried_before_goes_first_once_due() -> None:
    """A greylisting server forgets who does not come back, and giving up counts from the first attempt."""
    agenda = agenda_of(
        Pace(),
        Entry(0, "a.example"),
        Entry(1, "a.example", NOW - 5, tried=True),
        Entry(2, "b.example", NOW + 60, tried=True),
        Entry(3, "b.example", NOW - 9, tried=True),
    )
    assert taken(agenda) == [3, 1, 0]
    assert agenda.next_at() == NOW + 60
    assert taken(agenda, NOW + 60) == [2]


def test_a_turn_that_was_taken_back_comes_at_the_end_of_the_list() -> None:
    agenda = agenda_of(Pace(), *(Entry(n, f"d{n}.example") for n in range(3)))
    assert agenda.pop(NOW, free) == 0
    agenda.add(Entry(0, "d0.example", NOW))
    assert taken(agenda) == [1, 2, 0]


def test_a_domain_at_its_limit_holds_up_nobody_else() -> None:
    pace = Pace(domains=DomainLimits((Limit(1, HOUR),)))
    agenda = agenda_of(pace, *(Entry(n, "a.example") for n in range(3)), Entry(3, "b.example"))
    assert agenda.pop(NOW, lambda name: NOW + HOUR if name == "a.example" else 0.0) == 3
    assert agenda.pop(NOW, lambda name: NOW + HOUR) is None
    assert agenda.next_at() == NOW + HOUR


@pytest.mark.parametrize(
    ("rate", "left", "first"),
    [
        # 20 letters at 6/day take more than three days, 100 at 40/hour less than three hours.
        (Limit(40, HOUR), 100, [100, 101]),
        # The account itself takes longer than the domain: the list decides.
        (Limit(4, DAY), 100, [0, 1]),
        (Limit(8, DAY), 100, [0, 1]),
        (Limit(40, DAY), 100, [100, 101]),
    ],
)
def test_a_domain_whose_limit_decides_the_end_goes_first(rate: Limit, left: int, first: list[int]) -> None:
    pace = Pace((rate,), DomainLimits((), (Limit(6, DAY),)))
    people = [Entry(n, f"d{n}.example") for n in range(left)]
    deputies = [Entry(left + n, "parliament.example") for n in range(20)]
    agenda = agenda_of(pace, *people, *deputies)
    assert [agenda.pop(NOW, free) for _ in range(2)] == first


def test_of_two_slow_domains_the_slower_one_goes_first() -> None:
    pace = Pace((Limit(100, HOUR),), DomainLimits((), (Limit(6, DAY),)))
    agenda = agenda_of(
        pace, *(Entry(n, "a.example") for n in range(3)), *(Entry(3 + n, "b.example") for n in range(4))
    )
    assert [agenda.pop(NOW, free) for _ in range(3)] == [3, 0, 4]


def test_a_reader_whose_window_is_closed_holds_up_nobody_else() -> None:
    pace = Pace(window=windows.parse("mon-fri 09:00-18:00"))
    tokyo, lisbon = Place("Asia/Tokyo"), Place("Europe/Lisbon")
    agenda = agenda_of(
        pace,
        Entry(0, "a.example", place=tokyo),
        Entry(1, "a.example", place=lisbon),
        Entry(2, "b.example", place=tokyo),
    )
    assert not agenda.closed
    assert agenda.is_due(NOW, free)
    assert taken(agenda) == [1]
    assert agenda.closed
    assert agenda.next_at() == NOW + 12 * HOUR  # nine in the morning in Tokyo
    assert agenda.waits_at() == tokyo
    assert taken(agenda, NOW + 12 * HOUR) == [0, 2]


def test_a_window_that_closes_meanwhile_is_seen() -> None:
    pace = Pace(window=windows.parse("09:00-18:00"))
    lisbon = Place("Europe/Lisbon")
    agenda = agenda_of(pace, *(Entry(n, "a.example", place=lisbon) for n in range(2)))
    assert agenda.pop(NOW, free) == 0
    assert agenda.pop(NOW + 6 * HOUR, free) is None
    assert agenda.next_at() == NOW + 21 * HOUR


def test_looking_takes_nothing() -> None:
    agenda = agenda_of(Pace(), Entry(0, "a.example"), Entry(1, "a.example", NOW + 1))
    assert agenda.is_due(NOW, free)
    assert agenda.is_due(NOW, free)
    assert (len(agenda), 0 in agenda, 2 in agenda) == (2, True, False)
    assert [one.number for one in agenda] == [0, 1]


_ENTRIES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([0.0, 0.0, NOW - 60, NOW + 60, NOW + HOUR, NOW + 30 * HOUR]),
        st.sampled_from(["Asia/Tokyo", "Europe/Lisbon", "America/New_York"]),
        st.booleans(),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(
    _ENTRIES,
    st.sampled_from([(), (Limit(5, HOUR),), (Limit(60, MINUTE),)]),
    st.sampled_from([(), (Limit(1, HOUR),), (Limit(4, DAY),)]),
    st.sampled_from(["always", "mon-fri 9-18", "22-3"]),
)
def test_everybody_has_one_turn_never_before_its_time(
    people: Sequence[tuple[str, float, str, bool]],
    rate: tuple[Limit, ...],
    per_domain: tuple[Limit, ...],
    hours: str,
) -> None:
    pace = Pace(rate, DomainLimits(per_domain), windows.parse(hours))
    entries = [Entry(n, name, due, Place(zone), tried) for n, (name, due, zone, tried) in enumerate(people)]
    agenda = agenda_of(pace, *entries)
    domain_free = dict.fromkeys("abc", 0.0)
    now, seen = NOW, []
    while len(agenda):
        assert sorted([*seen, *(one.number for one in agenda)]) == list(range(len(entries)))
        number = agenda.pop(now, lambda name: domain_free[name])
        if number is None:
            later = agenda.next_at()
            assert later is not None
            assert later > now, "whoever waits is put off"
            now = later
            continue
        one = entries[number]
        assert one.due <= now
        assert domain_free[one.domain] <= now
        assert one.place is not None
        assert pace.window.opens(now, one.place) == now
        domain_free[one.domain] = now + pace.gap_of(one.domain)
        seen.append(number)
    assert sorted(seen) == list(range(len(entries)))
    assert now < NOW + 60 * DAY
