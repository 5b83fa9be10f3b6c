"""Sending hours: when a letter may leave, by the clock and the week of its reader.

`mon-fri 09:00-18:00` means office days and hours where the reader is: `mon-fri` and `weekdays` are the
working days there (Sunday to Thursday in Riyadh), `sat-sun` and `weekend` the days off; every other list of
days is meant literally. Where a clock is set forward or back, an hour that is twice there or never is left
out, so that nothing leaves outside. Pure; times are seconds since the epoch.
"""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass
from functools import lru_cache

from outreach import places
from outreach.places import Place

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EVERY = frozenset(range(7))
_DAY, _NOON = 24 * 60, 12 * 60  # minutes
_FARTHEST = 15  # days to look ahead: a window opens at least once a week
_TIME = r"(\d{1,2})(?:[:.](\d\d))?\s*([ap]m)?"
_HOURS = re.compile(rf"(?:(.*)\s)?\s*{_TIME}\s*[-–—]\s*{_TIME}", re.DOTALL)
_WRITE = "write like mon-fri 09:00-18:00, or always"


@dataclass(frozen=True, slots=True)
class Span:
    """Hours on some days: minutes after midnight, and on which days they begin."""

    days: frozenset[int] | str  # 0 is Monday; or "weekdays", "weekend" of wherever the reader is
    start: int
    end: int  # may be beyond midnight

    def begins_on(self, day: int, place: Place) -> bool:
        """Tell whether these hours begin on a day of the week at this place."""
        if isinstance(self.days, str):
            return (day in place.weekend) == (self.days == "weekend")
        return day in self.days


@dataclass(frozen=True, slots=True)
class Window:
    """Sending hours; without spans, always."""

    spans: tuple[Span, ...] = ()
    text: str = "always"

    def __bool__(self) -> bool:
        """Tell whether there are hours at which nothing may leave."""
        return bool(self.spans)

    def __str__(self) -> str:
        return self.text

    @property
    def local(self) -> bool:
        """Tell whether the days depend on the country."""
        return any(isinstance(span.days, str) for span in self.spans)

    @property
    def share(self) -> float:
        """Return how much of its longest day is open: 1 when always."""
        return _share(self) if self.spans else 1.0

    def opens(self, at: float, place: Place) -> float:
        """Return `at` when the window is open then at this place, else when it opens next."""
        return max(at, self.hours(at, place)[0])

    def hours(self, at: float, place: Place) -> tuple[float, float]:
        """Return the hours that are open then, else the next ones, as two moments."""
        if not self.spans:
            return -math.inf, math.inf
        today = datetime.datetime.fromtimestamp(at, places.zone(place.zone)).date()
        for ahead in range(-1, _FARTHEST):  # hours that began yesterday may go on
            for start, end in _day(self, place, today.toordinal() + ahead):
                if at < end:
                    return start, end
        return at + _FARTHEST * 86400.0, math.inf

    def days(self, place: Place) -> str:
        """Say on which days something leaves there: Mon-Fri, Sun-Thu."""
        open_days = [day for day in range(7) if any(span.begins_on(day, place) for span in self.spans)]
        return said(open_days)


ALWAYS = Window()


def said(days: list[int]) -> str:
    """Say some days of the week as people do; a run of them that goes over Sunday is one run."""
    names = [name.capitalize() for name in _DAYS]
    if len(days) > 2:
        for first in days:
            if all((first + n) % 7 in days for n in range(len(days))):
                return f"{names[first]}-{names[(first + len(days) - 1) % 7]}"
    return ", ".join(names[day] for day in days)


@lru_cache(maxsize=4096)
def _day(window: Window, place: Place, ordinal: int) -> tuple[tuple[float, float], ...]:
    """Return the hours that begin on a day at a place, in order, overlapping ones joined."""
    date = datetime.date.fromordinal(ordinal)
    zone = places.zone(place.zone)
    found = []
    for span in window.spans:
        if span.begins_on(date.weekday(), place):
            start = max(_instants(date, span.start, zone))
            end = min(_instants(date, span.end, zone))
            if start < end:
                found.append((start, end))
    joined: list[tuple[float, float]] = []
    for start, end in sorted(found):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def _instants(date: datetime.date, minutes: int, zone: datetime.tzinfo | None) -> tuple[float, float]:
    """Return both moments that a time of day may mean; they differ when the clock is set (PEP 495)."""
    day, minute = date + datetime.timedelta(days=minutes // _DAY), minutes % _DAY
    local = datetime.datetime.combine(day, datetime.time(minute // 60, minute % 60), zone)
    return local.replace(fold=0).timestamp(), local.replace(fold=1).timestamp()


@lru_cache(maxsize=16)
def _share(window: Window) -> float:
    monday = datetime.date(2026, 1, 5).toordinal()
    days = (_day(window, Place("UTC"), monday + day) for day in range(7))
    return max(sum(end - start for start, end in hours) for hours in days) / (60 * _DAY)


# Reading one ------------------------------------------------------------------------------------


def parse(text: str) -> Window:
    """Read `mon-fri 09:00-18:00`, `mon-thu 9-17, fri 9-13`, `weekend 10:00-16:00`, `always`.

    Days that stand alone belong to the hours behind them (mon, wed 9-12); hours without days to the days
    before them (mon-fri 9-12, 14-18), else to every day. Hours may go over midnight: 22:00-06:00.
    Raises ValueError.
    """
    plain = " ".join(text.split())
    if plain.lower() == "always":
        return ALWAYS
    spans: list[Span] = []
    waiting: list[str] = []  # days whose hours come later
    days: list[frozenset[int] | str] = [_EVERY]
    for part in filter(str.strip, re.split("[,;]", plain.lower())):
        found = _HOURS.fullmatch(part.strip())
        if not found:
            waiting.append(part)
            continue
        if found[1] or waiting:
            days = _joined([*waiting, *([found[1]] if found[1] else [])])
        waiting = []
        start, end = (
            _minutes(found[2], found[3], found[4], part),
            _minutes(found[5], found[6], found[7], part),
        )
        if start in (end, _DAY):
            raise ValueError(f"{part.strip()!r} has no hours between its ends; {_WRITE}")
        if end < start < _NOON and not any(found.group(3, 4, 6, 7)):  # 9-5 is seldom meant to last all night
            first, last = start // 60, end // 60
            raise ValueError(
                f"{part.strip()!r} would go over midnight; write {first}-{last + 12} for the afternoon, "
                f"or {first:02}:00-{last:02}:00 if that is meant"
            )
        spans += [Span(one, start, end if end > start else end + _DAY) for one in days]
    if waiting or not spans:
        waiting = waiting or [plain]
        _joined(waiting)  # a misspelt day is the better message
        raise ValueError(f"{waiting[0].strip()!r} has no hours; {_WRITE}")
    return Window(tuple(spans), plain)


def _joined(parts: list[str]) -> list[frozenset[int] | str]:
    """Return the days that some parts name: one set of literal ones, and those that depend on the country."""
    literal: set[int] = set()
    local: list[frozenset[int] | str] = []
    for part in parts:
        name = part.strip().removesuffix(":").strip()
        if name in ("mon-fri", "monday-friday", "weekdays", "weekday"):
            local.append("weekdays")
        elif name in ("sat-sun", "saturday-sunday", "weekend", "weekends"):
            local.append("weekend")
        elif name in ("daily", "every day"):
            literal |= _EVERY
        else:
            literal |= _range(name, part)
    return [*local, *([frozenset(literal)] if literal else [])]


def _range(name: str, part: str) -> set[int]:
    ends = [one.strip() for one in re.split(r"[-–—]", name)]
    numbers = [_number(one) for one in ends]
    if None in numbers or len(numbers) > 2:
        raise ValueError(f"{part.strip()!r} is no day; days are {', '.join(_DAYS)}; {_WRITE}")
    first, last = numbers[0] or 0, numbers[-1] or 0
    return {(first + n) % 7 for n in range((last - first) % 7 + 1)}


def _number(name: str) -> int | None:
    for names in (_DAYS, _FULL):
        if name in names:
            return names.index(name)
    return None


def _minutes(hours: str, minutes: str | None, half: str | None, part: str) -> int:
    hour = int(hours)
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif half:
        hour = 99
    total = hour * 60 + int(minutes or 0)
    if int(minutes or 0) > 59 or total > _DAY:
        raise ValueError(f"{part.strip()!r} names no time of day; {_WRITE}")
    return total


# A moment ---------------------------------------------------------------------------------------


def parse_moment(text: str, now: float) -> float:
    """Read when a mailing may begin, in this machine's time; return seconds since the epoch.

    `2026-12-01`, `2026-12-01 09:00` (also with a zone: `2026-12-01T09:00+01:00`), `09:00` (the next one),
    `mon 09:00`, `tomorrow 09:00`, `now`. Raises ValueError.
    """
    plain = " ".join(text.lower().split())
    if plain == "now":
        return 0.0
    local = datetime.datetime.fromtimestamp(now)
    try:
        return _moment(plain, text.strip(), local)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text.strip()!r} is no time; write like '2026-12-01 09:00', 'mon 09:00', 'tomorrow 9:00', "
            "09:00 or now"
        ) from None


def _moment(plain: str, text: str, local: datetime.datetime) -> float:
    day, _, hour = plain.rpartition(" ")
    if not re.fullmatch(r"\d{1,2}[:.]\d\d" if not day else r"\d{1,2}([:.]\d\d)?", hour):
        day, hour = plain, ""
    at = _time_of_day(hour)
    date = local.date()
    passed = datetime.datetime.combine(date, at) <= local
    number = _number(day)
    if not plain:
        raise ValueError
    if not day:
        date += datetime.timedelta(days=passed)
    elif day == "tomorrow":
        date += datetime.timedelta(days=1)
    elif number is not None:
        ahead = (number - date.weekday()) % 7
        date += datetime.timedelta(days=7 if ahead == 0 and passed else ahead)
    elif day != "today":
        found = datetime.datetime.fromisoformat(text.replace(" ", "T") if not hour else day.upper())
        return (datetime.datetime.combine(found.date(), at) if hour else found).timestamp()
    return datetime.datetime.combine(date, at).timestamp()


def _time_of_day(text: str) -> datetime.time:
    hours, _, minutes = text.replace(".", ":").partition(":")
    return datetime.time(int(hours or 0), int(minutes or 0))
