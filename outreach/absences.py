"""When is somebody back? The date in an automatic answer, as people write dates in 24 languages.

A date counts when words of return or of an end stand beside it ("back on", "until", phrases/*.toml): the day of
return is believed before the last day of absence, and the last of several ends. A day without a year is the next one
after the mail; a day of the week, too. Numbers that may be read in two ways (04/05) are read so that the day lies
after the mail, and the nearer one wins. Returns the day that is written, not the day after it. Pure.
Known limits: holidays by name, "in two weeks", "next week", other calendars than the Gregorian (but for the years of
Japan and Taiwan).
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from outreach import languages, phrases

_TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s]")
_NUMERIC = re.compile(
    r"(?<![\d./-])(\d{1,4})\s?([./-])\s?(\d{1,2})(?:\s?\2\s?(\d{2,4}))?\.?(?![\d/]|\.\d|-\d)"
)
_CJK_DATE = re.compile(
    r"(?:(?:(令和|平成|民國|民国|中華民國)?\s?(\d{1,4}|元)\s?年\s?(?:度\s?)?)?(\d{1,2})\s?月\s?(\d{1,2})\s?[日号號]?)"
)
_ERAS = {"令和": 2018, "平成": 1988, "民國": 1911, "民国": 1911, "中華民國": 1911}
_WEEK = re.compile(
    r"\b(?:vecka|v|uge|uke|veke|viikko|viikolla|viikon|kw|kalenderwoche|woche|week|semaine)\.? ?(\d{1,2})\b"
)
# What may stand between a day's number and its month, and between the words of return and the date.
_BETWEEN = frozenset(
    [
        ".",
        ",",
        "-",
        "'",
        "st",
        "nd",
        "rd",
        "th",
        "er",
        "ero",
        "o",
        "a",
        "º",
        "ª",
        "e",
        "de",
        "del",
        "di",
        "den",
        "do",
        "of",
        "η",
        "ης",
        "ο",
        "го",
        "ое",
        "е",
        "й",
        "ого",
        "та",
        "ти",
        "ro",
        "to",
        "te",
        "ter",
        "en",
        "na",
        "le",
        "lea",
    ]
)
_FILLING = frozenset(
    [
        ".",
        ",",
        ":",
        "(",
        ")",
        "-",
        "'",
        "the",
        "on",
        "am",
        "an",
        "dem",
        "den",
        "der",
        "das",
        "le",
        "la",
        "les",
        "el",
        "il",
        "lo",
        "du",
        "de",
        "del",
        "den",
        "der",
        "da",
        "do",
        "dne",
        "dia",
        "dnia",
        "na",
        "v",
        "w",
        "w/",
        "od",
        "u",
        "a",
        "az",
        "at",
        "by",
        "of",
        "including",
        "inclusive",
        "einschliesslich",
        "incl",
        "inkl",
        "zum",
        "und",
        "and",
        "op",
        "de",
        "die",
        "het",
        "στις",
        "την",
        "τις",
        "της",
        "τη",
        "ב",
        "ה",
        "ל",
        "ה-",
        "ב-",
        "يوم",
        "تاريخ",
        "ال",
        "til",
        "med",
        "pe",
        "data",
        "di",
        "ziua",
        "date",
        "about",
        "approx",
        "ca",
        "c",
    ]
)
_Found = tuple[int, int, datetime.date]  # begins, ends, date
_NEAR = 34  # characters between words and date
_LONGEST = 400  # days that anybody stays away


def returns(text: str, language: str, sent: datetime.date | None, away: bool = True) -> datetime.date | None:
    """Return the day on which somebody is back by a text's own words, or None.

    `away`: the text tells of an absence; only then is an end ("until") an end of that.
    """
    folded = phrases.fold(text[:8000])
    day = sent or datetime.date.today()
    found = sorted(_dates(folded, language, day))
    named = sorted(_named_days(folded, language, day))
    found = sorted([*found, *(one for one in named if not _dated(folded, one, found))])
    back: list[datetime.date] = []
    until: list[datetime.date] = []
    for section, chosen in (("back", back), ("until", until)) if away else (("back", back),):
        for hit in phrases.find(section, folded):
            date = _beside(folded, hit, found)
            if date is not None:
                chosen.append(date)
        if chosen:
            break
    likely = [one for one in (back or until) if -1 <= (one - day).days <= _LONGEST]
    if back:
        return likely[0] if likely else None
    return max(likely) if likely else None


def _beside(folded: str, hit: phrases.Hit, found: list[_Found]) -> datetime.date | None:
    """Return the date that stands right behind words, or inside or before them where the language wants that."""
    if "…" in hit.phrase:
        inside = [date for start, end, date in found if hit.start <= start and end <= hit.end + 12]
        if inside:
            return inside[-1]
    if hit.phrase.startswith("…"):
        before = [(end, date) for start, end, date in found if end <= hit.start and hit.start - end <= 25]
        return before[-1][1] if before else None
    for start, _, date in found:
        if hit.end <= start <= hit.end + _NEAR and _only_filling(folded[hit.end : start]):
            return date
    return None


def _only_filling(text: str) -> bool:
    """Tell whether nothing but small words and a day of the week stands between."""
    tokens = _TOKEN.findall(text)
    strange = [one for one in tokens if one not in _FILLING and one not in _all_days()]
    return (
        len(strange) <= 1
        and not any(one.isdigit() for one in strange)
        and "." not in [t for t in tokens[1:] if t == "."]
    )


@cache
def _days(language: str) -> dict[str, int]:
    """Return the words that tell the days of a week apart: of `segunda-feira` only `segunda`."""
    names = {phrases.fold(name): number for name, number in languages.day_names(language).items()}
    words = Counter(word for name in names for word in set(_TOKEN.findall(name)))
    return {
        word: number
        for name, number in names.items()
        for word in _TOKEN.findall(name)
        if word.isalpha() and words[word] <= 3
    }


@cache
def _all_days() -> frozenset[str]:
    return frozenset(
        word
        for language in phrases.languages()
        for name in languages.day_names(language)
        for word in _TOKEN.findall(phrases.fold(name))
    )


@cache
def _months(language: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in (language, *phrases.languages()):
        for name, number in languages.month_names(one).items() if one else ():
            folded = phrases.fold(name).rstrip(".")
            if len(folded) > 2 and not any(char.isdigit() for char in folded):
                found.setdefault(folded, number)
    found.update({"sept": 9} if "sept" not in found else {})
    return found


def _month(words: str, language: str) -> int:
    """Return the month that a word, or two, name in any usual form, or 0."""
    known = _months(language)
    if words in known:
        return known[words]
    if words[:1] in "בלהو" and words[1:] in known:
        return known[words[1:]]
    if len(words) >= 4:  # endings of cases: Mayıs'a, květnem
        for name, number in languages.month_names(language).items() if language else ():
            stem = phrases.fold(name)
            if (
                len(stem) >= 4
                and words.startswith(stem[:-1] if len(stem) > 5 else stem)
                and len(words) <= len(stem) + 3
            ):
                return number
    return 0


def _dates(folded: str, language: str, sent: datetime.date) -> Iterator[_Found]:
    """Yield every date in a text, with where it begins and ends."""
    for match in _CJK_DATE.finditer(folded):
        year = 1 if match[2] == "元" else int(match[2] or 0)
        year = year + _ERAS[match[1]] if match[1] else year
        if date := _day(year, int(match[3]), int(match[4]), sent):
            yield match.start(), match.end(), date
    for match in _NUMERIC.finditer(folded):
        if date := _numeric(match, language, sent):
            yield match.start(), match.end(), date
    for match in _WEEK.finditer(folded):
        if 1 <= int(match[1]) <= 53:
            year = sent.year + (int(match[1]) < sent.isocalendar().week)
            try:
                yield match.start(), match.end(), datetime.date.fromisocalendar(year, int(match[1]), 1)
            except ValueError:
                continue
    tokens = [(match[0], match.start(), match.end()) for match in _TOKEN.finditer(folded)]
    for place, (word, _, _) in enumerate(tokens):
        if word.isdigit() and len(word) <= 2 and 1 <= int(word) <= 31:
            yield from _written(tokens, place, language, sent)


def _named_days(folded: str, language: str, sent: datetime.date) -> Iterator[_Found]:
    """Yield the days of the week in a text, each as the next one after the mail."""
    for match in _TOKEN.finditer(folded) if language else ():
        number = _weekday(match[0], language) if match[0].isalpha() else None
        if number is not None:
            day = sent + datetime.timedelta(days=(number - sent.weekday() - 1) % 7 + 1)
            yield match.start(), match.end(), day


def _dated(folded: str, named: _Found, found: list[_Found]) -> bool:
    """Tell whether a day of the week only belongs to a date beside it."""
    start, end, _ = named
    return any(
        (0 <= one[0] - end <= 24 and _only_filling(folded[end : one[0]])) or 0 <= start - one[1] <= 4
        for one in found
    )


def _weekday(word: str, language: str) -> int | None:
    known = _days(language)
    if word in known:
        return known[word]
    for name, number in known.items() if len(word) > 3 else ():  # endings of cases
        if (
            len(name) > 4
            and word.startswith(name[: -2 if len(name) > 5 else -1])
            and len(word) <= len(name) + 2
        ):
            return number
    return None


_Tokens = list[tuple[str, int, int]]


def _written(tokens: _Tokens, place: int, language: str, sent: datetime.date) -> Iterator[_Found]:
    """Yield the date with a month's name around a number: 5 May 2012, May 5th, 2012. május 5."""
    day = int(tokens[place][0])
    behind = place + 1
    while behind < min(place + 4, len(tokens)) and tokens[behind][0] in _BETWEEN:
        behind += 1
    for count in (2, 1):
        some = tokens[behind : behind + count]
        month = _month(" ".join(one[0] for one in some), language) if len(some) == count else 0
        if month:
            year, end = _year(tokens, behind + count, sent)
            if date := _day(year, month, day, sent):
                yield tokens[place][1], end or some[-1][2], date
            return
    before = place - 1
    while before > max(0, place - 3) and tokens[before][0] in (".", ",", "the", "-"):
        before -= 1
    for count in (2, 1):
        some = tokens[max(0, before - count + 1) : before + 1]
        month = _month(" ".join(one[0] for one in some), language) if len(some) == count else 0
        if month:
            after = place + 1
            while after < len(tokens) and tokens[after][0] in ("st", "nd", "rd", "th", ".", ","):
                after += 1
            year, end = _year(tokens, after, sent)
            begin = some[0][1]
            if not year:
                year, begin = _year_before(tokens, before - count, begin)
            if date := _day(year, month, day, sent):
                yield begin, max(end, tokens[place][2]), date
            return


def _year(tokens: _Tokens, place: int, sent: datetime.date) -> tuple[int, int]:
    """Return a year that stands at a place, or behind a comma or a small word, and where it ends; or zeros."""
    for one in tokens[place : place + 3]:
        if one[0].isdigit():
            return (int(one[0]), one[2]) if len(one[0]) == 4 and 0 <= int(one[0]) - sent.year <= 3 else (0, 0)
        if one[0] not in (",", ".", "de", "del", "of", "г", "р", "'", "-"):
            break
    return 0, 0


def _year_before(tokens: _Tokens, place: int, begin: int) -> tuple[int, int]:
    for one in reversed(tokens[max(0, place - 1) : place + 1]):
        if one[0].isdigit() and len(one[0]) == 4:
            return int(one[0]), one[1]
        if one[0] != ".":
            break
    return 0, begin


def _numeric(match: re.Match[str], language: str, sent: datetime.date) -> datetime.date | None:
    first, mark, second, third = match[1], match[2], match[3], match[4]
    if len(first) == 4:
        return _day(int(first), int(second), int(third), sent) if third else None
    if len(first) == 3 or (third is None and mark == "-"):
        return None
    year = int(third or 0)
    year += 2000 if 0 < year < 100 else 0
    readings = [(int(second), int(first))]  # month, day
    if mark != ".":
        readings.append((int(first), int(second)))
    if (
        third
        and len(first) == 2
        and len(third) == 2
        and mark in "/-."
        and language in ("ja", "zh", "hu", "sv")
    ):
        readings.insert(0, (int(second), int(third)))
        year = 2000 + int(first)
    days = [date for month, day in readings if (date := _day(year, month, day, sent))]
    coming = [date for date in days if date >= sent]
    return min(coming) if coming else next(iter(days), None)


def _day(year: int, month: int, day: int, sent: datetime.date) -> datetime.date | None:
    """Return a day; without a year, the next one after the mail, or one just before it."""
    try:
        if year:
            return datetime.date(year, month, day)
        near = [datetime.date(sent.year + n, month, day) for n in (0, 1)]
    except ValueError:
        return None
    return near[0] if (near[0] - sent).days >= -30 else near[1]
