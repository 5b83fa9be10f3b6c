"""Languages of readers: tags, the chain of fallbacks, countries, dates and numbers, text direction.

Tags are BCP 47. A contact's chain is: its own language, then less specific forms of it (RFC 4647 §3.4) and
those a reader of it reads as well (CLDR language matching, through langcodes), then the official languages
of its country by number of speakers (CLDR, through babel), then the default of the mailing. Pure.
Known limit: two languages at most for one reader (`fr+nl`).
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.dates import format_date
from babel.languages import get_official_languages
from babel.numbers import format_decimal

# Names of countries and languages are understood in these languages; codes always. The first ones are looked
# at first: reading all takes a quarter of a second.
_COMMON = ("en", "fr", "de", "es", "it", "pt", "ru", "ar", "el", "tr")
_OTHERS = (
    "nl", "pl", "sv", "fi", "uk", "he", "da", "nb", "nn", "cs", "sk", "hu", "ro", "bg", "ja", "zh", "zh-Hant",
    "ko", "fa", "hi", "id", "ms", "vi", "th", "sr", "sr-Latn", "hr", "bs", "sl", "mk", "sq", "lt", "lv", "et",
    "ka", "hy", "az", "kk", "be", "ca", "eu", "gl", "is", "ga", "cy", "mt", "af", "sw", "am", "bn", "ta",
    "ur", "ku", "mn", "uz", "ky", "tg", "eo", "lb",
)  # fmt: skip
_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_NO_COUNTRIES = ("EU", "EZ", "QO", "UN", "XA", "XB", "ZZ")  # codes of CLDR that are none
# CLDR distance up to which a reader of one language is served by another: pt-PT for pt-BR (5), de for
# gsw (8). Above it stand pairs that offend: sr-Latn for hr (9), es for ca (20), ru for uk (24).
_NEAR = 8
# What people write besides CLDR's names, folded.
_ALIASES = {
    "uk": "GB", "u k": "GB", "great britain": "GB", "britain": "GB", "england": "GB", "scotland": "GB",
    "wales": "GB", "northern ireland": "GB", "grossbritannien": "GB", "grande bretagne": "GB",
    "gran bretana": "GB", "великобритания": "GB", "англия": "GB", "usa": "US", "u s a": "US", "u s": "US",
    "united states of america": "US", "сша": "US", "holland": "NL", "голландия": "NL", "turkey": "TR",
    "turkiye": "TR", "czech republic": "CZ", "czechia": "CZ", "el": "GR", "oesterreich": "AT", "brd": "DE",
    "frg": "DE",
    "russian federation": "RU", "российская федерация": "RU", "рф": "RU", "россия рф": "RU",
    "south korea": "KR", "republic of korea": "KR", "north korea": "KP", "ivory coast": "CI", "burma": "MM",
    "elfenbeinküste": "CI",
    "birma": "MM", "macedonia": "MK", "macedonia fyrom": "MK", "fyrom": "MK", "swaziland": "SZ",
    "cape verde": "CV", "east timor": "TL", "palestine": "PS", "palastina": "PS", "palestina": "PS",
    "палестина": "PS", "hong kong": "HK", "macau": "MO", "macao": "MO", "vatican": "VA", "holy see": "VA",
    "congo kinshasa": "CD", "drc": "CD", "dr congo": "CD", "congo brazzaville": "CG", "uae": "AE",
    "оаэ": "AE",
    "republic of ireland": "IE", "eire": "IE", "moldavia": "MD", "молдавия": "MD", "byelorussia": "BY",
    "belorussia": "BY", "белоруссия": "BY", "weissrussland": "BY", "bosnia": "BA", "syria": "SY",
    "iran": "IR",
    "vietnam": "VN", "laos": "LA", "bolivia": "BO", "venezuela": "VE", "tanzania": "TZ", "taiwan": "TW",
    "chinese taipei": "TW", "people s republic of china": "CN", "prc": "CN", "кнр": "CN", "кыргызстан": "KG",
    "киргизия": "KG", "туркмения": "TM", "western sahara": "EH", "kurdistan": "",
}  # fmt: skip
_LANGUAGE_ALIASES = {"iw": "he", "ji": "yi", "in": "id", "farsi": "fa", "castellano": "es", "castilian": "es",
                     "flemish": "nl", "vlaams": "nl", "moldovan": "ro", "valenciano": "ca", "mandarin": "zh",
                     "romansh": "rm", "bokmal": "nb", "nynorsk": "nn"}  # fmt: skip


@cache
def locale(tag: str) -> Locale | None:
    """Return babel's locale for a tag, or for its nearest shorter form; None when nobody knows it."""
    for shorter in truncations(tag):
        try:
            return Locale.parse(shorter, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return None


def truncations(tag: str) -> list[str]:
    """Return the tag and its shorter forms: zh-Hant-TW, zh-Hant, zh (RFC 4647 §3.4)."""
    parts = tag.split("-")
    return ["-".join(parts[:n]) for n in range(len(parts), 0, -1)]


@cache
def normalise(text: str) -> str | None:
    """Return a language tag in its usual spelling (pt-BR), or None when it is no known language."""
    if not _TAG.fullmatch(text.strip()):
        return None
    parts = text.strip().replace("_", "-").split("-")
    tag = "-".join(
        part.lower() if n == 0 else part.title() if len(part) == 4 else part.upper()
        for n, part in enumerate(parts)
    )
    return tag if locale(tag) is not None else None


def _fold(text: str) -> str:
    """Return what two spellings of a name have in common: no capitals, accents or signs."""
    bare = "".join(
        one for one in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(one)
    )
    return " ".join(re.findall(r"[^\W_]+", bare))


@cache
def language_code(text: str) -> str | None:
    """Return the tag for a language's code or its name (German, Deutsch, немецкий), or None."""
    if tag := normalise(text):
        first, dash, rest = tag.partition("-")
        first = _LANGUAGE_ALIASES.get(first, first)
        if len(first) == 3:
            first = str(get_global("language_aliases").get(first, first))
        return f"{first}{dash}{rest}"
    folded = _fold(text)
    if folded in _LANGUAGE_ALIASES:
        return _LANGUAGE_ALIASES[folded]
    return next((names[folded] for names in _by_name("languages") if folded in names), None)


@cache
def country_code(text: str) -> str | None:
    """Return the ISO 3166 alpha-2 code for a code or a country's name, or None."""
    text = text.strip()
    code = text.upper()
    if len(text) == 2 and code in Locale("en").territories:
        return code if code not in _NO_COUNTRIES else _ALIASES.get(text.casefold())
    if len(text) == 3 and code in get_global("territory_aliases"):
        replacements = get_global("territory_aliases")[code]
        return str(replacements[0]) if len(replacements) == 1 else None
    folded = _fold(text)
    if folded in _aliases():
        return _aliases()[folded] or None
    return next((names[folded] for names in _by_name("territories") if folded in names), None)


@cache
def _aliases() -> dict[str, str]:
    return {_fold(name): code for name, code in _ALIASES.items()}


@cache
def country_codes() -> tuple[str, ...]:
    """Return the ISO 3166 alpha-2 codes of all countries."""
    return tuple(str(code) for code in Locale("en").territories if _is_country(str(code)))


def _is_country(code: str) -> bool:
    return len(code) == 2 and code.isalpha() and code not in _NO_COUNTRIES


def _by_name(what: str) -> Iterator[dict[str, str]]:
    """Yield codes by folded name, language by language: the common ones first."""
    for tag in (*_COMMON, *_OTHERS):
        yield _names(what, tag)


@cache
def _names(what: str, tag: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for code, name in getattr(Locale.parse(tag, sep="-"), what).items():
        if what == "languages" or _is_country(code):
            names.setdefault(_fold(name), code.replace("_", "-"))
    return names


@cache
def country_name(code: str, language: str) -> str:
    """Return a country's name in a language; the code itself where CLDR has none."""
    known = locale(language)
    return str(known.territories.get(code, code)) if known and code else code


@cache
def name(tag: str) -> str:
    """Return the English name of a language; the tag itself where CLDR has none."""
    known = locale(tag)
    return str(known.english_name) if known else tag


@cache
def direction(tag: str) -> str:
    """Return `rtl` or `ltr`, for the HTML attribute `dir`."""
    known = locale(tag)
    return str(known.text_direction) if known else "ltr"


def date(day: datetime.date, language: str, form: str = "long") -> str:
    """Write a day out in a language; `form` is one of CLDR's full, long, medium, short."""
    return str(format_date(day, form, locale=locale(language) or "en"))


def number(value: float, language: str) -> str:
    """Write a number with the separators of a language: 12,500 or 12.500."""
    return str(format_decimal(value, locale=locale(language) or "en"))


@cache
def weekend(country: str) -> frozenset[int]:
    """Return the days off in a country (CLDR), 0 being Monday; Saturday and Sunday where nobody knows."""
    try:
        there = Locale.parse(f"und_{country}") if country else None
    except (UnknownLocaleError, ValueError):
        there = None
    if there is None or there.territory != country:
        return frozenset({5, 6})
    days = (there.weekend_end - there.weekend_start) % 7 + 1
    return frozenset((there.weekend_start + n) % 7 for n in range(days))


def only_zone(country: str) -> str:
    """Return the one time zone of a country (CLDR); empty when it has several, or none."""
    zones = get_global("territory_zones").get(country, ())
    return str(zones[0]) if len(zones) == 1 else ""


def windows_zone(name: str) -> str | None:
    """Return the zone that Windows calls so (Iran Standard Time → Asia/Tehran; CLDR), or None."""
    zones = get_global("windows_zone_mapping")
    return next((str(zone) for windows, zone in zones.items() if windows.casefold() == name.casefold()), None)


# The chain of fallbacks ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One language to try for a reader, and why."""

    tag: str
    why: str


def split(language: str) -> list[str]:
    """Return the languages of one reader: `fr+nl` is two of them."""
    return language.split("+")


@cache
def normalise_readers(text: str) -> str | None:
    """Return a reader's language or two (`fr+nl`) in their usual spelling, or None when one is unknown."""
    tags = [language_code(part) for part in text.split("+")]
    if None in tags or len(tags) > 2:
        return None
    return "+".join(dict.fromkeys(tag for tag in tags if tag))


@cache
def official(country: str) -> tuple[str, ...]:
    """Return the languages of a country by number of speakers.

    CLDR's official ones, and the most spoken one where it is official only in fact (US, MX, NZ: en, es, en).
    """
    by_law = get_official_languages(country)
    in_fact = get_official_languages(country, de_facto=True)
    first = in_fact[:1] if in_fact[:1] != by_law[:1] else ()
    return tuple(dict.fromkeys(tag.replace("_", "-") for tag in (*first, *by_law)))


@cache
def chain(language: str, country: str, default: str, available: tuple[str, ...] = ()) -> tuple[Step, ...]:
    """Return the languages to try for a reader of one language, best first, each once.

    `available` are those a letter is written in; the near ones among them join behind each language.
    """
    stages = [(language, "the contact's language")] if language else []
    if country:
        where = country_name(country, "en")
        stages += [(tag, f"a language of {where}") for tag in official(country)]
    stages.append((default, "the mailing's default"))
    found: dict[str, Step] = {}
    for tag, why in stages:
        for shorter in truncations(tag):
            if shorter == tag:
                found.setdefault(tag, Step(tag, why))
            elif _distance(tag, shorter) <= _NEAR:  # zh is not what a reader of zh-TW reads
                found.setdefault(shorter, Step(shorter, f"the general form of {tag}"))
        for near in _near(tag, available):
            found.setdefault(near, Step(near, f"near to {tag}"))
    return tuple(found.values())


@cache
def _near(tag: str, available: tuple[str, ...]) -> tuple[str, ...]:
    distances = ((_distance(tag, other), other) for other in available if other != tag)
    return tuple(other for distance, other in sorted(distances) if distance <= _NEAR)


@cache
def _distance(tag: str, other: str) -> int:
    from langcodes import tag_distance

    return tag_distance(tag, other)


@cache
def same(tag: str, other: str) -> bool:
    """Tell whether two tags are one language in one script: pt-BR and pt, nb and no, but not gsw and de."""
    from langcodes import Language

    one, two = (Language.get(text).maximize() for text in (tag, other))
    return (one.language, one.script) == (two.language, two.script) or _distance(tag, other) <= 1


# Text that runs both ways --------------------------------------------------------------------------

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
# Embeddings, overrides and isolates (UAX #9): left open in a name, they turn the rest of a line around.
_CONTROLS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_STRONG = {"ltr": ("R", "AL"), "rtl": ("L",)}


class Isolated(str):
    """A text that shows parts of the other direction in isolates (UAX #9 §2.4.2).

    It is its plain self when compared, tested or put into an address; `shown` is what a reader gets.
    """

    __slots__ = ("shown",)
    shown: str

    def __new__(cls, plain: str, shown: str) -> Isolated:
        """Make one from the plain text and the shown one."""
        made = super().__new__(cls, plain)
        made.shown = shown
        return made

    def splitlines(self, keepends: bool = False) -> list[str]:
        """Return the lines, each still shown in isolates."""
        plain, shown = super().splitlines(keepends), self.shown.splitlines(keepends)
        return [Isolated(*pair) for pair in zip(plain, shown, strict=True)]


def without_controls(text: str) -> str:
    """Take out the characters that turn the direction of text around."""
    return text if text.isascii() else text.translate(_CONTROLS)


def isolate(text: str, around: str) -> str:
    """Return a value so that it keeps its order inside text that runs `around` (ltr or rtl)."""
    if around == "ltr" and text.isascii():
        return text
    if any(unicodedata.bidirectional(char) in _STRONG[around] for char in text):
        return Isolated(text, f"{FIRST_STRONG_ISOLATE}{text}{POP_ISOLATE}")
    return text


def shown(text: str) -> str:
    """Return a text as a reader gets it."""
    return text.shown if isinstance(text, Isolated) else text


@cache
def month_names(language: str) -> dict[str, int]:
    """Return the names of the months, long and short and in every form CLDR has, with 1 to 12."""
    return _calendar(language, "months", {number: number for number in range(1, 13)})


@cache
def day_names(language: str) -> dict[str, int]:
    """Return the names of the days of the week, with 0 for Monday."""
    return _calendar(language, "days", {number: number for number in range(7)})


def _calendar(language: str, what: str, numbers: dict[int, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tag in (language, *_OTHER_CALENDARS.get(language, ())):
        known = locale(tag)
        for context in ("format", "stand-alone"):
            for width in ("wide", "abbreviated") if what == "months" else ("wide",):
                names = getattr(known, what)[context][width] if known else {}
                for number in numbers:
                    found.setdefault(str(names.get(number, "")).rstrip("."), number)
    found.pop("", None)
    return found


# Countries that call the months otherwise.
_OTHER_CALENDARS = {
    "ar": ("ar-LB", "ar-IQ", "ar-MA", "ar-DZ", "ar-TN"),
    "de": ("de-AT",),
    "nb": ("nn",),
    "pt": ("pt-PT",),
}
