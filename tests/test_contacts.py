"""Contact lists: every row is kept or rejected with its line, and no file at all ends in a traceback."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import contacts, lists
from outreach.errors import ContactsError, Exit, UsageError
from outreach.lists import ContactList
from outreach.model import CONTACT_COLUMNS, Contact
from outreach.shelf import Shelf

# No wall clock in tests; not more examples, since each reads files.
PROPERTY = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


def read(folder: Path, data: str | bytes, encoding: str | None = None) -> ContactList:
    path = folder / "list.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return contacts.read([path], encoding, keep_refused=True)


def refused(folder: Path, data: str | bytes, encoding: str | None = None) -> ContactsError:
    with pytest.raises(ContactsError) as caught:
        read(folder, data, encoding)
    assert caught.value.exit_code == Exit.DATA
    assert str(folder / "list.csv") in caught.value.message or encoding
    return caught.value


def lines(people: ContactList) -> list[tuple[str, int]]:
    return [(one.email, one.line) for one in people.contacts]


def problems(people: ContactList, severity: str) -> list[tuple[int, str]]:
    return [(one.line, one.column) for one in people.problems if one.severity == severity]


# Formats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "delimiter"),
    [
        ("email,name\nann@x.example,Ann Lee\n", ","),
        ("email,name\nann@x.example,Ann Lee", ","),
        ("email,name\r\nann@x.example,Ann Lee\r\n", ","),
        ("email,name\rann@x.example,Ann Lee\r", ","),
        ("\ufeffemail,name\nann@x.example,Ann Lee\n", ","),
        ('\ufeff"email","name"\nann@x.example,Ann Lee\n', ","),
        ("email;name\nann@x.example;Ann Lee\n", ";"),
        ("name;email\nAnn Lee;ann@x.example\n", ";"),
        ("email\tname\nann@x.example\tAnn Lee\n", "\t"),
        ('"email","name"\n"ann@x.example","Ann Lee"\n', ","),
        (" Email , NAME \nann@x.example, Ann  Lee \n", ","),
        ("E-Mail;Name\nann@x.example;Ann Lee\n", ";"),
        ("mail,name\nann@x.example,Ann Lee\n", ","),
        ("Email address,name\nann@x.example,Ann Lee\n", ","),
        ("\n\nemail,name\n\nann@x.example,Ann Lee\n", ","),
        (",,\nemail,name\nann@x.example,Ann Lee\n", ","),
    ],
)
def test_a_table_is_read_whatever_program_wrote_it(tmp_path: Path, data: str, delimiter: str) -> None:
    people = read(tmp_path, data)
    assert [(one.email, one.name) for one in people.contacts] == [("ann@x.example", "Ann Lee")]
    assert (people.rows, people.problems) == (1, [])
    assert (people.delimiter, people.encoding, people.format) == (delimiter, "utf-8", "csv")


def test_a_semicolon_in_a_header_does_not_make_it_a_semicolon_file(tmp_path: Path) -> None:
    people = read(tmp_path, "a;b;c,email\n1;2;3,ann@x.example\n")
    assert people.delimiter == ","
    assert people.contacts[0].fields == {"a_b_c": "1;2;3"}


@pytest.mark.parametrize(
    ("encoding", "given"),
    [
        ("utf-8", None),
        ("utf-8", "utf-8"),
        ("utf-8", "UTF_8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", None),
        ("utf-16", "utf-16"),
        ("cp1251", "cp1251"),
        ("koi8-r", "koi8-r"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, given: str | None) -> None:
    people = read(tmp_path, "email,name\nann@x.example,Анна\n".encode(encoding), given)
    assert people.contacts[0].name == "Анна"
    assert people.encoding == ("utf-8" if encoding.startswith("utf-8") else encoding)


# Lines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("email\na@x.example\nb@x.example\n", [2, 3]),
        ("\nemail\n\na@x.example\n\n\nb@x.example\n", [4, 7]),
        ('email,note\na@x.example,"one\ntwo"\nb@x.example,\n', [2, 4]),
        ('email,note\r\na@x.example,"one\r\ntwo\r\n"\r\nb@x.example,\r\n', [2, 5]),
        ('email,note\na@x.example,"one\n\n\nfive"\n\nb@x.example,"x\ny"\nc@x.example,', [2, 7, 9]),
        ('email,"no\nte"\na@x.example,\nb@x.example,\n', [3, 4]),
        ('note,email\n"x\ny",a@x.example\n"z",b@x.example\n', [2, 4]),
        ("email,note\ra@x.example,x\rb@x.example,y\r", [2, 3]),
    ],
)
def test_a_row_has_the_line_where_it_starts(tmp_path: Path, data: str, expected: list[int]) -> None:
    people = read(tmp_path, data)
    assert [one.line for one in people.contacts] == expected
    assert people.problems == []


def test_a_problem_right_after_a_quoted_newline_has_its_own_line(tmp_path: Path) -> None:
    people = read(tmp_path, 'email,name\na@x.example,"Ann\nLee"\nnobody,Bo\n"bad\n@",C\nb@x.example,D\n')
    assert lines(people) == [("a@x.example", 2), ("b@x.example", 7)]
    assert people.contacts[0].name == "Ann Lee"
    assert problems(people, "rejected") == [(4, "email"), (5, "email")]
    assert str(people.rejected[0]).startswith(f"{tmp_path / 'list.csv'}:4: rejected: email 'nobody': ")


def test_newlines_stay_in_free_fields_and_become_blanks_in_names(tmp_path: Path) -> None:
    (one,) = read(tmp_path, 'email,name,note\na@x.example,"Ann\r\nLee","one\r\ntwo\rthree"\n').contacts
    assert (one.name, one.fields["note"]) == ("Ann Lee", "one\ntwo\nthree")


# Rows --------------------------------------------------------------------------------------------


def test_one_mailbox_is_kept_once_where_it_stands_first(tmp_path: Path) -> None:
    people = read(
        tmp_path,
        "email,note\n"
        "ann@brücke.example,first\n"
        "ANN@brücke.example,first\n"
        "ann@xn--brcke-lva.example,first\n"
        "Ann@BRÜCKE.example,first\n"
        "ann+x@brücke.example,other\n"
        "u\u0308@x.example,decomposed\n"
        "ü@x.example,decomposed\n",
    )
    assert [one.fields["note"] for one in people.contacts] == ["first", "other", "decomposed"]
    assert [(one.line, one.problem) for one in people.rejected] == [
        (3, "same address as line 2; kept once"),
        (4, "same address as line 2; kept once"),
        (5, "same address as line 2; kept once"),
        (8, "same address as line 7; kept once"),
    ]
    assert people.rows == 7


def test_lists_are_merged_and_the_first_one_wins(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("email,city\na@x.example,Oslo\nb@x.example,Bonn\n")
    two.write_text("email;seat\nB@x.example;3\nc@x.example;4\nnobody;5\n")
    people = contacts.read([one, two])
    assert [(c.email, c.file, c.line, dict(c.fields)) for c in people.contacts] == [
        ("a@x.example", str(one), 2, {"city": "Oslo", "seat": ""}),
        ("b@x.example", str(one), 3, {"city": "Bonn", "seat": "3"}),  # what the first one leaves empty
        ("c@x.example", str(two), 3, {"city": "", "seat": "4"}),
    ]
    assert [(p.file, p.line) for p in people.rejected] == [(str(two), 2), (str(two), 4)]
    assert f"{one}:3" in people.rejected[0].problem
    assert (people.rows, people.columns) == (5, ("email", "city", "seat"))


@pytest.mark.parametrize(
    ("cell", "first", "others", "repaired"),
    [
        ("a@x.example; b@x.example", "a@x.example", ["b@x.example"], True),
        ("a@x.example,b@x.example c@x.example", "a@x.example", ["b@x.example", "c@x.example"], True),
        ("a@x.example\nb@x.example", "a@x.example", ["b@x.example"], True),
        ("n/a@@; a@x.example", "a@x.example", [], True),
        ("a@x.example; b@@x.example", "a@x.example", [], True),
        ("a@x.example", "a@x.example", [], False),
    ],
)
def test_of_several_addresses_the_first_good_one_gets_the_letter(
    tmp_path: Path, cell: str, first: str, others: list[str], repaired: bool
) -> None:
    people = read(tmp_path, f'email,name\n"{cell}",Ann\n')
    (one,) = people.contacts
    assert (one.email, list(one.alternates)) == (first, others)
    assert problems(people, "repaired") == ([(2, "email")] if repaired else [])
    assert people.count("repaired") == repaired


@pytest.mark.parametrize(
    "cell", ["", " ", "nobody", "n/a", "a@@x.example", "a@x", "x@@y; z@@y", "Ann <a@x>", "@"]
)
def test_a_row_without_a_usable_address_is_rejected(tmp_path: Path, cell: str) -> None:
    people = read(tmp_path, f'email,name\nb@x.example,Bo\n"{cell}",Ann\n')
    assert lines(people) == [("b@x.example", 2)]
    assert problems(people, "rejected") == [(3, "email")]
    assert people.rejected[0].problem


def test_ragged_rows(tmp_path: Path) -> None:
    people = read(
        tmp_path,
        "email,name,city\n"
        "a@x.example\n"  # short: the rest is empty
        "b@x.example,Bo,Bonn,,\n"  # long, but only by empty cells
        "c@x.example,Lee, Ann,Oslo\n"  # a comma without quotes: every cell would be wrong
        'd@x.example,"Lee, Ann",Oslo\n'
        "e@x.example,E\n",
    )
    assert [(c.email, c.name, c.fields["city"]) for c in people.contacts] == [
        ("a@x.example", "", ""),
        ("b@x.example", "Bo", "Bonn"),
        ("d@x.example", "Lee, Ann", "Oslo"),
        ("e@x.example", "E", ""),
    ]
    assert problems(people, "warning") == [(2, "name"), (5, "name"), (6, "city")]  # 5: Lee, Ann
    assert problems(people, "rejected") == [(4, "column 4")]
    assert "double quotes" in people.rejected[0].suggestion


@pytest.mark.parametrize(
    ("column", "cell", "read_as"),
    [
        ("language", "de", "de"),
        ("language", "PT_br", "pt-BR"),
        ("language", "zh-hant-tw", "zh-Hant-TW"),
        ("language", "martian", None),
        ("language", "xx", None),
        ("language", "-", ""),
        ("country", "DE", "DE"),
        ("country", "gb", "GB"),
        ("country", "UK", "GB"),
        ("country", "Germany", "DE"),
        ("country", "Allemagne", "DE"),
        ("country", "Россия", "RU"),
        ("country", "Ελλάδα", "GR"),
        ("country", "DEU", "DE"),
        ("country", "Atlantis", None),
        ("country", "XX", None),
        ("country", "ZZ", None),  # CLDR's "Unknown Region" is no country
        ("gender", "f", "f"),
        ("gender", "Female", "f"),
        ("gender", "Ms.", "f"),
        ("gender", "M", "m"),
        ("gender", "mr", "m"),
        ("gender", "organization", "organisation"),
        ("gender", "Group", "group"),
        ("gender", "unknown", ""),
        ("gender", "?", ""),
        ("gender", "d", ""),
        ("gender", "robot", None),
        ("language", "", ""),
        ("country", "", ""),
        ("gender", "", ""),
    ],
)
def test_languages_countries_and_genders_are_understood_or_warned_about(
    tmp_path: Path, column: str, cell: str, read_as: str | None
) -> None:
    people = read(tmp_path, f"email,{column}\na@x.example,{cell}\n")
    assert getattr(people.contacts[0], column) == (read_as or "")
    expected = [(2, column)] if read_as is None else []
    assert problems(people, "warning") == expected
    if expected:
        assert cell in str(people.problems[0])
        assert f"unknown {column}" in people.problems[0].problem


def test_an_audience_is_lower_case_with_hyphens(tmp_path: Path) -> None:
    people = read(tmp_path, "email,audience\na@x.example, Human  Rights \nb@x.example,PARTY\n")
    assert [one.audience for one in people.contacts] == ["human-rights", "party"]


def test_a_reader_may_have_two_languages(tmp_path: Path) -> None:
    people = read(tmp_path, "email,language\na@x.example,FR + nl\nb@x.example,fr+nl+de\nc@x.example,fr+xx\n")
    assert [one.language for one in people.contacts] == ["fr+nl", "", ""]
    assert problems(people, "warning") == [(3, "language"), (4, "language")]


def test_a_name_in_two_columns_is_put_together_and_one_that_is_there_stays(tmp_path: Path) -> None:
    people = read(
        tmp_path,
        "email,name,First name,Surname\n"
        "a@x.example,,Ann,Lee\nb@x.example,Dr Bo Li,Bo,Li\nc@x.example,,,Lee\n",
    )
    assert [one.name for one in people.contacts] == ["Ann Lee", "Dr Bo Li", "Lee"]
    assert people.contacts[0].fields == {"first_name": "Ann", "surname": "Lee"}


def test_what_turns_text_around_is_taken_out_and_said(tmp_path: Path) -> None:
    people = read(tmp_path, "email,name\na@x.example,\u202eAnn\u2066\n")
    assert people.contacts[0].name == "Ann"
    assert problems(people, "repaired") == [(2, "name")]


def test_any_other_column_is_a_field_by_its_header(tmp_path: Path) -> None:
    (one,) = read(tmp_path, "email,First name,Größe (cm),x--y,\na@x.example,Ann,1,2,3\n").contacts
    assert one.fields == {"first_name": "Ann", "größe_cm": "1", "x_y": "2", "column_5": "3"}


def test_columns_that_the_program_sets_itself_are_warned_about(tmp_path: Path) -> None:
    people = read(tmp_path, "email,today,sender,country_name,salutation\na@x.example,1,2,3,Hi\n")
    assert problems(people, "warning") == [(1, "today"), (1, "sender"), (1, "country_name")]


def test_a_column_that_looks_misspelt_is_warned_about(tmp_path: Path) -> None:
    people = read(tmp_path, "email,audiance,langauge,titles,name,names\na@x.example,party,de,Dr,A,B\n")
    assert problems(people, "warning") == [(1, "audiance"), (1, "langauge"), (1, "titles")]
    assert "is audience meant?" in people.problems[0].problem
    assert people.contacts[0].fields["audiance"] == "party"


def test_control_characters_are_taken_out_and_said(tmp_path: Path) -> None:
    people = read(
        tmp_path,
        "email,name,note\n"
        "a@x.example,A\x07nn,x\x1by\n"
        "b@x.example,Bo,one\ttwo\n"
        "c\x01@x.example,C,\n"
        "d@x.example,\x02,\x7f\x80\n",
    )
    assert [(c.email, c.name, c.fields["note"]) for c in people.contacts] == [
        ("a@x.example", "Ann", "xy"),
        ("b@x.example", "Bo", "one\ttwo"),
        ("c@x.example", "C", ""),
        ("d@x.example", "", ""),
    ]
    assert problems(people, "repaired") == [(2, "name"), (2, "note"), (4, "email"), (5, "name"), (5, "note")]
    assert people.count("repaired") == 3


def test_a_field_is_data_whatever_it_looks_like(tmp_path: Path) -> None:
    (one,) = read(tmp_path, 'email,name\na@x.example,"{{ 7*7 }} {% raw %} <b> ""q"" =1+1"\n').contacts
    assert one.name == '{{ 7*7 }} {% raw %} <b> "q" =1+1'


# Repairs reach the contact ------------------------------------------------------------------------


def test_the_name_around_an_address_is_used_where_the_row_has_none(tmp_path: Path) -> None:
    people = read(
        tmp_path,
        "email;name;surname\n"
        "Ann Lee <a@x.example>;;\n"
        "Ann Lee <b@x.example>;Annie;\n"
        "Ann Lee <c@x.example>;;Ray\n"
        "please write to d@x.example;;\n",
    )
    assert [(one.email, one.name) for one in people.contacts] == [
        ("a@x.example", "Ann Lee"),
        ("b@x.example", "Annie"),
        ("c@x.example", "Ray"),
        ("d@x.example", ""),
    ]
    assert problems(people, "repaired") == [(line, "email") for line in (2, 3, 4, 5)]
    assert people.count("repaired") == 4


def test_where_the_address_is_unusable_one_of_another_column_is_used_and_told(tmp_path: Path) -> None:
    people = read(
        tmp_path, "email,E-Mail 2,E-Mail 3\nn/a,,b@x.example\na@x.example,nobody,c@x.example\n,x,\n"
    )
    assert [(one.email, one.alternates) for one in people.contacts] == [
        ("b@x.example", ()),
        ("a@x.example", ("c@x.example",)),
    ]
    assert problems(people, "repaired") == [(2, "email")]
    assert "b@x.example of another column" in people.problems[0].problem
    assert problems(people, "warning") == [(3, "E-Mail 2"), (4, "E-Mail 2")]
    assert problems(people, "rejected") == [(4, "email")]


def test_a_further_address_is_kept_once(tmp_path: Path) -> None:
    people = read(tmp_path, "email,mail\na@x.example; b@x.example,A@X.example; B@x.example; c@x.example\n")
    assert people.contacts[0].alternates == ("B@x.example", "c@x.example")


def test_what_says_who_is_greeted_is_a_gender_and_no_title(tmp_path: Path) -> None:
    people = read(
        tmp_path,
        "email,title,salutation,gender\n"
        "a@x.example,Mrs,,\n"
        "b@x.example,Dr,,f\n"
        "c@x.example,,Herr,\n"
        "d@x.example,Frau,,m\n"
        "e@x.example,,Dear friend,\n",
    )
    assert [(one.title, one.fields["salutation"], one.gender) for one in people.contacts] == [
        ("", "", "f"),
        ("Dr", "", "f"),
        ("", "", "m"),
        ("", "", "m"),  # the column of that name is asked first
        ("", "Dear friend", ""),
    ]


@pytest.mark.parametrize("cell", ["-", "–", "?", "n/a", "N/A", "NULL", "#N/A", "#REF!", "nan"])
def test_what_stands_for_nothing_is_nothing_but_in_a_column_of_the_lists_own(
    tmp_path: Path, cell: str
) -> None:
    columns = "name,country,organisation,given name,note"
    people = read(tmp_path, f"email,{columns}\na@x.example,{','.join([cell] * 5)}\n")
    (one,) = people.contacts
    assert (one.name, one.country, one.organisation) == ("", "", "")
    assert one.fields == {"given_name": "", "note": cell}
    assert people.problems == []


def test_the_header_once_more_is_no_row(tmp_path: Path) -> None:
    people = read(tmp_path, "email,name\na@x.example,Ann\n email,name \nb@x.example,Bo\nemail,Bo\n")
    assert lines(people) == [("a@x.example", 2), ("b@x.example", 4)]
    assert problems(people, "warning") == [(3, "email")]
    assert problems(people, "rejected") == [(5, "email")]
    assert people.rows == 3


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MÃ¼ller", "Müller?"),
        ("Ð\u0090Ð½Ð½Ð°", "Анна?"),
        ("РњСЋР»Р»РµСЂ", "Мюллер?"),
        ("Mñoz", None),
        ("Ñandú", None),
        ("Роман Сидоров", None),
    ],
)
def test_a_name_that_was_read_in_a_wrong_encoding_once_is_pointed_out(
    tmp_path: Path, name: str, meant: str | None
) -> None:
    people = read(tmp_path, f"email,name\na@x.example,{name}\n")
    found = [one.suggestion for one in people.problems if "wrong encoding" in one.problem]
    assert found == ([meant] if meant else [])


def test_a_guessed_encoding_is_shown_with_a_sample(tmp_path: Path) -> None:
    names = ["Анна Ковалёва", "Борис Жуков", "Вера Щербакова", "Глеб Ильин", "Егор Цветков"]
    rows = "".join(f"a{n}@x.example,{name}\n" for n, name in enumerate(names))
    people = read(tmp_path, f"email,name\n{rows}".encode("koi8-r"))
    assert [one.name for one in people.contacts] == names
    (remark,) = people.remarks
    assert (people.encoding, remark.line) == ("koi8-r", 2)
    assert "a guess: Анна, Ковалёва, Борис" in remark.problem
    assert "--encoding" in remark.suggestion


def test_a_short_list_in_another_encoding_is_asked_for_with_the_command(tmp_path: Path) -> None:
    error = refused(tmp_path, "email,name\na@x.example,Jürgen\n".encode("cp1252"))
    assert error.message.startswith(f"{tmp_path / 'list.csv'}:2: is not UTF-8")
    assert "cp1252: Jürgen" in error.message
    assert f"outreach contacts clean {tmp_path / 'list.csv'} --encoding " in error.hint


# Countries and languages by name ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("de", "DE"),
        ("DEU", "DE"),
        ("Deutschland", "DE"),
        ("Германия", "DE"),
        ("Almanya", "DE"),
        ("ألمانيا", "DE"),
        ("Γερμανία", "DE"),
        ("Niemcy", "DE"),
        ("德国", "DE"),
        ("ドイツ", "DE"),
        ("germany ", "DE"),
        ("Cote d'Ivoire", "CI"),
        ("Côte d’Ivoire", "CI"),
        ("Россия", "RU"),
        ("РФ", "RU"),
        ("UK", "GB"),
        ("U.S.A.", "US"),
        ("Holland", "NL"),
        ("Türkiye", "TR"),
        ("Kosovo", "XK"),
        ("Kurdistan", None),
        ("Europe", None),
        ("EU", None),
        ("D", None),
    ],
)
def test_a_country_is_known_by_code_and_by_its_name_in_many_languages(
    tmp_path: Path, cell: str, code: str | None
) -> None:
    people = read(tmp_path, f'email,country\na@x.example,"{cell}"\n')
    assert people.contacts[0].country == (code or "")
    assert problems(people, "warning") == ([] if code else [(2, "country")])


@pytest.mark.parametrize(
    ("cell", "tag"),
    [
        ("ru", "ru"),
        ("rus", "ru"),
        ("RU", "ru"),
        ("Russian", "ru"),
        ("Русский", "ru"),
        ("русский", "ru"),
        ("Russisch", "ru"),
        ("russe", "ru"),
        ("Rusça", "ru"),
        ("ロシア語", "ru"),
        ("pt_BR", "pt-BR"),
        ("Castellano", "es"),
        ("English", "en"),
        ("Französisch + Nederlands", "fr+nl"),
        ("fr+fr", "fr"),
        ("Elvish", None),
        ("de+fr+nl", None),
    ],
)
def test_a_language_is_known_by_code_and_by_its_name_in_many_languages(
    tmp_path: Path, cell: str, tag: str | None
) -> None:
    people = read(tmp_path, f"email,language\na@x.example,{cell}\n")
    assert people.contacts[0].language == (tag or "")
    assert problems(people, "warning") == ([] if tag else [(2, "language")])


# --map and --set ----------------------------------------------------------------------------------


def options(folder: Path, data: str, maps: dict[str, str], sets: dict[str, str]) -> ContactList:
    path = folder / "list.csv"
    path.write_text(data, encoding="utf-8")
    return contacts.read([path], None, maps, sets)


def test_set_fills_only_what_a_row_leaves_empty(tmp_path: Path) -> None:
    people = options(
        tmp_path,
        "email,country,gender,name\na@x.example,,,Ann\nb@x.example,FR,m,Bo\nc@x.example,Atlantis,?,\n",
        {},
        {
            "country": "Deutschland",
            "gender": "Frau",
            "audience": "Human Rights",
            "city": "Bonn",
            "name": "Friend",
        },
    )
    assert [(one.country, one.gender, one.name) for one in people.contacts] == [
        ("DE", "f", "Ann"),
        ("FR", "m", "Bo"),
        ("DE", "f", "Friend"),
    ]
    assert {(one.audience, one.fields["city"]) for one in people.contacts} == {("human-rights", "Bonn")}
    assert problems(people, "warning") == [(4, "country")], "a word that nobody knows is told all the same"
    assert people.columns == ("email", "country", "gender", "name", "audience", "city")


@pytest.mark.parametrize(
    "sets", [{"country": "Atlantis"}, {"language": "Elvish"}, {"language": "de+fr+nl"}, {"gender": "robot"}]
)
def test_a_word_in_set_that_nobody_knows_is_refused(tmp_path: Path, sets: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="there is no such") as caught:
        options(tmp_path, "email\na@x.example\n", {}, sets)
    assert caught.value.exit_code == Exit.USAGE
    assert caught.value.hint


def test_map_names_a_column_by_header_or_number(tmp_path: Path) -> None:
    for where in ("Wer", "1"):
        people = options(tmp_path, "Wer,Kontakt\nAnn,a@x.example\n", {"name": where, "email": "kontakt"}, {})
        assert [(one.email, one.name) for one in people.contacts] == [("a@x.example", "Ann")]
    with pytest.raises(UsageError) as caught:
        options(tmp_path, "Wer,Kontakt\nAnn,a@x.example\n", {"name": "Wehr"}, {})
    assert (caught.value.exit_code, caught.value.hint) == (Exit.USAGE, "did you mean Wer?")


def test_the_command_checks_with_map_and_set_and_ends_by_what_it_found(project: Project) -> None:
    project.write("list.csv", "Wer;Wo\nAnn;a@x.example\n")
    found = project.json(
        "contacts", "check", "list.csv", "--map", "name=1", "--set", "country=Schweiz", "--json"
    )
    assert [(one["name"], one["country"]) for one in found["contacts"]] == [("Ann", "CH")]
    assert (found["rows"], found["kept"], found["joined"], found["rejected"]) == (1, 1, 0, 0)
    project.write("list.csv", "email;name\nnobody;Ann\n")
    assert project.json("contacts", "check", "list.csv", "--json", code=Exit.SOME_FAILED)["rejected"] == 1
    project.run("contacts", "check", "list.csv", "--set", "country=Atlantis", code=Exit.USAGE)
    project.run("contacts", "check", "list.csv", "--map", "name=nmae", code=Exit.USAGE)


# The list ------------------------------------------------------------------------------------------


def test_contacts_and_problems_are_sequences_that_come_out_equal(tmp_path: Path) -> None:
    rows = "".join(f"a{n}@x.example,Person {n},{'DE' if n % 2 else 'Atlantis'}\n" for n in range(600))
    people = read(tmp_path, f"email,name,country\n{rows}")
    assert isinstance(people.contacts, Shelf)
    assert isinstance(people.problems, Shelf)
    assert (len(people.contacts), people.count("warning")) == (600, 300)
    assert people.contacts[599].name == "Person 599"
    assert people.contacts[300:302] == [people.contacts[300], people.contacts[301]]
    assert people.contacts == read(tmp_path, f"email,name,country\n{rows}").contacts
    assert people.problems[-1].line == 600


def test_who_shares_an_inbox_is_in_the_document(tmp_path: Path) -> None:
    people = read(tmp_path, "email,name,gender\ndesk@x.example,Ann Lee,f\ndesk@x.example,Bo Ray,m\n")
    (one,) = document(people)["contacts"]
    assert (one["name"], one["gender"]) == ("Ann Lee, Bo Ray", "group")
    assert one["people"] == [
        {"line": 2, "name": "Ann Lee", "gender": "f", "title": ""},
        {"line": 3, "name": "Bo Ray", "gender": "m", "title": ""},
    ]


# Whole files that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "called"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG image"),
        (b"GIF89a\x01\0", "GIF image"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"BEGIN:VCARD\r\n", "vCard"),
        (b"<!doctype html><table>", "HTML"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "XML"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "binary"),
    ],
)
def test_what_is_no_table_is_called_what_it_is(tmp_path: Path, data: bytes, called: str) -> None:
    error = refused(tmp_path, data)
    assert called in error.message
    assert "CSV" in error.hint


@pytest.mark.parametrize(
    "data",
    [
        "",
        "\n\n",
        "\ufeff",
        "\ufeff\r\n",
        " \t,;\n",
        b"\xff\xfe",
        '""\n',
        '"",""\n\n',
        "\xa0\n",
        "\v\n",
        ',"\n"\n',
    ],
)
def test_an_empty_file_is_called_empty(tmp_path: Path, data: str | bytes) -> None:
    error = refused(tmp_path, data)
    assert "is empty" in error.message
    assert "email,name" in error.hint


@pytest.mark.parametrize("data", ["email\n", "email,name", "email,name\n\n ,\n", '"email"\r\n'])
def test_a_file_with_only_a_header_has_no_rows(tmp_path: Path, data: str) -> None:
    people = read(tmp_path, data)
    assert (people.rows, people.contacts, people.problems) == (0, [], [])


@pytest.mark.parametrize(
    ("data", "encoding", "line"),
    [
        (b"email,name\na@x.example,J\xfcrgen\n", None, 2),
        (b"email,name\na@x.example,Ann\nb@x.example,J\xfcrgen\n", None, 3),
        (b"email,name\r\na@x.example,Ann\r\nb@x.example,J\xfcrgen\r\n", None, 3),
        (b"email,n\xe4me\n", None, 1),
        (b"email,name\n" + b"a@x.example,Ann\n" * 5000 + b"b@x.example,J\xfcrgen\nc,\xfc", None, 5002),
        (b'email,note\na@x.example,"x\ny\n\xfc"\n', None, 4),
        ("email,name\na@x.example,J\ufffdrgen\n".encode() + b"b@x.example,J\xfcrgen\n", None, 3),
        (b"email,name\na@x.example,Ann\n\xc3", None, 3),  # cut off inside a letter
        (b"email,name\na@x.example,\x98\n", "cp1251", 2),
        (b"email,name\ra@x.example,Ann\rb@x.example,\xfc\r", None, 3),
        ("email,name\na@x.example,Ann\nb@x".encode("utf-16") + b"\x00", None, 3),
        ("email,name\na@x.example,Ann\nb@x.example,".encode("utf-16") + b"\x00\xd8x\0\n\0", None, 3),
    ],
)
def test_a_wrong_encoding_is_refused_with_the_line_of_its_first_wrong_byte(
    tmp_path: Path, data: bytes, encoding: str | None, line: int
) -> None:
    error = refused(tmp_path, data, encoding)
    assert error.message.startswith(f"{tmp_path / 'list.csv'}:{line}: is not ")
    assert "--encoding" in error.hint


@pytest.mark.parametrize("encoding", ["nope", "rot13", "base64", "hex"])
def test_an_unknown_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    assert repr(encoding) in refused(tmp_path, "email\na@x.example\n", encoding).message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1251", "idna", "punycode", "undefined", "ascii"])
def test_no_encoding_makes_a_traceback(tmp_path: Path, encoding: str) -> None:
    """UTF-16 without a byte order mark, say, which is what --encoding utf-16 is tried for."""
    try:
        read(tmp_path, "email,name\na@x.example,Анна\n", encoding)
    except ContactsError as error:
        assert error.hint


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ('email,name\na@x.example,"Ann\nb@x.example,Bo\n', 2),
        ('email,name\na@x.example,Ann\nb@x.example,"Bo', 3),
        ('email,name\na@x.example,"Ann" Lee\n', 2),
        ('email,note\na@x.example,"x\ny"\nb@x.example,"Bo\n', 4),
        ('"email,name\na@x.example,Ann\n', 1),
    ],
)
def test_an_unclosed_quote_is_refused_with_the_line_where_its_row_starts(
    tmp_path: Path, data: str, line: int
) -> None:
    error = refused(tmp_path, data)
    assert error.message.startswith(f"{tmp_path / 'list.csv'}:{line}: is no readable CSV")
    assert "double quotes" in error.hint


def test_a_table_without_an_email_column_says_what_it_found(tmp_path: Path) -> None:
    error = refused(tmp_path, "\nname, city\nAnn,Oslo\n")
    assert error.message.startswith(f"{tmp_path / 'list.csv'}:2: no column is named email")
    assert "found: name, city" in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("email,name,name", ("email", "name", "name_2")),
        ("email,name,NAME ", ("email", "name", "name_2")),
        ("email,x y,x_y", ("email", "x_y", "x_y_2")),
        ("email,organisation,org", ("email", "organisation", "org")),
        ("email,org,organisation", ("email", "org", "organisation")),
    ],
)
def test_a_second_column_for_one_field_is_kept_under_another_name_and_said(
    tmp_path: Path, header: str, columns: tuple[str, ...]
) -> None:
    people = read(tmp_path, f"{header}\na@x.example,1,2\n")
    assert people.columns == columns
    assert [line for line, _ in problems(people, "warning")] == [1]


@pytest.mark.parametrize("header", ["email,e-mail", "email,mail", "E-Mail,E-Mail 2", "courriel,email_2"])
def test_a_second_column_of_addresses_has_further_ones(tmp_path: Path, header: str) -> None:
    people = read(tmp_path, f"{header}\na@x.example,b@x.example\n")
    assert [(one.email, one.alternates) for one in people.contacts] == [("a@x.example", ("b@x.example",))]
    assert people.problems == []


def test_a_missing_file_and_a_folder_are_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ContactsError, match=r"there is no contact list .*nowhere\.csv") as caught:
        contacts.read([tmp_path / "nowhere.csv"])
    assert "--contacts" in caught.value.hint
    with pytest.raises(ContactsError, match="is a folder"):
        contacts.read([tmp_path])


def document(people: ContactList) -> dict[str, Any]:
    """Return what scripts read."""
    members = lists.as_json(people)
    return {name: list(value) if isinstance(value, Iterator) else value for name, value in members}


# Any file at all ---------------------------------------------------------------------------------


def checked(people: ContactList) -> None:
    """What holds for every list: nobody vanishes, everybody kept can be written to."""
    assert people.rows == len(people.contacts) + people.joined + people.count("rejected")
    assert len(people.refused) == len(people.rejected) == people.count("rejected")
    assert len({(one.file, one.line) for one in people.rejected}) == len(people.rejected)
    assert {one.severity for one in people.problems} <= {"rejected", "repaired", "warning"}
    for one in people.contacts:
        assert "@" in one.email
        assert not any(ord(char) < 32 for column in CONTACT_COLUMNS for char in getattr(one, column))
        assert set(one.fields) == set(people.columns) - set(CONTACT_COLUMNS)
    found = document(people)
    assert found["kept"] + found["joined"] + found["rejected"] == found["rows"]


_CELLS = st.one_of(
    st.sampled_from(
        ["", " ", "ann@x.example", "Ann@X.example", "b@brücke.example", "c@x.example; d@x.example", "nobody"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.text("\n\r\",;\t'a@.", max_size=6),
)
_HEADERS = st.lists(
    st.sampled_from(["name", "country", "language", "gender", "audience", "note", "x y", "today"]),
    unique=True,
    min_size=1,
    max_size=4,
)


@PROPERTY
@given(_HEADERS, st.lists(st.lists(_CELLS, max_size=6), max_size=8), st.sampled_from(",;\t"))
def test_every_row_of_every_csv_is_kept_or_rejected(
    header: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["email", *header])
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        people = read(Path(folder), text.getvalue().encode())
    checked(people)
    assert people.rows == sum(any(cell.strip() for cell in row) for row in rows)


@PROPERTY
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=100).map(lambda data: b"email,name\n" + data),
        st.binary(max_size=100).map(lambda data: b"\xff\xfee\0m\0a\0i\0l\0\n\0" + data),
        st.text("email,;\t\n\r\"'@. \xa0\v\u2028x", max_size=60).map(str.encode),
    ),
    st.sampled_from([None, None, None, "utf-8", "utf-16", "cp1252", "shift_jis"]),
)
def test_random_bytes_are_read_or_refused_never_a_traceback(data: bytes, encoding: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            people = read(Path(folder), data, encoding)
        except ContactsError as error:
            assert error.message
            return
    checked(people)


def test_the_json_document_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    people = read(tmp_path, "email,name,city\na@x.example; b@x.example,Ann,Oslo\nnobody,Bo,Bonn\n")
    assert document(people) == {
        "file": str(tmp_path / "list.csv"),
        "format": "csv",
        "encoding": "utf-8",
        "delimiter": ",",
        "rows": 2,
        "kept": 1,
        "joined": 0,
        "repaired": 1,
        "rejected": 1,
        "contacts": [
            {
                "line": 2,
                "email": "a@x.example",
                "alternates": ["b@x.example"],
                "name": "Ann",
                "audience": "",
                "organisation": "",
                "country": "",
                "language": "",
                "gender": "",
                "title": "",
                "fields": {"city": "Oslo"},
            }
        ],
        "problems": [
            {
                "file": str(tmp_path / "list.csv"),
                "line": 2,
                "column": "email",
                "value": "a@x.example; b@x.example",
                "severity": "repaired",
                "problem": "several addresses; a@x.example gets the letter, kept: b@x.example",
                "suggestion": "",
                "cell": "",
            },
            {
                "file": str(tmp_path / "list.csv"),
                "line": 3,
                "column": "email",
                "value": "nobody",
                "severity": "rejected",
                "problem": "An email address must have an @-sign",
                "suggestion": "",
                "cell": "",
            },
        ],
    }


# The shipped example -----------------------------------------------------------------------------


def example() -> ContactList:
    return contacts.read([Path(__file__).parent.parent / "contacts.example.csv"])


def test_the_example_list_has_64_rows_and_60_kept() -> None:
    people = example()
    assert (people.rows, len(people.contacts), len(people.rejected)) == (64, 60, 4)
    assert {one.line for one in people.rejected} == {35, 49, 58, 65}
    assert problems(people, "warning") == []


def test_the_example_list_reaches_twenty_countries_and_three_audiences() -> None:
    people = example()
    assert len({one.country for one in people.contacts if one.country}) >= 20
    assert {one.audience for one in people.contacts} == {"party", "deputy", "human-rights"}


def test_the_example_list_has_only_addresses_that_cannot_exist() -> None:
    def reserved(one: Contact) -> bool:
        return all(mail.endswith((".example", ".example.org")) for mail in (one.email, *one.alternates))

    assert [one.email for one in example().contacts if not reserved(one)] == []
