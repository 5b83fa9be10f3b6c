"""Columns: which one holds what, whatever the language of the header, and wherever it stands."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import columns
from outreach.errors import Exit, UsageError
from outreach.model import CONTACT_COLUMNS

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests


def found(*rows: str, **maps: str) -> columns.Header:
    """Return the header of a table whose cells are parted by `|`."""
    header = columns.find([row.split("|") for row in rows], maps)
    assert header is not None
    return header


def names(*rows: str, **maps: str) -> list[str]:
    return [name if not name.startswith("\0") else "alternates" for name in found(*rows, **maps).names]


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("|".join(CONTACT_COLUMNS), [*CONTACT_COLUMNS]),
        ("E-Mail|NAME|Audience |Organization|Country|Lang|Sex|Title", [*CONTACT_COLUMNS]),
        ("Courriel|Nom complet|Pays|Langue|Civilité", ["email", "name", "country", "language", "gender"]),
        ("Адрес эл. почты|ФИО|Страна|Язык|Пол", ["email", "name", "country", "language", "gender"]),
        (
            "E-Mail-Adresse|Vorname|Nachname|Land|Partei",
            ["email", "given_name", "family_name", "country", "organisation"],
        ),
        (
            "e-mail|First name|Surname|Größe (cm)|x--y|",
            ["email", "first_name", "surname", "größe_cm", "x_y", "column_6"],
        ),
        ("Email address|Salutation|Alternates", ["email", "salutation", "alternates"]),
        ("E-mail 1 - Value|E-mail 2 - Value|E-mail 3 - Value", ["email", "alternates", "alternates"]),
    ],
)
def test_a_header_is_understood_in_many_languages_and_spellings(header: str, wanted: list[str]) -> None:
    assert names(header, "|".join(["a@x.example"] + [""] * header.count("|"))) == wanted


@pytest.mark.parametrize(
    ("header", "wanted", "noted"),
    [
        ("email|email", ["email", "alternates"], []),
        ("email|mail|e-mail (office)", ["email", "alternates", "alternates"], []),
        ("mail|email", ["alternates", "email"], []),  # the one that is called like it is meant
        ("email|name|NAME ", ["email", "name", "name_2"], ["NAME"]),
        ("email|name|name|name_2", ["email", "name", "name_2", "name_2_2"], ["name", "name_2"]),
        ("email|org|organisation", ["email", "org", "organisation"], ["org"]),
        ("email|x y|x_y|x-y", ["email", "x_y", "x_y_2", "x_y_3"], ["x_y", "x-y"]),
        ("email|Surname|surname", ["email", "surname", "surname_2"], ["surname"]),
        ("email||", ["email", "column_2", "column_3"], []),
        ("email|column_3|", ["email", "column_3", "column_3_2"], [""]),
    ],
)
def test_two_columns_for_one_field_are_no_error_and_the_second_is_told(
    header: str, wanted: list[str], noted: list[str]
) -> None:
    one = found(header)
    assert names(header) == wanted
    assert [column for column, _, _ in one.notes] == noted
    assert all("letters know it as" in words for _, words, _ in one.notes)


@PROPERTY
@given(
    st.lists(
        st.text(max_size=12) | st.sampled_from(["email", "name", "E-Mail 2", "Nom", "org", "land", "x"]),
        max_size=8,
    )
)
def test_every_column_has_a_name_of_its_own(header: list[str]) -> None:
    one = columns.find([[*header, "email"]], {})
    assert one is not None
    assert len(set(one.names)) == len(header) + 1
    assert one.names.count("email") == 1
    assert all(name for name in one.names)


@PROPERTY
@given(st.text(max_size=20))
def test_a_column_of_the_lists_own_stays_that_when_its_name_is_read_again(header: str) -> None:
    """What `contacts clean` writes is read the same way."""
    name = columns.name_of(header)
    if name and not columns.field_of(header):
        assert not columns.field_of(name)
        assert columns.name_of(name) == name


@pytest.mark.parametrize("name", CONTACT_COLUMNS)
def test_our_own_names_are_read_as_what_they_are(name: str) -> None:
    assert columns.field_of(name) == name
    assert columns.field_of(name.upper()) == name
    assert columns.field_of(f" {name}: ") == name


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("E-Mail", "e mail"),
        ("  e_MAIL.. ", "e mail"),
        ("Ｅメール", "eメール"),
        ("Größe (cm)", "grösse cm"),
        ("Адрес эл. почты", "адрес эл почты"),
        ("--", ""),
    ],
)
def test_signs_capitals_and_width_do_not_count(text: str, folded: str) -> None:
    assert columns.fold(text) == folded


@pytest.mark.parametrize(
    ("columns_and_rows", "wanted"),
    [
        # Where one part of the name has a column, `Name` is the other part, if the cells say so.
        (
            ("Vorname|Name|E-Mail", "Ann|Lee|a@x.example", "Bo|Ray|b@x.example"),
            ["given_name", "family_name", "email"],
        ),
        (
            ("Vorname|Name|E-Mail", "Ann|Ann Lee|a@x.example", "Bo|Bo Ray|b@x.example"),
            ["given_name", "name", "email"],
        ),
        (("Name|Nachname|E-Mail", "Ann|Lee|a@x.example"), ["given_name", "family_name", "email"]),
        (
            ("Vorname|Nachname|Name|E-Mail", "Ann|Lee|x|a@x.example"),
            ["given_name", "family_name", "name", "email"],
        ),
    ],
)
def test_a_column_name_beside_a_part_of_the_name_is_looked_into(
    columns_and_rows: tuple[str, ...], wanted: list[str]
) -> None:
    assert names(*columns_and_rows) == wanted


# Where the header stands --------------------------------------------------------------------------


@pytest.mark.parametrize("above", range(10))
def test_the_header_may_be_any_of_the_first_ten_rows(above: int) -> None:
    rows = [f"Remark {n}" for n in range(above)]
    one = found(*rows, "email|name", "a@x.example|Ann")
    assert (one.row, one.names) == (above, ["email", "name"])


def test_the_eleventh_row_is_no_header() -> None:
    rows = [f"Remark {n}" for n in range(10)]
    assert columns.find([[row] for row in rows] + [["email", "name"], ["a@x.example", "Ann"]], {}) is None


def test_an_address_above_the_header_does_not_hide_it() -> None:
    one = found("Questions to press@x.example", "email|name", "a@x.example|Ann")
    assert (one.row, one.names) == (1, ["email", "name"])


def test_the_row_with_most_known_headers_is_the_header() -> None:
    assert found("Email|", "e-mail|name|country", "a@x.example|Ann|DE").row == 1


def test_a_column_of_addresses_needs_no_header_that_is_known() -> None:
    one = found("Kuka|Mihin", "Ann|a@x.example", "Bo|b@x.example")
    assert (one.row, one.names) == (0, ["kuka", "email"])
    assert ("Mihin", "holds addresses, and is taken as email", "") in one.notes
    assert any("taken as the header" in words for _, words, _ in one.notes)


def test_a_list_may_have_no_header_at_all() -> None:
    one = found("Ann|a@x.example|DE", "Bo|b@x.example|FR")
    assert (one.row, one.names) == (-1, ["column_1", "email", "column_3"])
    assert any("no header line" in words for _, words, _ in one.notes)
    assert names("Ann|a@x.example|DE", name="1", country="3") == ["name", "email", "country"]


@pytest.mark.parametrize(
    "rows",
    [
        ["name|city", "Ann|Oslo"],
        ["Ann|Oslo", "Bo|Bonn"],
        ["x|y", "a@x.example|b@x.example", "c@x.example|d@x.example"],  # which of the two?
        ["name|name 2", "a@x.example|b@x.example"],
    ],
)
def test_without_one_column_of_addresses_there_is_no_header(rows: list[str]) -> None:
    header = columns.find([row.split("|") for row in rows], {})
    assert header is None or "email" not in header.names


# --map -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "maps", "wanted"),
    [
        (["email|who", "a@x.example|Ann"], {"name": "who"}, ["email", "name"]),
        (["email|who", "a@x.example|Ann"], {"name": " WHO "}, ["email", "name"]),
        (["email|who", "a@x.example|Ann"], {"name": "2"}, ["email", "name"]),
        (["email|2", "a@x.example|Ann"], {"name": "2"}, ["email", "name"]),
        (
            ["2|email|who", "x|a@x.example|Ann"],
            {"name": "2"},
            ["name", "email", "who"],
        ),  # a header before a number
        (["email|name|who", "a@x.example|Ann|Lee"], {"name": "who"}, ["email", "name_2", "name"]),
        (["email|name", "a@x.example|Ann"], {"nick": "name"}, ["email", "nick"]),
        (["email|private", "a@x.example|b@x.example"], {"email": "private"}, ["column_1", "email"]),
        (["email|x|private", "a@x.example||b@x.example"], {"email": "3"}, ["column_1", "x", "email"]),
        (["who|where", "Ann|ann(at)x.example"], {"email": "where"}, ["who", "email"]),
        (["remark", "", "who|where", "Ann|a@x.example"], {"email": "where"}, ["who", "email"]),
        (["email|Vorname|Name", "a@x.example|Ann|Lee"], {"name": "Name"}, ["email", "given_name", "name"]),
    ],
)
def test_a_map_says_which_column_is_a_field_by_header_or_number(
    rows: list[str], maps: dict[str, str], wanted: list[str]
) -> None:
    assert names(*rows, **maps) == wanted


@pytest.mark.parametrize(
    ("rows", "where", "hint"),
    [
        (["email|who|city", "a@x.example|Ann|Oslo"], "hwo", "did you mean who?"),
        (["email|who|city", "a@x.example|Ann|Oslo"], "Ctiy", "did you mean city?"),
        (["email|who|city", "a@x.example|Ann|Oslo"], "zzz", "columns: email, who, city"),
        (["email|who|city", "a@x.example|Ann|Oslo"], "4", "columns: email, who, city"),
        (["email|who|city", "a@x.example|Ann|Oslo"], "0", "columns: email, who, city"),
        (["Ann|a@x.example", "Bo|b@x.example"], "who", "say the number of the column, 1 to 2"),
        (["Ann|a@x.example", "Bo|b@x.example"], "3", "say the number of the column, 1 to 2"),
    ],
)
def test_a_map_to_a_column_that_is_not_there_names_the_nearest(
    rows: list[str], where: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        found(*rows, name=where)
    assert caught.value.exit_code == Exit.USAGE
    assert repr(where) in caught.value.message
    assert caught.value.hint == hint


# Cells -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "gender"),
    [
        ("f", "f"),
        ("Female", "f"),
        ("Frau", "f"),
        ("Mme", "f"),
        ("г-жа", "f"),
        ("Señora", "f"),
        ("M", "m"),
        ("Herr", "m"),
        ("Mr.", "m"),
        ("мужской", "m"),
        ("organization", "organisation"),
        ("Verein", "organisation"),
        ("Group", "group"),
        ("M. et Mme", "group"),
        ("d", ""),
        ("unknown", ""),
        ("?", ""),
        ("-", ""),
        ("", ""),
        ("robot", None),
    ],
)
def test_genders_are_understood_in_many_languages(cell: str, gender: str | None) -> None:
    assert columns.gender(cell) == gender


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        (["email", "audiance"], [("audiance", "audience")]),
        (["email", "langauge", "titles"], [("langauge", "language"), ("titles", "title")]),
        (["email", "name", "names"], []),
        (["email", "city", "note", "salutation", "family_name", "country_name"], []),
    ],
)
def test_a_column_that_looks_misspelt_is_told(header: list[str], meant: list[tuple[str, str]]) -> None:
    assert columns.misspelt(header) == meant
