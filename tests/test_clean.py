"""A list written out again: repaired, safe in a spreadsheet, and the same when it is cleaned once more."""

from __future__ import annotations

import csv
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import xlsxwriter
from conftest import Project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import clean, columns, contacts, tables
from outreach.errors import Exit, UsageError
from outreach.model import Contact

# No wall clock in tests; not more examples, since each reads files.
PROPERTY = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".xlsx"])

PARTNER = """\
Our partners;;;;;;
Courriel;Nom;Prénom;Pays;Civilité;Langue;Note
Ann Lee <ann@party.example>;;;Allemagne;Mme;allemand;"=1+1"
bo@party.example, bo@home.example;Ray;Bo;FR;M.;fr + nl;"two
lines"
nobody;Coe;Cy;;;;call them
mailto:dee@party.example;Fox;Dee;Atlantis;;;+49 30 1234
desk@party.example;Gil;Eve;GB;;;
desk@party.example;Hay;Flo;;;;-
ann@party.example;Lee;Ann;;;de;@home
+list@party.example;;;;;;-5
"""


def written(folder: Path, text: str | bytes, suffix: str = ".csv", **options: Mapping[str, str]) -> Path:
    """Clean a list; return the clean file."""
    source = folder / "list.csv"
    source.write_bytes(text.encode() if isinstance(text, str) else text)
    target = folder / f"clean{suffix}"
    clean.write(contacts.read([source], None, **options), target)
    return target


def rows(path: Path) -> list[list[str]]:
    """Return the cells of a file that we wrote."""
    (found,) = ([cells for _, cells in one.records] for one in tables.read(path, None, columns.score))
    return found


def same(one: Contact) -> Contact:
    """Return a contact without where it comes from."""
    return replace(one, line=0, file="", fields={**one.fields}, people=tuple(map(same, one.people)))


# The clean list ----------------------------------------------------------------------------------


@SUFFIXES
def test_a_clean_list_has_the_codes_the_repairs_and_everybody_who_is_kept(
    tmp_path: Path, suffix: str
) -> None:
    head, *people = rows(written(tmp_path, PARTNER, suffix))
    assert head == [
        "email",
        "alternates",
        "family_name",
        "given_name",
        "country",
        "gender",
        "language",
        "note",
    ]
    width = len(head)
    mark = "'" if suffix == ".csv" else ""
    assert [row + [""] * (width - len(row)) for row in people] == [
        ["ann@party.example", "", "Lee", "Ann", "DE", "f", "de", f"{mark}=1+1"],
        ["bo@party.example", "bo@home.example", "Ray", "Bo", "FR", "m", "fr+nl", "two\nlines"],
        ["dee@party.example", "", "Fox", "Dee", "", "", "", "+49 30 1234"],
        ["desk@party.example", "", "Gil", "Eve", "GB", "", "", ""],
        ["desk@party.example", "", "Hay", "Flo", "", "", "", f"{mark}-"],
        [f"{mark}+list@party.example", "", "", "", "", "", "", "-5"],
    ]


@SUFFIXES
def test_the_people_of_a_clean_list_are_those_of_the_list(tmp_path: Path, suffix: str) -> None:
    before = contacts.read([_list(tmp_path, PARTNER)])
    after = contacts.read([written(tmp_path, PARTNER, suffix)])
    assert [same(one) for one in after.contacts] == [same(one) for one in before.contacts]
    assert (after.joined, after.rejected, after.count("repaired")) == (before.joined, [], 0)
    (shared,) = after.problems
    assert shared.problem.endswith("; one letter greets Eve Gil, Flo Hay")


@SUFFIXES
def test_cleaning_a_clean_list_changes_no_byte(tmp_path: Path, suffix: str) -> None:
    once = written(tmp_path, PARTNER, suffix)
    data = once.read_bytes()
    twice = tmp_path / f"twice{suffix}"
    clean.write(contacts.read([once]), twice)
    assert twice.read_bytes() == data


def test_a_clean_list_is_the_same_file_whenever_it_is_written(tmp_path: Path) -> None:
    assert (
        written(tmp_path, PARTNER, ".xlsx").read_bytes() == written(tmp_path, PARTNER, ".xlsx").read_bytes()
    )


def test_csv_is_utf_8_that_excel_knows(tmp_path: Path) -> None:
    data = written(tmp_path, "email,name\na@x.example,Ærø\n").read_bytes()
    assert data == "\ufeffemail,name\r\na@x.example,Ærø\r\n".encode()


def test_a_name_found_around_an_address_is_not_lost_beside_columns_of_its_parts(tmp_path: Path) -> None:
    clean_list = written(tmp_path, "email,surname\nAnn Lee <a@x.example>,\nb@x.example,Ray\n")
    assert rows(clean_list) == [
        ["email", "surname", "name"],
        ["a@x.example", "", "Ann Lee"],
        ["b@x.example", "Ray", "Ray"],
    ]


@SUFFIXES
def test_an_empty_column_stays_where_another_one_would_be_taken_for_it(tmp_path: Path, suffix: str) -> None:
    once = written(tmp_path, "email,Partei,Fraktion\na@x.example,,Rote Brücke\n", suffix)
    assert rows(once) == [["email", "organisation", "fraktion"], ["a@x.example", "", "Rote Brücke"]]
    twice = tmp_path / f"twice{suffix}"
    clean.write(contacts.read([once]), twice)
    assert twice.read_bytes() == once.read_bytes()


def test_a_header_that_is_known_only_when_it_is_made_short_stays_unknown(tmp_path: Path) -> None:
    once = written(tmp_path, f"email,contact {'<' * 90} email\na@x.example,\n")
    assert rows(once) == [["email", "column_2"], ["a@x.example", ""]]


def test_what_a_column_of_names_holds_is_asked_of_the_first_list_only(tmp_path: Path) -> None:
    text = "email,nom,nom de famille\na@x.example,Zoé Arbo,Arbo\nb,Bo,Lind\nc,Cy,Rae\n"
    once = written(tmp_path, text)
    assert rows(once)[0] == ["email", "family_name", "nom_de_famille"]
    twice = tmp_path / "twice.csv"
    clean.write(contacts.read([once]), twice)
    assert twice.read_bytes() == once.read_bytes()


def test_a_full_name_is_not_taken_for_a_part_when_other_rows_are_gone(tmp_path: Path) -> None:
    text = "email,first_name,name\na@x.example,Bo,Ray\nb,Ann,Ann Lee\nc,Cy,Cy Rae\n"
    once = written(tmp_path, text)
    assert rows(once) == [["email", "first_name", "name", "family_name"], ["a@x.example", "Bo", "Ray", ""]]
    twice = tmp_path / "twice.csv"
    clean.write(contacts.read([once]), twice)
    assert twice.read_bytes() == once.read_bytes()
    kept = written(tmp_path, "email,first_name,name\nb@x.example,Ann,Ann Lee\n")
    assert rows(kept)[0] == ["email", "first_name", "name"]


def test_a_column_that_map_set_aside_stays_a_column_of_the_lists_own(tmp_path: Path) -> None:
    text = "email,private,name\na@x.example,b@x.example,Ann\n"
    clean_list = written(tmp_path, text, maps={"email": "private"}, sets={"country": "DE"})
    assert rows(clean_list) == [
        ["column_1", "email", "name", "country"],
        ["a@x.example", "b@x.example", "Ann", "DE"],
    ]
    assert contacts.read([clean_list]).contacts[0].alternates == ()


# Formulas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("@SUM(1)", "'@SUM(1)"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("-", "'-"),
        ("+49 (0)30 12-34/5", "+49 (0)30 12-34/5"),
        ("-12.5", "-12.5"),
        ("a=1", "a=1"),
        ("'quoted'", "'quoted'"),
        ("1-2", "1-2"),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run_is_disarmed_and_read_back(
    tmp_path: Path, value: str, cell: str
) -> None:
    target = written(tmp_path, f'email,note\na@x.example,"{value}"\n')
    assert rows(target)[1][1] == cell
    assert contacts.read([target]).contacts[0].fields == {"note": value}


@pytest.mark.parametrize("mail", ["+a@x.example", "-a@x.example", "=a@x.example"])
def test_an_address_that_looks_like_a_formula_is_read_back_without_a_word(tmp_path: Path, mail: str) -> None:
    target = written(tmp_path, f"email,alternates\n{mail},{mail[0]}b@x.example\n")
    assert rows(target)[1] == [f"'{mail}", f"'{mail[0]}b@x.example"]
    people = contacts.read([target])
    assert [(one.email, one.alternates) for one in people.contacts] == [(mail, (f"{mail[0]}b@x.example",))]
    assert people.problems == []


def test_in_a_sheet_every_cell_is_text(tmp_path: Path) -> None:
    target = written(tmp_path, "email,note,phone\na@x.example,=1+1,0049\n", ".xlsx")
    assert rows(target)[1] == ["a@x.example", "=1+1", "0049"]


def test_a_workbook_that_would_take_all_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "email,name\na@x.example,Ann\nb@x.example,Bo\n"
    for limit, most in (("_MOST_CELLS", 4), ("_MOST_TEXT", 27)):
        monkeypatch.setattr(clean, limit, most)
        written(tmp_path, text, ".xlsx")
        monkeypatch.setattr(clean, limit, most - 1)
        with pytest.raises(UsageError, match="more than a spreadsheet can hold"):
            written(tmp_path, text, ".xlsx")
        monkeypatch.undo()


def test_what_a_sheet_cannot_hold_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than a spreadsheet can hold") as caught:
        written(tmp_path, f"email,note\na@x.example,{'x' * 32_768}\n", ".xlsx")
    assert ".csv" in caught.value.hint
    assert not (tmp_path / "clean.xlsx").exists()


# Rejects -----------------------------------------------------------------------------------------


def test_the_rejected_rows_are_as_the_file_has_them_with_line_cell_and_problem(tmp_path: Path) -> None:
    source = _list(tmp_path, PARTNER)
    target = tmp_path / "rejects.csv"
    clean.write_rejects(contacts.read([source], keep_refused=True), target)
    with target.open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        ["Courriel", "Nom", "Prénom", "Pays", "Civilité", "Langue", "Note", "line", "cell", "problem"],
        ["nobody", "Coe", "Cy", "", "", "", "call them", "6", "A6", "An email address must have an @-sign"],
        [
            "ann@party.example",
            "Lee",
            "Ann",
            "",
            "",
            "de",
            "'@home",
            "10",
            "A10",
            "same address as line 3; kept once",
        ],
    ]


def test_a_row_that_is_too_long_is_rejected_as_a_whole(tmp_path: Path) -> None:
    source = _list(tmp_path, "email,city\na@x.example,Oslo,Lee, Ann\n")
    target = tmp_path / "rejects.csv"
    clean.write_rejects(contacts.read([source], keep_refused=True), target)
    assert rows(target) == [
        ["email", "city", "column_3", "column_4", "line", "cell", "problem"],
        ["a@x.example", "Oslo", "Lee", " Ann", "2", "A2", "the row has 4 cells, the header 2"],
    ]


def test_rejects_of_several_sheets_say_which_one(tmp_path: Path) -> None:
    book = xlsxwriter.Workbook(str(tmp_path / "list.xlsx"))
    for name, head in (("Parties", ["email", "city"]), ("Deputies", ["seat", "email"])):
        sheet = book.add_worksheet(name)
        sheet.write_row(0, 0, head)
        sheet.write_row(1, 0, ["nobody", "x"] if head[0] == "email" else ["7", "nobody"])
        sheet.write_row(2, 0, ["", f"{name}@x.example"] if head[0] != "email" else [f"{name}@x.example", ""])
    book.close()
    target = tmp_path / "rejects.csv"
    clean.write_rejects(contacts.read([tmp_path / "list.xlsx"], keep_refused=True), target)
    assert [row[:5] for row in rows(target)] == [
        ["email", "city", "seat", "line", "cell"],
        ["nobody", "x", "", "2", "Parties!A2"],
        ["nobody", "", "7", "2", "Deputies!B2"],
    ]


def test_without_a_rejected_row_there_is_a_header_only(tmp_path: Path) -> None:
    target = tmp_path / "rejects.csv"
    clean.write_rejects(contacts.read([_list(tmp_path, "email\na@x.example\n")], keep_refused=True), target)
    assert target.read_bytes() == b"\xef\xbb\xbfline,cell,problem\r\n"


# Files -------------------------------------------------------------------------------------------


@SUFFIXES
def test_only_their_owner_can_read_what_is_written(tmp_path: Path, suffix: str) -> None:
    umask = os.umask(0)
    try:
        target = written(tmp_path, PARTNER, suffix)
        target.chmod(0o666)
        target = written(tmp_path, PARTNER, suffix)  # also over a file that others could read
    finally:
        os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"clean{suffix}", "list.csv"], (
        "no parts are left"
    )


@pytest.mark.parametrize(
    ("target", "rejects", "says"),
    [
        ("list.csv", None, "is the list itself; it is never written over"),
        ("./list.csv", None, "is the list itself"),
        ("link.csv", None, "is the list itself"),
        ("clean.csv", "list.csv", "is the list itself"),
        ("clean.csv", "clean.csv", "both would go to one file"),
        ("clean.txt", None, "has no suffix of a list"),
        ("clean", None, "has no suffix of a list"),
        ("clean.csv", "rejects.json", "has no suffix of a list"),
    ],
)
def test_the_list_itself_is_never_written_over_and_no_file_twice(
    tmp_path: Path, target: str, rejects: str | None, says: str
) -> None:
    source = _list(tmp_path, PARTNER)
    (tmp_path / "link.csv").symlink_to(source)
    with pytest.raises(UsageError) as caught:
        clean.refuse_names(source, tmp_path / target, tmp_path / rejects if rejects else None)
    assert caught.value.exit_code == Exit.USAGE
    assert says in caught.value.message
    assert caught.value.hint


def test_other_names_are_not_refused(tmp_path: Path) -> None:
    source = _list(tmp_path, PARTNER)
    clean.refuse_names(source, tmp_path / "clean.CSV", tmp_path / "rejects.xlsx")
    clean.refuse_names(source, tmp_path / "clean.csv", None)


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    people = contacts.read([_list(tmp_path, PARTNER)])
    with pytest.raises(UsageError, match="cannot be written"):
        clean.write(people, tmp_path / "nowhere" / "clean.csv")


def _list(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


# The command -------------------------------------------------------------------------------------


def test_the_command_writes_both_and_ends_with_1_when_rows_were_rejected(project: Project) -> None:
    project.write("partner.csv", PARTNER)
    done = project.run(
        "contacts",
        "clean",
        "partner.csv",
        "-o",
        "contacts.csv",
        "--rejects",
        "rejects.xlsx",
        code=Exit.SOME_FAILED,
    )
    assert "wrote contacts.csv: 6 rows" in done.stderr
    assert "wrote rejects.xlsx: 2 rejected rows" in done.stderr
    assert (project.folder / "partner.csv").read_text(encoding="utf-8") == PARTNER
    project.run("contacts", "clean", "contacts.csv", "-o", "again.csv")
    assert (project.folder / "again.csv").read_bytes() == (project.folder / "contacts.csv").read_bytes()


def test_the_command_says_who_is_left_out_without_rejects(project: Project) -> None:
    project.write("partner.csv", PARTNER)
    done = project.run("contacts", "clean", "partner.csv", "-o", "contacts.csv", code=Exit.SOME_FAILED)
    assert "2 rejected rows are not in it; --rejects FILE writes them" in done.stderr


def test_the_command_takes_map_set_and_encoding(project: Project) -> None:
    (project.folder / "partner.csv").write_bytes("wer;wo\nÄnne;a@x.example\n".encode("cp1252"))
    options = ["--encoding", "cp1252", "--map", "name=wer", "--set", "country=Schweiz", "--set", "city=Bern"]
    project.run("contacts", "clean", "partner.csv", "-o", "contacts.csv", *options)
    assert rows(project.folder / "contacts.csv") == [
        ["name", "email", "country", "city"],
        ["Änne", "a@x.example", "CH", "Bern"],
    ]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["-o", "partner.csv"], Exit.USAGE, "never written over"),
        (["-o", "clean.txt"], Exit.USAGE, "use .csv or .xlsx"),
        (["-o", "clean.csv", "--set", "country=Atlantis"], Exit.USAGE, "there is no such country"),
        (["-o", "clean.csv", "--set", "language=elbisch"], Exit.USAGE, "there is no such language"),
        (["-o", "clean.csv", "--set", "gender=robot"], Exit.USAGE, "there is no such gender"),
        (["-o", "clean.csv", "--set", "email=a@x.example"], Exit.USAGE, "would give everybody one address"),
        (["-o", "clean.csv", "--set", "country"], Exit.USAGE, "is not FIELD="),
        (["-o", "clean.csv", "--set", "country="], Exit.USAGE, "is not FIELD="),
        (
            ["-o", "clean.csv", "--set", "country=DE", "--set", "Country=FR"],
            Exit.USAGE,
            "names country twice",
        ),
        (["-o", "clean.csv", "--map", "name=Prenom"], Exit.USAGE, "did you mean Prénom?"),
        (["-o", "clean.csv", "--map", "name=9"], Exit.USAGE, "no column is headed '9'"),
        (["-o", "clean.csv", "--map", "1=2"], Exit.USAGE, "is not FIELD="),
        (["-o", "clean.csv", "--encoding", "nope"], Exit.DATA, "there is no encoding 'nope'"),
        (["-o", "clean.csv", "--encoding", "ascii"], Exit.DATA, "is not ASCII"),
    ],
)
def test_the_command_refuses_what_makes_no_sense_and_writes_nothing(
    project: Project, options: Sequence[str], code: int, says: str
) -> None:
    project.write("partner.csv", PARTNER)
    done = project.run("contacts", "clean", "partner.csv", *options, code=code)
    assert says in done.stderr
    assert [path.name for path in project.folder.iterdir()] == ["partner.csv"]


# Any list ----------------------------------------------------------------------------------------

_WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1b"), max_size=6)
_CELLS = (
    "=1|'=1|''|+49 1|-|@x|Mrs|Herr|DE|Germany|fr+nl| a  b |_x0041_|two\nlines|\t=x|Ann|Lee|n/a|yes|Lee, Ann"
)
_CELL = st.sampled_from(_CELLS.split("|")) | _WORD
_MAILS = (
    "a@x.example|b@x.example|A@X.example|+c@x.example|=d@x.example|'e@x.example|a@x.example; b@x.example|"
    "Ann Lee <f@x.example>|g@x.example, h@x.example|nobody||иван@пример.example|i@брюке.example|"
    "+j@x.example; -k@x.example|ａ@x.example|o’hara@x.example|Bo <a@x.example>"
)
_MAIL = st.sampled_from(_MAILS.split("|")) | _WORD
_HEADS = (
    "name|Vorname|Nachname|first name|country|language|gender|title|audience|organisation|Note|note|E-Mail 2|"
    "|x y|=cmd|salutation|today|İL|opt out|Nom|sep=;"
)
_HEAD = st.lists(st.sampled_from(_HEADS.split("|")), min_size=1, max_size=5)


@PROPERTY
@given(
    _HEAD,
    st.lists(st.tuples(_MAIL, st.lists(_CELL, max_size=6)), max_size=6),
    st.sampled_from([".csv", ".csv", ".xlsx"]),
)
def test_whatever_the_list_its_clean_form_is_stable_and_nobody_is_lost(
    head: list[str], people: list[tuple[str, list[str]]], suffix: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "list.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["email", *head])
            writer.writerows([mail, *cells] for mail, cells in people)
        before = contacts.read([folder / "list.csv"], keep_refused=True)
        once, twice = folder / f"once{suffix}", folder / f"twice{suffix}"
        clean.write(before, once)
        after = contacts.read([once])
        assert [same(one) for one in after.contacts] == [same(one) for one in before.contacts]
        assert after.rejected == []
        clean.write(after, twice)
        assert twice.read_bytes() == once.read_bytes()
        clean.write_rejects(before, folder / "rejects.csv")
        with (folder / "rejects.csv").open(encoding="utf-8-sig", newline="") as file:
            found = list(csv.DictReader(file))
    assert [int(one["line"]) for one in found] == [one.line for one in before.rejected]
    assert all(re.fullmatch(r"[A-Z]+\d+", one["cell"]) for one in found)
