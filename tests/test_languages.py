"""Languages: which tags and countries are understood, and in which order a reader's languages are tried."""

from __future__ import annotations

import datetime

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
    ("language", "country", "available", "chain"),
    [
        ("pt-BR", "", ("en", "pt-PT"), ["pt-BR", "pt", "pt-PT", "en"]),
        ("pt", "", ("en", "pt-BR"), ["pt", "pt-BR", "en"]),
        ("zh-TW", "", ("en", "zh-Hans", "zh-Hant"), ["zh-TW", "zh-Hant", "en"]),  # another script is no help
        ("nb", "", ("en", "no"), ["nb", "no", "en"]),
        ("no", "", ("en", "nb"), ["no", "nb", "en"]),
        ("gsw", "CH", ("en", "de"), ["gsw", "de", "fr", "it", "en"]),
        ("lb", "LU", ("en", "de", "fr"), ["lb", "de", "fr", "en"]),
        ("de", "", ("en", "de-CH"), ["de", "de-CH", "en"]),
        ("iw", "", ("en", "he"), ["iw", "he", "en"]),
        # Near on a map is not near to a reader.
        ("ca", "", ("en", "es"), ["ca", "en"]),
        ("uk", "UA", ("en", "ru"), ["uk", "en"]),
        ("be", "", ("en", "ru"), ["be", "en"]),
        ("hr", "", ("en", "sr-Latn"), ["hr", "en"]),
        ("eu", "", ("en", "es", "fr"), ["eu", "en"]),
        ("ku", "", ("en", "tr"), ["ku", "en"]),
        # Official only in fact, and official besides.
        ("", "US", ("en",), ["en"]),
        ("", "MX", ("en", "es"), ["es", "en"]),
        ("", "NZ", ("en",), ["en", "mi"]),
        ("", "UA", ("en", "ru"), ["uk", "en"]),
    ],
)
def test_languages_that_a_reader_reads_as_well_join_the_chain(
    language: str, country: str, available: tuple[str, ...], chain: list[str]
) -> None:
    steps = languages.chain(language, country, "en", available)
    assert [step.tag for step in steps] == chain
    assert all(step.why for step in steps)


def test_each_step_says_why() -> None:
    steps = languages.chain("pt-BR", "CH", "en", ("en", "pt-PT", "de"))
    assert [(step.tag, step.why) for step in steps] == [
        ("pt-BR", "the contact's language"),
        ("pt", "the general form of pt-BR"),
        ("pt-PT", "near to pt-BR"),
        ("de", "a language of Switzerland"),
        ("fr", "a language of Switzerland"),
        ("it", "a language of Switzerland"),
        ("en", "the mailing's default"),
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("pt-BR", "pt", True),
        ("pt-BR", "pt-PT", True),
        ("nb", "no", True),
        ("en-GB", "en", True),
        ("zh-TW", "zh-Hant", True),
        ("zh-TW", "zh", False),
        ("gsw", "de", False),
        ("sr", "sr-Latn", False),
        ("hr", "sr-Latn", False),
    ],
)
def test_what_is_the_same_language(one: str, other: str, same: bool) -> None:
    assert languages.same(one, other) is same is languages.same(other, one)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("fr+nl", "fr+nl"),
        (" FR + nl ", "fr+nl"),
        ("pt_br+EN", "pt-BR+en"),
        ("de", "de"),
        ("de+de", "de"),
        ("fr+nl+de", None),
        ("fr+xx", None),
        ("fr+", None),
        ("+", None),
        ("", None),
    ],
)
def test_a_reader_reads_one_language_or_two(text: str, tag: str | None) -> None:
    assert languages.normalise_readers(text) == tag


def test_days_and_numbers_are_written_as_the_language_writes_them() -> None:
    day = datetime.date(2012, 5, 6)
    written = {tag: languages.date(day, tag) for tag in ("en", "de", "fr", "es", "ru", "ar", "xx")}
    assert written == {
        "en": "May 6, 2012",
        "de": "6. Mai 2012",
        "fr": "6 mai 2012",
        "es": "6 de mayo de 2012",
        "ru": "6 мая 2012\u202fг.",
        "ar": "6 مايو 2012",
        "xx": "May 6, 2012",
    }
    assert languages.date(day, "de", "full") == "Sonntag, 6. Mai 2012"
    assert [languages.number(12500, tag) for tag in ("en", "de", "fr")] == ["12,500", "12.500", "12\u202f500"]


def test_a_value_is_isolated_only_where_it_runs_the_other_way() -> None:
    for text, around, isolated in (
        ("Maria", "rtl", True),
        ("Maria", "ltr", False),
        ("ريما", "ltr", True),
        ("ريما", "rtl", False),
        ("דוד", "ltr", True),
        ("12 (3)", "rtl", False),
        ("", "rtl", False),
        ("ريما (Rima)", "rtl", True),
    ):
        value = languages.isolate(text, around)
        assert value == text, "it compares as itself"
        assert languages.shown(value) == (f"\u2068{text}\u2069" if isolated else text)


def test_lines_of_an_isolated_text_stay_isolated() -> None:
    lines = languages.Isolated("a\nb", "\u2068a\u2069\nb").splitlines()
    assert lines == ["a", "b"]
    assert [languages.shown(line) for line in lines] == ["\u2068a\u2069", "b"]


def test_characters_that_turn_text_around_are_taken_out() -> None:
    assert (
        languages.without_controls("a\u202eb\u2066c\u200d\u200f") == "abc\u200d\u200f"
    )  # joiner and mark are spelling


@pytest.mark.parametrize(
    ("language", "country", "default", "chain"),
    [
        ("de", "DE", "en", ("de", "en")),
        ("de-CH", "CH", "en", ("de-CH", "de", "fr", "it", "en")),
        ("it", "CH", "en", ("it", "de", "fr", "en")),
        ("", "CH", "en", ("de", "fr", "it", "en")),
        ("", "BE", "en", ("nl", "fr", "de", "en")),
        ("", "CY", "en", ("el", "tr", "en")),
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


def test_of_two_languages_with_nearly_as_many_speakers_both_are_tried() -> None:
    """Which one first depends on the year of CLDR: Belarusian in 47, Russian in 48."""
    assert {step.tag for step in languages.chain("", "BY", "en")[:2]} == {"be", "ru"}
