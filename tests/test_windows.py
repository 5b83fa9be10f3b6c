"""Sending hours: when a letter may leave, by the clock and the week of its reader."""

from __future__ import annotations

import datetime
import time
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach import contacts, languages, places, windows
from outreach.model import Contact
from outreach.places import Place
from outreach.windows import Window

OFFICE = windows.parse("mon-fri 09:00-18:00")
UTC = datetime.UTC


def moment(text: str, zone: str = "UTC") -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


def place(country: str = "", **fields: str) -> Place:
    return places.of(Contact("a@b.example", country=country, fields=fields))


@pytest.fixture
def lisbon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A sender in Lisbon."""
    monkeypatch.setenv("TZ", "Europe/Lisbon")
    time.tzset()
    windows._day.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    windows._day.cache_clear()


# When it opens -------------------------------------------------------------------------------------
# 23 November 2026 is a Monday; times are UTC. Tehran is 3:30 ahead, Riyadh 3, Tokyo 9, Lisbon 0.


@pytest.mark.parametrize(
    ("country", "now", "opens"),
    [
        ("IR", "2026-11-23 05:29", "2026-11-23 05:30"),
        ("IR", "2026-11-23 05:30", "2026-11-23 05:30"),
        ("IR", "2026-11-23 14:29", "2026-11-23 14:29"),
        ("IR", "2026-11-23 14:30", "2026-11-24 05:30"),
        ("IR", "2026-11-26 14:30", "2026-11-28 05:30"),  # Thursday evening: Friday is the day off (CLDR)
        ("IR", "2026-11-29 12:00", "2026-11-29 12:00"),  # Sunday is a working day
        ("SA", "2026-11-26 15:00", "2026-11-29 06:00"),  # Thursday evening → Sunday
        ("SA", "2026-11-27 08:00", "2026-11-29 06:00"),  # Friday
        ("SA", "2026-11-29 08:00", "2026-11-29 08:00"),  # Sunday
        ("JP", "2026-11-23 00:00", "2026-11-23 00:00"),  # nine in the morning there
        ("JP", "2026-11-22 23:59", "2026-11-23 00:00"),
        ("JP", "2026-11-23 09:00", "2026-11-24 00:00"),
        ("JP", "2026-11-27 09:00", "2026-11-30 00:00"),  # Friday evening → Monday
        ("PT", "2026-11-23 08:59", "2026-11-23 09:00"),
        ("PT", "2026-11-27 18:00", "2026-11-30 09:00"),
        ("PT", "2026-11-28 12:00", "2026-11-30 09:00"),
        ("AF", "2026-11-26 05:00", "2026-11-28 04:30"),  # Thursday and Friday are the weekend
        ("IN", "2026-11-28 05:00", "2026-11-28 05:00"),  # Sunday only
        ("NP", "2026-11-23 03:00", "2026-11-23 03:15"),  # 5:45 ahead
        ("US", "2026-11-23 13:00", "2026-11-23 14:00"),  # Washington
        ("RU", "2026-11-23 05:00", "2026-11-23 06:00"),  # Moscow
    ],
)
def test_office_hours_are_those_of_the_reader(country: str, now: str, opens: str) -> None:
    assert OFFICE.opens(moment(now), place(country)) == moment(opens)


def test_a_contact_without_a_country_has_the_hours_of_the_sender(lisbon: None) -> None:
    summer, winter = "2026-07-20 08:30", "2026-11-23 08:30"
    assert OFFICE.opens(moment(summer), place()) == moment(summer)  # half past nine in Lisbon
    assert OFFICE.opens(moment(winter), place()) == moment("2026-11-23 09:00")
    assert str(place()) == "your time"


@pytest.mark.parametrize(
    ("zone", "window", "now", "opens"),
    [
        # Lisbon, 28 March 2027: one o'clock becomes two. Nine o'clock comes an hour sooner.
        ("Europe/Lisbon", "9-18", "2027-03-27 18:00", "2027-03-28 08:00"),
        ("Europe/Lisbon", "9-18", "2027-10-30 17:00", "2027-10-31 09:00"),  # and back again
        # An hour that is not there, and one that is there twice: nothing leaves in doubt.
        ("Europe/Lisbon", "01:00-01:30", "2027-03-28 00:00", "2027-03-29 00:00"),
        ("Europe/Lisbon", "00:30-01:30", "2027-03-28 00:00", "2027-03-28 23:30"),
        ("Europe/Lisbon", "01:30-03:00", "2027-10-31 00:00", "2027-10-31 01:30"),  # the second half past one
        (
            "Europe/Lisbon",
            "00:30-01:30",
            "2027-10-31 00:29",
            "2027-10-31 00:29",
        ),  # to the first one
        ("Europe/Lisbon", "00:30-01:30", "2027-10-31 00:30", "2027-11-01 00:30"),
        ("America/New_York", "9-18", "2027-03-13 23:00", "2027-03-14 13:00"),
        ("Australia/Lord_Howe", "9-18", "2027-04-03 08:00", "2027-04-03 22:30"),  # half an hour
        ("UTC+03:30", "9-18", "2026-11-23 00:00", "2026-11-23 05:30"),
    ],
)
def test_a_change_to_summer_time_moves_the_hours(zone: str, window: str, now: str, opens: str) -> None:
    assert windows.parse(window).opens(moment(now), Place(zone)) == moment(opens)


@pytest.mark.parametrize(
    ("window", "now", "opens"),
    [
        ("always", "2026-11-22 03:00", "2026-11-22 03:00"),
        ("09:00-18:00", "2026-11-22 03:00", "2026-11-22 09:00"),  # Sundays too
        ("mon-thu 9-17, fri 9-13", "2026-11-27 12:59", "2026-11-27 12:59"),
        ("mon-thu 9-17, fri 9-13", "2026-11-27 13:00", "2026-11-30 09:00"),
        ("mon-fri 9-12, 14-18", "2026-11-23 12:00", "2026-11-23 14:00"),
        ("mon, wed 9-12", "2026-11-23 12:00", "2026-11-25 09:00"),
        ("22:00-06:00", "2026-11-23 05:59", "2026-11-23 05:59"),
        ("22:00-06:00", "2026-11-23 06:00", "2026-11-23 22:00"),
        ("fri 22:00-06:00", "2026-11-28 05:00", "2026-11-28 05:00"),  # what began on Friday goes on
        ("fri 22:00-06:00", "2026-11-28 06:00", "2026-12-04 22:00"),
        ("sat-mon 9-10", "2026-11-23 11:00", "2026-11-28 09:00"),
        ("weekend 10-16", "2026-11-23 11:00", "2026-11-28 10:00"),
        ("sun 0-24", "2026-11-23 00:00", "2026-11-29 00:00"),
        ("9-12, 11-15", "2026-11-23 11:30", "2026-11-23 11:30"),  # overlapping hours are one
        ("wed 8-9", "2026-11-25 09:00", "2026-12-02 08:00"),
    ],
)
def test_hours_and_days(window: str, now: str, opens: str) -> None:
    assert windows.parse(window).opens(moment(now), Place("UTC")) == moment(opens)


_ZONES = st.sampled_from(
    ["", "Asia/Tehran", "Asia/Riyadh", "Asia/Tokyo", "Europe/Lisbon", "America/St_Johns", "Pacific/Apia",
     "Australia/Lord_Howe", "Africa/Casablanca", "America/Santiago", "Antarctica/Troll", "UTC-09:30"]
)  # fmt: skip
_CLOCK = st.integers(0, 23 * 4 + 3).map(lambda quarters: f"{quarters // 4:02}:{quarters % 4 * 15:02}")
_WEEK = st.sampled_from(["", "mon-fri ", "weekend ", "tue ", "sat-mon ", "daily "])


@settings(deadline=None)
@given(_WEEK, _CLOCK, _CLOCK, _ZONES, st.floats(moment("2026-01-01"), moment("2028-01-01")))
def test_what_is_open_is_inside_the_hours_by_the_clock_there(
    days: str, start: str, end: str, zone: str, now: float
) -> None:
    if start == end:
        return
    window, here = windows.parse(f"{days}{start}-{end}"), Place(zone, frozenset({4, 5}))
    opens = window.opens(now, here)
    assert now <= opens <= now + 8.1 * 86400
    assert window.opens(opens, here) == opens, "once it is open, it is open"
    local = datetime.datetime.fromtimestamp(opens, places.zone(zone))
    at, begun = f"{local:%H:%M}", local.weekday()
    assert start <= at < end if start < end else at >= start or at < end
    if start > end and at < end:
        begun = (begun - 1) % 7
    assert any(span.begins_on(begun, here) for span in window.spans)


# What is said --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "'' is no day"),
        ("mon-fri", "'mon-fri' has no hours"),
        ("mon-fri 9-9", "has no hours between its ends"),
        ("24:00-03:00", "has no hours between its ends"),
        ("montag 9-18", "'montag' is no day"),
        ("mon-tues 9-18", "'mon-tues' is no day"),
        ("mon-fri 25:00-26:00", "names no time of day"),
        ("9:75-18", "names no time of day"),
        ("mon-fri 09:00", "is no day"),
        ("always, 9-18", "'always' is no day"),
        ("13pm-14pm", "names no time of day"),
        ("9-17 mon-fri", "is no day"),
        ("mon-fri 9-17, tue", "'tue' has no hours"),
    ],
)
def test_a_window_that_cannot_be_read_is_one_clear_message(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as caught:
        windows.parse(text)
    assert "write like mon-fri 09:00-18:00, or always" in str(caught.value)


def test_office_hours_by_the_twelve_hour_clock_are_not_taken_for_a_night() -> None:
    with pytest.raises(
        ValueError, match="'mon-fri 9-5' would go over midnight; write 9-17 for the afternoon"
    ):
        windows.parse("mon-fri 9-5")
    for text in ("22-6", "09:00-05:00", "9pm-5am"):
        assert windows.parse(text).spans[0].end > 1440
    for text in ("9am-5pm", "9 am - 5 pm", "9-17", "9-5pm", "12pm-5pm"):
        (span,) = windows.parse(text).spans
        assert (span.start, span.end) == (720 if text.startswith("12") else 540, 1020)
    assert windows.parse("mon 9-12; tue 9-12,").spans == windows.parse("mon 9-12, tue 9-12").spans


@pytest.mark.parametrize(
    ("text", "country", "days"),
    [
        ("mon-fri 9-18", "DE", "Mon-Fri"),
        ("weekdays 9-18", "SA", "Sun-Thu"),
        ("mon-fri 9-18", "IR", "Sat-Thu"),
        ("weekend 9-18", "IR", "Fri"),
        ("sat-sun 9-18", "IL", "Fri, Sat"),
        ("mon, wed, thu 9-18", "SA", "Mon, Wed, Thu"),
        ("9-18", "SA", "Mon-Sun"),
        ("monday-thursday 9-18", "SA", "Mon-Thu"),  # only Monday to Friday stands for the working week
    ],
)
def test_the_days_on_which_something_leaves_are_said(text: str, country: str, days: str) -> None:
    assert windows.parse(text).days(place(country)) == days


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("always", 24),
        ("mon-fri 09:00-18:00", 9),
        ("mon-thu 9-17, fri 9-13", 8),
        ("9-12, 14-18", 7),
    ],
)
def test_how_much_of_a_day_is_open(text: str, hours: int) -> None:
    assert windows.parse(text).share == pytest.approx(hours / 24)


def test_always_is_no_window() -> None:
    assert not windows.parse(" ALWAYS ")
    assert windows.parse("always") == Window()


# Where somebody is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("country", languages.country_codes())
def test_every_country_has_a_zone_that_exists(country: str) -> None:
    zone = place(country).zone
    if country not in ("AC", "AQ", "BV", "CP", "CQ", "DG", "EA", "HM", "IC", "TA", "UM", "TF", "BQ"):
        assert zone, f"{country}: add its capital's zone to places.py"
    if zone:
        assert zoneinfo.ZoneInfo(zone)


def test_the_zones_of_capitals_are_zones_of_their_countries() -> None:
    from babel.core import get_global

    zones = get_global("territory_zones")
    aliases = {"America/Argentina/Buenos_Aires": "America/Buenos_Aires", "Pacific/Pohnpei": "Pacific/Ponape",
               "America/Nuuk": "America/Godthab", "Europe/Kyiv": "Europe/Kiev"}  # fmt: skip
    for country, zone in places._CAPITALS.items():
        if country != "XK":  # has no zones in CLDR
            assert {zone, aliases.get(zone, zone)} & set(zones[country]), country
    several = {code for code, found in zones.items() if len(code) == 2 and code.isalpha() and len(found) > 1}
    assert several - set(places._CAPITALS) == {"AQ", "UM", "ZZ"}  # no capital


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        ("Asia/Vladivostok", "Asia/Vladivostok"),
        ("asia/vladivostok", "Asia/Vladivostok"),
        ("America/New York", "America/New_York"),
        ("Russia Time Zone 10", "Asia/Srednekolymsk"),
        ("+10:00", "UTC+10:00"),
        ("UTC+3", "UTC+03:00"),
        ("GMT -5", "UTC-05:00"),
        ("UTC", "UTC"),
        ("Mars/Olympus", "Europe/Moscow"),  # not known: the country counts
        ("../etc/passwd", "Europe/Moscow"),
        ("+25:00", "Europe/Moscow"),
        ("", "Europe/Moscow"),
    ],
)
def test_a_column_of_the_list_says_the_zone_better_than_the_country(said: str, zone: str) -> None:
    assert place("RU", timezone=said).zone == zone
    assert place("RU", timezone=said).weekend == {5, 6}


@pytest.mark.parametrize("header", ["timezone", "Time Zone", "TZ", "Zeitzone", "часовой пояс", "时区"])
def test_the_column_is_found_by_its_usual_names_and_a_wrong_zone_is_said(header: str, tmp_path: Path) -> None:
    rows = "a@d.example.org,Asia/Tokyo\nb@d.example.org,Mars/Olympus\nc@d.example.org,\n"
    (tmp_path / "list.csv").write_text(f"email,{header}\n{rows}", "utf-8")
    people = contacts.read([tmp_path / "list.csv"])
    assert [places.of(one).zone for one in people.contacts] == ["Asia/Tokyo", "", ""]
    (problem,) = people.problems
    assert (problem.line, problem.value, problem.severity) == (3, "Mars/Olympus", "warning")
    assert "is no time zone" in problem.problem


@pytest.mark.parametrize(
    ("text", "near"),
    [("Asia/Vladivostock", "Asia/Vladivostok"), ("europe/lisboa", "Europe/Lisbon"), ("Mars", "")],
)
def test_a_misspelt_zone_is_told_the_near_one(text: str, near: str) -> None:
    assert places.near(text) == near


# Moments -------------------------------------------------------------------------------------------

NOW = datetime.datetime(2026, 11, 26, 10, 0).timestamp()  # a Thursday, in this machine's time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01", "2026-12-01 00:00"),
        ("2026-12-01 09:00", "2026-12-01 09:00"),
        ("2026-12-01 9:00", "2026-12-01 09:00"),
        ("2026-12-01T09:00", "2026-12-01 09:00"),
        ("11:00", "2026-11-26 11:00"),
        ("09:00", "2026-11-27 09:00"),
        ("10:00", "2026-11-27 10:00"),
        ("mon 09:00", "2026-11-30 09:00"),
        ("Thursday 11:00", "2026-11-26 11:00"),
        ("thu 09:00", "2026-12-03 09:00"),
        ("tomorrow 7.30", "2026-11-27 07:30"),
        ("tomorrow", "2026-11-27 00:00"),
        ("today 12:00", "2026-11-26 12:00"),
        ("monday 9", "2026-11-30 09:00"),
    ],
)
def test_a_moment_is_read_as_people_write_it(text: str, expected: str) -> None:
    assert windows.parse_moment(text, NOW) == datetime.datetime.fromisoformat(expected).timestamp()


def test_a_moment_may_name_its_zone_and_now_lifts() -> None:
    assert windows.parse_moment("2026-12-01T09:00+03:00", NOW) == moment("2026-12-01 06:00")
    assert windows.parse_moment("2026-12-01T09:00Z", NOW) == moment("2026-12-01 09:00")
    assert windows.parse_moment("now", NOW) == 0.0


@pytest.mark.parametrize(
    "text", ["", "gestern", "25:00", "2026-13-01", "9", "mon tue", "99999-01-01", "-1", "🙂"]
)
def test_a_moment_that_cannot_be_read_is_one_clear_message(text: str) -> None:
    with pytest.raises(ValueError, match="is no time; write like '2026-12-01 09:00', 'mon 09:00'"):
        windows.parse_moment(text, NOW)
