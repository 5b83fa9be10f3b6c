"""Where a reader is: the time zone and the days off, for sending hours.

The zone is that of a `timezone` column, else of the country's capital, else this machine's. The days off are
the weekend of the country (CLDR, through babel). Pure, but for the zone files of the system or of tzdata.
Known limits: no public holidays; a country with several zones is where its capital is, unless the list says
more.
"""

from __future__ import annotations

import datetime
import difflib
import re
import zoneinfo
from dataclasses import dataclass
from functools import cache

from outreach import languages
from outreach.model import Contact

# The capital's zone of every country that CLDR gives several zones, or none. tz database 2026a (zone1970.tab
# and its comments), compared with CLDR 47's lists of zones, 2026-11. A test asks for each.
_CAPITALS = {
    "AR": "America/Argentina/Buenos_Aires", "AU": "Australia/Sydney", "BR": "America/Sao_Paulo",
    "CA": "America/Toronto", "CD": "Africa/Kinshasa", "CL": "America/Santiago", "CN": "Asia/Shanghai",
    "CY": "Asia/Nicosia", "DE": "Europe/Berlin", "EC": "America/Guayaquil", "ES": "Europe/Madrid",
    "FM": "Pacific/Pohnpei", "GL": "America/Nuuk", "ID": "Asia/Jakarta", "KI": "Pacific/Tarawa",
    "KZ": "Asia/Almaty", "MH": "Pacific/Majuro", "MN": "Asia/Ulaanbaatar", "MX": "America/Mexico_City",
    "MY": "Asia/Kuala_Lumpur", "NZ": "Pacific/Auckland", "PF": "Pacific/Tahiti", "PG": "Pacific/Port_Moresby",
    "PS": "Asia/Hebron", "PT": "Europe/Lisbon", "RU": "Europe/Moscow", "UA": "Europe/Kyiv",
    "US": "America/New_York", "UZ": "Asia/Tashkent", "XK": "Europe/Belgrade",
}  # fmt: skip
_OFFSET = re.compile(r"(?:utc|gmt)?\s*([+\-\u2212])\s*(\d{1,2})(?::?([0-5]\d))?", re.IGNORECASE)
_FARTHEST = datetime.timedelta(hours=14)
_UTC = ("utc", "gmt", "z")


@dataclass(frozen=True, slots=True)
class Place:
    """A time zone by its name (empty: this machine's) and the days off there, 0 being Monday."""

    zone: str = ""
    weekend: frozenset[int] = frozenset({5, 6})

    def __str__(self) -> str:
        return self.zone or "your time"


def of(contact: Contact) -> Place:
    """Return where a contact is."""
    return _of(contact.fields.get("timezone", ""), contact.country)


@cache
def _of(said: str, country: str) -> Place:
    zone = zone_name(said) if said else None
    if zone is None:
        zone = _zone_of(country)
    return Place(zone, languages.weekend(country))


def _zone_of(country: str) -> str:
    """Return the zone of a country's capital; empty when nobody knows it."""
    return _CAPITALS.get(country) or languages.only_zone(country)


@cache
def zone_name(text: str) -> str | None:
    """Return the name of a zone that somebody wrote: Asia/Tehran, +03:30, UTC+3, Iran Standard Time.

    None when there is no such zone.
    """
    text = text.strip()
    if text.casefold() in _UTC:
        return "UTC"
    if found := _OFFSET.fullmatch(text):
        away = datetime.timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        sign = "+" if found[1] == "+" else "-"
        return f"UTC{sign}{int(found[2]):02}:{found[3] or '00'}" if away <= _FARTHEST else None
    name = _names().get(text.casefold().replace(" ", "_")) or languages.windows_zone(text)
    return name if name and _load(name) else None


def near(text: str) -> str:
    """Return the zone whose name is most like what somebody wrote; empty when none is."""
    found = difflib.get_close_matches(text.strip().casefold().replace(" ", "_"), _names(), 1, 0.8)
    return _names()[found[0]] if found else ""


@cache
def _names() -> dict[str, str]:
    return {name.casefold(): name for name in zoneinfo.available_timezones()}


def _load(name: str) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


@cache
def zone(name: str) -> datetime.tzinfo | None:
    """Return the zone of this name; None is this machine's, as `datetime` has it."""
    if not name:
        return None
    if found := _OFFSET.fullmatch(name):
        away = datetime.timedelta(hours=int(found[2]), minutes=int(found[3]))
        return datetime.timezone(away if found[1] == "+" else -away, name)
    return _load(name)
