"""When is somebody back? The date in an automatic answer, as people write dates in 24 languages.

A date counts when words of return or of an end stand beside it ("back on", "until", phrases/*.toml): the day
of return is believed before the last day of absence, and the last of several ends. An end counts only where
its sentence tells of the absence. A day without a year is the next one after the mail; a day of the week,
too. Numbers that may be read in two ways (04/05) are read so that the day lies after the mail, and the
nearer one wins. Returns the day that is written, not the day after it. Pure. Known limits: holidays by name,
"in two weeks", "next week", other calendars than the Gregorian (but for the years of Japan and Taiwan).
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache

from outreach import languages, phrases

_TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s]")
_NUMERIC = re.compile(
    r"(?<![\d./])(\d{1,4})\s?([./-])\s?(\d{1,2})(?:\s?\2\s?(\d{2,4}))?\.?(?![\d/]|\.\d|-\d\d?\D)"
)
_ROMAN = re.compile(r"(?<![\w.])(\d{1,2})[.\s]\s?(i{1,3}|iv|v|vi{1,3}|ix|x|xi{1,2})[.\s]\s?(\d{4})")
_ROMANS = dict(
    zip(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"), range(1, 13), strict=True)
)
_CJK_NUMBER = "(?:\\d{1,2}|[一二三四五六七八九十]{1,3})"
_CJK_DATE = re.compile(
    rf"(?:(令和|平成|民國|民国|中華民國)?\s?(\d{{1,4}}|元)\s?年\s?)?({_CJK_NUMBER})\s?月\s?({_CJK_NUMBER})\s?[日号號]?"
    rf"(?:[^\w]{{0,4}}[月火水木金土日]?[^\w]{{0,3}}(?:[~〜～-]|至|到|から)\s?(?:({_CJK_NUMBER})\s?月\s?)?({_CJK_NUMBER})\s?[日号號])?"
)
_ERAS = {"令和": 2018, "平成": 1988, "民國": 1911, "民国": 1911, "中華民國": 1911}
_CJK_DAY = re.compile(r"([月火水木金土日])曜日?|(?:周|星期|週|礼拜|禮拜)([一二三四五六日天])")
_CJK_DAYS = {**{one: number for number, one in enumerate("月火水木金土日")}, "天": 6}
_CJK_DAYS |= {one: number for number, one in enumerate("一二三四五六")}
_WEEK = re.compile(
    r"\b(?:vecka|v|uge|uke|veke|viikko|viikolla|viikon|kw|kalenderwoche|woche|week|semaine)\.? ?(\d{1,2})\b"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What may stand between a day's number and its month.
_BETWEEN = _words(
    ". , - : ' st nd rd th er ero o a e º ª de del di den do of η ης ο го ое е й ти ви ри ро та to te"
    " ter en na le lea go ego"
)
# ... between the words of return and the date.
_FILLING = _words(
    ". , : ( ) - ' the on an am dem den der das le la les el il lo du de del do da dne dia dnia na v w"
    " w/ od d u a az at by of including inclusive einschliesslich incl inkl zum und and op die het στις"
    " την τις της τη ב ה ל يوم تاريخ ال til med pe data di ziua date about approx ca c kl dne 9 8 10 am"
    " pm uhr h"
)
_NEAR = 36  # characters between words and date
_MOST = 50  # phrases, and dates, of one mail
_YEARS = 20  # around the mail, in which a number is a year
_LONGEST = 400  # days that anybody stays away
_RANGE = re.compile(r"日?\s?(?:\([^()]{1,3}\))?\s?(?:[-~]|至|到|から)\s?\d{0,2}月?")
_DASH = re.compile(r"\s?(?:[-~]|至|到|から)\s?")
_OPEN_RANGE = re.compile(r"(?:^|[^\d.])\d{1,2}\.?\s?-\s?$")
_SENTENCE_END = re.compile(r"(?<=[^\W\d_]{5})[.!?]\s|[!?]\s|[。！？]")

_Found = tuple[int, int, datetime.date]  # begins, ends, date
_Tokens = list[tuple[str, int, int]]


def returns(text: str, language: str, sent: datetime.date | None, away: bool = True) -> datetime.date | None:
    """Return the day on which somebody is back by a text's own words, or None.

    `away`: the text tells of an absence; only then is an end ("until") an end of that.
    """
    folded = phrases.fold(text[:8000])
    day = sent or datetime.date.today()
    hits = {name: list(itertools.islice(phrases.find(name, folded), _MOST)) for name in ("back", "until")}
    spoken = dict.fromkeys(
        [language, *(one for some in hits.values() for hit in some for one in hit.languages)]
    )
    tongues = [one for one in spoken if one][:6]
    found, ends = _dates(folded, tongues, day)
    back = _beside_all(folded, hits["back"], found)
    if back:
        return next((one for one in back if -1 <= (one - day).days <= _LONGEST), None)
    if not away:
        return None
    told = phrases.first("absence", folded) is not None
    until = [hit for hit in hits["until"] if not told or _is_about_absence(folded, hit)]
    last = _beside_all(folded, until, found) or ends
    return max((one for one in last if -1 <= (one - day).days <= _LONGEST), default=None)


def _beside_all(folded: str, hits: Iterable[phrases.Hit], found: list[_Found]) -> list[datetime.date]:
    said = (hit for hit in hits if not phrases.negated(folded, hit))  # "I will not be back before …"
    return [date for hit in said if (date := _beside(folded, hit, found)) is not None]


def _is_about_absence(folded: str, hit: phrases.Hit) -> bool:
    """Tell whether the sentence of an end tells of an absence, or is hardly more than the end."""
    ends = [match.end() for match in _SENTENCE_END.finditer(folded)]
    begin = max((end for end in ends if end <= hit.start), default=0)
    end = min((end for end in ends if end > hit.end), default=len(folded))
    sentence = folded[begin:end]
    return (
        any(phrases.first(section, sentence) for section in ("absence", "meanwhile"))
        or len(sentence.split()) <= 7
    )


def _beside(folded: str, hit: phrases.Hit, found: list[_Found]) -> datetime.date | None:
    """Return the date that stands right behind words, or before or inside them where the language wants
    that.
    """
    if hit.phrase.startswith("…"):
        before = [date for _, end, date in found if end <= hit.start + 1 and hit.start - end <= 25]
        return before[-1] if before else None
    for place, (start, _, _) in enumerate(found):
        inside = hit.phrase.endswith("…") and hit.start <= start <= hit.end + 60
        near = hit.end - 1 <= start <= hit.end + _NEAR and _only_filling(folded[hit.end : start])
        if inside or near:
            return _end_of_range(folded, found, place)
    if "…" in hit.phrase:  # "do … włącznie"
        return next(
            (date for start, end, date in reversed(found) if hit.start < start and end <= hit.end), None
        )
    return None


def _end_of_range(folded: str, found: list[_Found], place: int) -> datetime.date:
    """Return a date, or the one that a dash leads to from there."""
    if place + 1 < len(found) and _RANGE.fullmatch(folded[found[place][1] : found[place + 1][0]]):
        return found[place + 1][2]
    return found[place][2]


def _only_filling(text: str) -> bool:
    """Tell whether nothing but small words and a day of the week stands between."""
    if re.search(r"\w{5,}\.\s", text):
        return False  # a sentence ends
    tokens = _TOKEN.findall(text)
    strange = [one for one in tokens if one not in _FILLING and one not in _all_days()]
    return len(strange) <= 1 and not any(one.isdecimal() for one in strange)


# -- names of days and months


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


def _weekday(word: str, tongues: Iterable[str]) -> int | None:
    for language in tongues:
        known = _days(language)
        if word in known:
            return known[word]
        for name, number in known.items() if len(word) > 3 else ():
            inflected = len(name) > 4 and word.startswith(name[: -2 if len(name) > 5 else -1])
            if (inflected and len(word) <= len(name) + 2) or name.startswith(word):
                return number
    return None


@cache
def _months(language: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in (language, *phrases.languages()):
        for name, number in languages.month_names(one).items():
            folded = phrases.fold(name).rstrip(".")
            if len(folded) > 2 and not any(char.isdecimal() for char in folded):
                found.setdefault(folded, number)
    return found | {"sept": 9}


def _month(words: str, tongues: list[str]) -> int:
    """Return the month that a word, or two, name in any usual form, or 0."""
    known = _months(tongues[0] if tongues else "en")
    if words in known:
        return known[words]
    if words[:1] in "בלהו" and words[1:] in known:
        return known[words[1:]]
    if len(words) >= 4 and words.isalpha():  # endings of cases: Mayıs'a, květnem
        for language in tongues:
            for name, number in languages.month_names(language).items():
                stem = phrases.fold(name)
                stem = stem[:-1] if len(stem) > 5 else stem
                if len(stem) >= 4 and words.startswith(stem) and len(words) <= len(stem) + 4:
                    return number
    return 0


# -- dates


def _dates(folded: str, tongues: list[str], sent: datetime.date) -> tuple[list[_Found], list[datetime.date]]:
    """Return the dates of a text in order, and those among them that end a range ("14-30 May")."""
    found = sorted(set(itertools.islice(_full_dates(folded, tongues, sent), _MOST)))
    ends = [
        one[2]
        for one in found
        if _OPEN_RANGE.search(folded[max(0, one[0] - 12) : one[0]])
        or any(0 < one[0] - other[1] <= 4 and _DASH.fullmatch(folded[other[1] : one[0]]) for other in found)
    ]
    for match in _CJK_DATE.finditer(folded):
        if match[6] and (date := _day(0, _cjk(match[5] or match[3]), _cjk(match[6]), sent)):
            ends.append(date)
            found.append((match.start(5) if match[5] else match.start(6), match.end(), date))
    days = itertools.islice(_named_days(folded, tongues, sent), _MOST)
    named = [one for one in days if not _dated(folded, one, found)]
    return sorted([*found, *named]), ends


def _full_dates(folded: str, tongues: list[str], sent: datetime.date) -> Iterator[_Found]:
    for match in _CJK_DATE.finditer(folded):
        year = 1 if match[2] == "元" else int(match[2] or 0)
        year = year + _ERAS[match[1]] if match[1] else year + 1911 if 0 < year < 200 else year
        end = match.end(4) + 1
        if date := _day(year, _cjk(match[3]), _cjk(match[4]), sent):
            yield match.start(), min(end, len(folded)), date
    for match in _NUMERIC.finditer(folded):
        if date := _numeric(match, tongues[0] if tongues else "", sent):
            yield match.start(), match.end(), date
    for match in _ROMAN.finditer(folded):
        if date := _day(int(match[3]), _ROMANS.get(match[2], 0), int(match[1]), sent):
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
        if word.isdecimal() and len(word) <= 2 and 1 <= int(word) <= 31:
            yield from _written(tokens, place, tongues, sent)


def _cjk(text: str) -> int:
    """Return a number of up to 99, in digits or in Chinese ones."""
    if text.isdecimal():
        return int(text)
    tens, ten, ones = text.rpartition("十")
    digits = "一二三四五六七八九"
    return (digits.find(tens) + 1 or 1) * 10 * bool(ten) + digits.find(ones or "\0") + 1


def _named_days(folded: str, tongues: list[str], sent: datetime.date) -> Iterator[_Found]:
    """Yield the days of the week in a text, each as the next one after the mail."""
    for match in _TOKEN.finditer(folded):
        number = _weekday(match[0], tongues) if match[0].isalpha() and len(match[0]) > 2 else None
        if number is not None:
            yield match.start(), match.end(), _next(number, sent)
    for match in _CJK_DAY.finditer(folded):
        yield match.start(), match.end(), _next(_CJK_DAYS[match[1] or match[2]], sent)


def _next(number: int, sent: datetime.date) -> datetime.date:
    return sent + datetime.timedelta(days=(number - sent.weekday() - 1) % 7 + 1)


def _dated(folded: str, named: _Found, found: list[_Found]) -> bool:
    """Tell whether a day of the week only belongs to a date beside it."""
    start, end, _ = named
    return any(
        (0 <= one[0] - end <= 24 and _only_filling(folded[end : one[0]])) or 0 <= start - one[1] <= 8
        for one in found
    )


def _written(tokens: _Tokens, place: int, tongues: list[str], sent: datetime.date) -> Iterator[_Found]:
    """Yield the date with a month's name around a number: 5 May 2012, May 5th, 2012. május 5."""
    day = int(tokens[place][0])
    behind = place + 1
    while behind < min(place + 4, len(tokens)) and tokens[behind][0] in _BETWEEN:
        behind += 1
    for count in (2, 1):
        some = tokens[behind : behind + count]
        month = _month(" ".join(one[0] for one in some), tongues) if len(some) == count else 0
        if month:
            year, end = _year(tokens, behind + count, sent)
            if date := _day(year, month, day, sent):
                yield tokens[place][1], end or some[-1][2], date
            return
    before = place - 1
    while before > max(0, place - 6) and (
        tokens[before][0] in (".", ",", "the", "-")
        or (tokens[before][0].isdecimal() and tokens[before + 1][0] == "-")
    ):
        before -= 1
    for count in (2, 1):
        some = tokens[max(0, before - count + 1) : before + 1]
        month = _month(" ".join(one[0] for one in some), tongues) if len(some) == count else 0
        if month:
            after = place + 1
            while after < len(tokens) and tokens[after][0] in ("st", "nd", "rd", "th", ".", ","):
                after += 1
            year, end = _year(tokens, after, sent)
            begin = some[0][1] if before == place - 1 else tokens[place][1]
            if not year:
                year, begin = _year_before(tokens, before - count, begin)
            if date := _day(year, month, day, sent):
                yield begin, max(end, tokens[place][2]), date
            return


def _year(tokens: _Tokens, place: int, sent: datetime.date) -> tuple[int, int]:
    """Return a year that stands at a place, or behind a comma or a small word, and where it ends; or
    zeros.
    """
    for one in tokens[place : place + 3]:
        if one[0].isdecimal():
            near = len(one[0]) == 4 and abs(int(one[0]) - sent.year) <= _YEARS
            return (int(one[0]), one[2]) if near else (0, 0)
        if one[0] not in (",", ".", "de", "del", "of", "г", "р", "'", "-"):
            break
    return 0, 0


def _year_before(tokens: _Tokens, place: int, begin: int) -> tuple[int, int]:
    for one in reversed(tokens[max(0, place - 1) : place + 1]):
        if one[0].isdecimal() and len(one[0]) == 4:
            return int(one[0]), one[1]
        if one[0] != ".":
            break
    return 0, begin


def _numeric(match: re.Match[str], language: str, sent: datetime.date) -> datetime.date | None:
    first, mark, second, third = match[1], match[2], match[3], match[4]
    if len(first) >= 3:
        year = int(first) + (1911 if len(first) == 3 else 0)
        return _day(year, int(second), int(third), sent) if third else None
    if third is None and mark == "-" and language != "nl":
        return None
    year = int(third or 0)
    year += 2000 if 0 < year < 100 else 0
    readings = [(int(second), int(first))]  # month, day
    if mark == "." and language == "hu" and third is None:
        readings = [(int(first), int(second))]
    if mark != ".":
        readings.append((int(first), int(second)))
    if third and len(first) == 2 and len(third) == 2 and language in ("ja", "zh", "hu", "sv"):
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
