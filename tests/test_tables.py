"""Files as tables: every cell of a table is read as it was written, and no file is taken for another one."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import columns, tables
from outreach.sheets import TableError

# No wall clock in tests; not more examples, since each reads files.
PROPERTY = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def table(
    folder: Path, data: str | bytes, encoding: str | None = None
) -> tuple[tables.Table, list[tables.Record]]:
    """Return the only table of a file, and its rows."""
    path = folder / "list"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    found = [(one, list(one.records)) for one in tables.read(path, encoding, columns.score)]
    assert len(found) == 1
    return found[0]


def refused(folder: Path, data: str | bytes, encoding: str | None = None) -> TableError:
    with pytest.raises(TableError) as caught:
        table(folder, data, encoding)
    return caught.value


# Any table ---------------------------------------------------------------------------------------

_CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1b"), max_size=8) | st.text(
    ",;\t|\n\r\"' a@.", max_size=6
)
_HEADER = st.lists(
    st.sampled_from(
        ["email", "name", "Land", "note, private", "a;b", 'the "seat"', "x|y", "two\nlines", "Адрес"]
    ),
    unique=True,
    max_size=5,
).map(lambda names: names if "email" in names else [*names, "email"])


@PROPERTY
@given(
    _HEADER,
    st.lists(st.lists(_CELL, max_size=6), max_size=8),
    st.sampled_from(tables.DELIMITERS),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_any_table_that_csv_writes_is_read_back_cell_by_cell(
    header: list[str], rows: list[list[str]], delimiter: str, quoting: int, encoding: str
) -> None:
    if len(header) == 1:  # then any sign is as good as any other
        rows = [row[:1] for row in rows]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting)
    written: list[tuple[int, list[str]]] = []
    line = 1
    for row in (header, *rows):
        start = out.tell()
        writer.writerow(row)
        if any(cell.strip() for cell in row):
            written.append((line, row))
        line += len(re.findall(r"\r\n|\r|\n", out.getvalue()[start:]))
    with tempfile.TemporaryDirectory() as folder:
        found, records = table(Path(folder), out.getvalue().encode(encoding))
    assert records == written
    assert (found.format, found.encoding) == ("csv", encoding.removesuffix("-sig"))
    assert found.delimiter == delimiter or len(header) == 1


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("email,name\na@x.example,Ann\n", ","),
        ("email;name\na@x.example;Lee, Ann\n", ";"),
        ("email\tname\na@x.example\tAnn; Bo\n", "\t"),
        ("email|name\na@x.example|Ann\n", "|"),
        ("E-Mail;Adresse\na@x.example\nb@x.example;Bonn\n", ";"),  # together these are a header too
        ("Courriel;Nom\na@x.example;Lee, Ann\nb@x.example;Ray, Bo\n", ";"),
        ("a@x.example;Ann\nb@x.example;Bo\n", ";"),  # no header at all
        ("Our list, as of May\n\nemail;name\na@x.example;Ann\n", ";"),
        ("sep=;\nemail;name\n", ";"),
        ("sep=^\nemail^name\n", "^"),
        ("sep=\t\nemail\tname\n", "\t"),
    ],
)
def test_what_separates_the_cells_is_found_by_the_rows(tmp_path: Path, text: str, delimiter: str) -> None:
    found, records = table(tmp_path, text)
    assert found.delimiter == delimiter
    assert len(records[-1][1]) == 2


@pytest.mark.parametrize("separator", ["; ", ", ", " ", " / "])
def test_a_column_of_its_own_may_hold_several_addresses_in_a_cell(tmp_path: Path, separator: str) -> None:
    cells = [f"a{n}@x.example{separator}b{n}@x.example" for n in range(3)]
    _, records = table(tmp_path, "\n".join(["email", *cells]) + "\n")
    assert [row for _, row in records] == [["email"], *([cell] for cell in cells)]


def test_blanks_behind_the_separator_do_not_hide_quotes(tmp_path: Path) -> None:
    _, records = table(tmp_path, 'email, name\na@x.example, "Lee, Ann"\n')
    assert records == [(1, ["email", "name"]), (2, ["a@x.example", "Lee, Ann"])]


@pytest.mark.parametrize("first", ['sep="', "sep=", "sep=a", "sep=\r"])
def test_a_first_line_that_names_no_separator_breaks_nothing(tmp_path: Path, first: str) -> None:
    _, records = table(tmp_path, f"{first}\nemail,name\na@x.example,Ann\n")
    assert records[-1][1] == ["a@x.example", "Ann"]


# What a file is, its bytes say -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
        ("iso2022_jp", "iso2022_jp"),
    ],
)
@pytest.mark.parametrize("name", ["Ann Lee", "Анна Ковалёва", "水野 梓"])
def test_an_encoding_that_gives_itself_away_needs_no_name(
    tmp_path: Path, encoding: str, shown: str, name: str
) -> None:
    rows = "".join(f"a{n}@x.example,{name},{name}\n" for n in range(20))
    found, records = table(tmp_path, f"email,name,other\n{rows}".encode(encoding))
    assert [row for _, row in records[1:]] == [[f"a{n}@x.example", name, name] for n in range(20)]
    assert found.encoding == (shown if encoding != "iso2022_jp" or not name.isascii() else "utf-8")
    assert found.notes == []


@pytest.mark.parametrize(
    ("data", "called"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        (b"GIF89a\x01\0", "a GIF image"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
        (b"Rar!\x1a\x07", "a RAR file"),
        (b"{\\rtf1\\ansi email}", "an RTF document"),
        (b"SQLite format 3\0", "a database"),
        (b"BEGIN:VCARD\nEMAIL:a@x.example\n", "a vCard file"),
        (b"<!doctype html><table>", "an HTML or XML file"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?>", "an HTML or XML file"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "a binary file"),
        (b"email,name\na@x.example,\0\x01\x02\xff\0\0\x03\0\0", "a binary file"),
        (bytes(5000), "a binary file"),
        (bytes(range(256)) * 20, "a binary file"),
    ],
)
def test_what_is_no_table_is_called_what_it_is(tmp_path: Path, data: bytes, called: str) -> None:
    error = refused(tmp_path, data)
    assert str(error) == f"is {called}, not a contact list"
    assert "CSV" in error.hint


def test_a_folder_is_called_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is a folder"):
        list(tables.read(tmp_path, None, columns.score))


def test_a_line_without_an_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    error = refused(tmp_path, b"email,name\n" + b"x" * 3_000_000)
    assert "a line of over 1 MB" in str(error)
    table(tmp_path, b"email,name\n" + b"x" * 100_000 + b"\n")


def test_a_cell_without_an_end_is_an_error_with_its_line(tmp_path: Path) -> None:
    assert refused(tmp_path, b'email,name\na@x.example,"' + b"x\n" * 100_000).line == 2


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 5)
    rows = "".join(f"a{n}@x.example\n" for n in range(5))
    table(tmp_path, "email\n" + rows)
    assert "has over 5 rows" in str(refused(tmp_path, "email\n" + rows + "b@x.example\n"))
    assert "has over 5 rows" in str(refused(tmp_path, '{"email": "a@x.example"}\n' * 6))


# JSON --------------------------------------------------------------------------------------------


def as_rows(records: Sequence[tables.Record]) -> list[dict[str, str]]:
    names = records[0][1]
    return [dict(zip(names, row, strict=True)) for _, row in records[1:]]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('[{"email": "a@x.example"}, {"email": "b@x.example"}]', [1, 1]),
        ('\ufeff[\n {"email": "a@x.example"},\n\n {"email":\n "b@x.example"}\n]\n', [2, 4]),
        ('{"count": 2, "results": [\n{"email": "a@x.example"},\n{"email": "b@x.example"}]}', [2, 3]),
        ('{"email": "a@x.example"}\n\n{"email": "b@x.example"}\n', [1, 3]),
        ('\ufeff{"email": "a@x.example"}\r\n{"email": "b@x.example"}', [1, 2]),
    ],
)
def test_json_is_a_list_an_object_with_one_or_an_object_a_line(
    tmp_path: Path, text: str, lines: list[int]
) -> None:
    found, records = table(tmp_path, text)
    assert (found.format, found.delimiter) == ("json", "")
    assert as_rows(records) == [{"email": "a@x.example"}, {"email": "b@x.example"}]
    assert [line for line, _ in records[1:]] == lines


def test_json_objects_need_not_have_the_same_names(tmp_path: Path) -> None:
    _, records = table(
        tmp_path, '[{"email": "a@x.example", "x": 1}, {}, {"y": null, "email": "b@x.example"}]'
    )
    assert as_rows(records) == [
        {"email": "a@x.example", "x": "1", "y": ""},
        {"email": "b@x.example", "x": "", "y": ""},
    ]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('[{"email": "a@x.example"}', 1, "is no JSON"),
        ('[{"email": "a@x.example"},\n{"email" "b@x.example"}]', 2, "is no JSON"),
        ('[{"email": "a@x.example"}] x', 1, "more behind the end"),
        ('{"email": "a@x.example"}\n{"email": \n', 2, "is no JSON"),
        ('[{"email": "a@x.example"},\n\n3]', None, "line 3: is no object with named fields"),
        ('{"a": [{"email": "a@x.example"}],\n"b": [{"email": "b@x.example"}]}', None, "several lists: a, b"),
        ('[{"a":' * 60_000, None, "nested too deep"),
    ],
)
def test_json_that_is_no_list_of_contacts_says_where(
    tmp_path: Path, text: str, line: int | None, says: str
) -> None:
    error = refused(tmp_path, text)
    assert says in str(error)
    assert error.hint
    if line is not None:
        assert error.line == line


def test_a_large_document_is_refused_and_told_how_to_be_read(tmp_path: Path) -> None:
    item = json.dumps({"email": "a@x.example", "note": "x" * 10_000})
    error = refused(tmp_path, "[\n" + ",\n".join([item] * 3_300) + "\n]")
    assert str(error) == "is too large for one JSON document (over 32 MB)"
    assert "JSON lines" in error.hint


@pytest.mark.parametrize("text", ['[{"email": "\u00e9@x.example"}]', '{"email": "\u00e9@x.example"}\n'])
def test_json_in_another_encoding_than_named_says_so(tmp_path: Path, text: str) -> None:
    assert str(refused(tmp_path, text, "ascii")) == "is not ASCII"


_NAMES = ["email", "name", "persons", "organizations", "memberships", "contact_details", "type", "value"]
_NAMES += ["id", "person_id", "organization_id", "on_behalf_of", "on_behalf_of_id"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("a@x.example"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(PROPERTY, max_examples=30)  # each starts a process
@given(st.lists(_JSON, min_size=1, max_size=3), st.booleans())
def test_any_json_is_read_or_refused_never_a_traceback(values: list[object], as_lines: bool) -> None:
    text = "\n".join(map(json.dumps, values)) if as_lines else json.dumps(values)
    with tempfile.TemporaryDirectory() as folder:
        try:
            _, records = table(Path(folder), text)
        except TableError as error:
            assert error.hint
            return
    assert all(isinstance(cell, str) for _, row in records for cell in row)
