"""Times as scripts read them (ISO 8601, UTC) and as people say them (local).

Inside the program a time is seconds since the epoch.
"""

from __future__ import annotations

import datetime


def iso(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the second; None stays None."""
    if seconds is None:
        return None
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(microsecond=0)
    return at.isoformat().replace("+00:00", "Z")


def clock(seconds: float) -> str:
    """Say a time of today with seconds, of another day with the day."""
    local = datetime.datetime.fromtimestamp(seconds)
    return f"{local:%H:%M:%S}" if local.date() == datetime.date.today() else when(seconds)


def when(time: float | str) -> str:
    """Say a time (seconds, or what `iso` wrote) the way people do: 18:10, Tue 18:10, 3 Dec 2026 18:10."""
    seconds = datetime.datetime.fromisoformat(time).timestamp() if isinstance(time, str) else time
    local = datetime.datetime.fromtimestamp(seconds)
    days = (local.date() - datetime.date.today()).days
    if days == 0:
        return f"{local:%H:%M}"
    if abs(days) < 7:
        return f"{local:%a %H:%M}"
    return f"{local.day} {local:%b %Y %H:%M}"


def there(seconds: float, zone: datetime.tzinfo | None) -> str:
    """Say the time of day somewhere else."""
    return f"{datetime.datetime.fromtimestamp(seconds, zone):%a %H:%M}"


def day(seconds: float) -> str:
    """Return the day of a time, here: 2027-01-31."""
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d}"


def start_of(day: str) -> float:
    """Return when a day like 2027-01-31 begins here."""
    return datetime.datetime.combine(datetime.date.fromisoformat(day), datetime.time()).timestamp()


def through(end: float | None) -> str:
    """Say until when something holds: for good, or through a day."""
    return "for good" if end is None else f"through {day(end - 1)}"


def span(seconds: int) -> str:
    """Say a duration as settings write it: 14d, 36h, 90s."""
    units = ((86400, "d"), (3600, "h"), (60, "m"))
    return next((f"{seconds // unit}{name}" for unit, name in units if seconds % unit == 0), f"{seconds}s")


def gap(seconds: float) -> str:
    """Say how far apart two mails are: 0.2 seconds, 7.2 minutes, 1.5 hours."""
    unit, size = next(
        ((u, s) for u, s in (("hours", 3600), ("minutes", 60)) if seconds >= 1.5 * s), ("seconds", 1)
    )
    return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"


def lasts(seconds: float) -> str:
    """Say a duration in its two largest units."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "day"), (hours, "hour"), (minutes, "minute")]
    said = [f"{n} {unit}{'s' if n > 1 else ''}" for n, unit in parts if n]
    return " ".join(said[:2])
