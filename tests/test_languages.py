"""Languages: which tags and countries are understood, and in which order a reader's languages are tried."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import languages

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("en", "en"),
        (" EN ", "en"),
        ("en_GB", "en-GB"),
        ("pt-br", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("ZH_HANT", "zh-Hant"),
        ("sr-latn", "sr-Latn"),
        ("es-419", "es-419"),
        ("de-CH", "de-CH"),
        ("fil", "fil"),
        ("gsw", "gsw"),
        ("no", "no"),
        ("xx", None),
        ("english", None),
        ("klingon", None),
        ("日本", None),
        ("gr", None),  # a country's code is not its language's
        ("", None),
        ("-", None),
        ("e", None),
        ("en-", None),
        ("-en", None),
    ],
)
def test_a_language_tag_is_known_in_any_case_and_written_the_usual_way(text: str, tag: str | None) -> None:
    assert languages.normalise(text) == tag


@PROPERTY
@given(st.one_of(st.text("eEnNgGbB-_ dehtwT419", max_size=12), st.text(max_size=8)))
def test_any_text_is_a_stable_tag_or_nothing(text: str) -> None:
    tag = languages.normalise(text)
    if tag is not None:
        assert languages.normalise(tag) == tag
        assert all(part.isalnum() and part.isascii() for part in tag.split("-"))
        assert languages.direction(tag) in ("ltr", "rtl")


@pytest.mark.parametrize(
    ("tag", "shorter"),
    [
        ("en", ["en"]),
        ("pt-BR", ["pt-BR", "pt"]),
        ("zh-Hant-TW", ["zh-Hant-TW", "zh-Hant", "zh"]),
    ],
)
def test_a_tag_falls_back_to_its_shorter_forms(tag: str, shorter: list[str]) -> None:
    assert languages.truncations(tag) == shorter


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("DE", "DE"),
        (" de ", "DE"),
        ("Germany", "DE"),
        ("GERMANY", "DE"),
        ("Deutschland", "DE"),
        ("Allemagne", "DE"),
        ("Alemania", "DE"),
        ("Германия", "DE"),
        ("Γερμανία", "DE"),
        ("ألمانيا", "DE"),
        ("Almanya", "DE"),
        ("UK", "GB"),
        ("United Kingdom", "GB"),
        ("USA", "US"),
        ("United States", "US"),
        ("EL", "GR"),
        ("Holland", "NL"),
        ("Turkey", "TR"),
        ("Türkiye", "TR"),
        ("Czech Republic", "CZ"),
        ("Czechia", "CZ"),
        ("North Macedonia", "MK"),
        ("Kosovo", "XK"),
        ("Russia", "RU"),
        ("DEU", "DE"),
        ("gbr", "GB"),
        ("", None),
        ("XX", None),
        ("ZZ", None),  # CLDR: "Unknown Region"
        ("Atlantis", None),
        ("World", None),
        ("Germany, France", None),
        ("001", None),
    ],
)
def test_a_country_is_known_by_its_code_and_by_its_names(text: str, code: str | None) -> None:
    assert languages.country_code(text) == code


@PROPERTY
@given(st.text(max_size=12))
def test_any_text_is_a_country_code_or_nothing(text: str) -> None:
    code = languages.country_code(text)
    assert code is None or (len(code) == 2 and code.isascii() and code.isupper())


@pytest.mark.parametrize(
    ("code", "language", "name"),
    [
        ("DE", "en", "Germany"),
        ("DE", "de", "Deutschland"),
        ("DE", "de-CH", "Deutschland"),
        ("GB", "ru", "Великобритания"),
        ("GR", "el", "Ελλάδα"),
        ("US", "pt-BR", "Estados Unidos"),
        ("DE", "xx", "DE"),
        ("QQ", "en", "QQ"),
        ("", "en", ""),
    ],
)
def test_a_country_is_named_in_the_letters_language(code: str, language: str, name: str) -> None:
    assert languages.country_name(code, language) == name


@pytest.mark.parametrize(
    ("tag", "direction"),
    [
        ("en", "ltr"),
        ("ru", "ltr"),
        ("el", "ltr"),
        ("ja", "ltr"),
        ("ar", "rtl"),
        ("ar-EG", "rtl"),
        ("he", "rtl"),
        ("fa", "rtl"),
        ("ur", "rtl"),
        ("az", "ltr"),
        ("pa-Arab", "rtl"),
        ("xx", "ltr"),
        ("", "ltr"),
    ],
)
def test_text_runs_the_way_its_script_runs(tag: str, direction: str) -> None:
    assert languages.direction(tag) == direction


@pytest.mark.parametrize(
    ("language", "country", "default", "chain"),
    [
        ("de", "DE", "en", ("de", "en")),
        ("de-CH", "CH", "en", ("de-CH", "de", "fr", "it", "en")),
        ("it", "CH", "en", ("it", "de", "fr", "en")),
        ("", "CH", "en", ("de", "fr", "it", "en")),
        ("", "BE", "en", ("nl", "fr", "de", "en")),
        ("", "CY", "en", ("el", "tr", "en")),
        ("", "BY", "en", ("be", "ru", "en")),
        ("pt-BR", "BR", "en", ("pt-BR", "pt", "en")),
        ("zh-Hant-TW", "", "en", ("zh-Hant-TW", "zh-Hant", "en")),  # zh is the other script
        ("fr", "CA", "en", ("fr", "en")),
        ("", "IE", "ru", ("en", "ga", "ru")),
        ("", "", "en", ("en",)),
        ("", "", "pt-BR", ("pt-BR", "pt")),
        ("en", "GB", "en", ("en",)),
        ("", "ZZ", "en", ("en",)),
        ("ru", "KZ", "en", ("ru", "kk", "en")),
    ],
)
def test_a_readers_own_language_comes_before_the_countrys_before_the_default(
    language: str, country: str, default: str, chain: tuple[str, ...]
) -> None:
    assert tuple(step.tag for step in languages.chain(language, country, default)) == chain
