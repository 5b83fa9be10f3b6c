"""Languages of readers: tags, the chain of fallbacks, countries, text direction.

Tags are BCP 47. A contact's chain is: its own language, then less specific forms of it (RFC 4647 §3.4),
then the official languages of its country by number of speakers (CLDR, through babel), then the
default of the mailing. Pure. Known limit: related languages (gsw → de) are not tried yet.
"""

from __future__ import annotations

import re
from functools import cache

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.languages import get_official_languages

# Names of countries are understood in these languages; codes always.
_NAME_LANGUAGES = ("en", "fr", "de", "es", "it", "pt", "ru", "ar", "el", "tr")
_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_NO_COUNTRIES = ("EU", "EZ", "QO", "UN", "XA", "XB", "ZZ")  # codes of CLDR that are none
_ALIASES = {"uk": "GB", "usa": "US", "holland": "NL", "turkey": "TR", "czech republic": "CZ", "el": "GR"}


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
    return _ALIASES.get(text.casefold()) or _countries_by_name().get(text.casefold())


@cache
def _countries_by_name() -> dict[str, str]:
    names: dict[str, str] = {}
    for language in _NAME_LANGUAGES:
        for code, name in Locale(language).territories.items():
            if len(code) == 2 and code.isalpha() and code not in _NO_COUNTRIES:
                names.setdefault(name.casefold(), code)
    return names


@cache
def country_name(code: str, language: str) -> str:
    """Return a country's name in a language; the code itself where CLDR has none."""
    known = locale(language)
    return str(known.territories.get(code, code)) if known and code else code


@cache
def direction(tag: str) -> str:
    """Return `rtl` or `ltr`, for the HTML attribute `dir`."""
    known = locale(tag)
    return str(known.text_direction) if known else "ltr"


@cache
def chain(language: str, country: str, default: str) -> tuple[str, ...]:
    """Return the languages to try for a contact, best first, each once."""
    tags = truncations(language) if language else []
    if country:
        tags += [tag.replace("_", "-") for tag in get_official_languages(country)]
    return tuple(dict.fromkeys(tags + truncations(default)))
