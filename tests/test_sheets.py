"""Spreadsheets: every visible sheet, row by row, as the text people see; no file can take the program along.

XLSX is written by XlsxWriter, ODS by hand; for old XLS there is no writer at hand.
"""

from __future__ import annotations

import datetime
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
import xlsxwriter

from outreach import columns, contacts, sheets, tables
from outreach.sheets import TableError

Rows = list[tuple[int, list[str]]]
ODS = "application/vnd.oasis.opendocument.spreadsheet"


def xlsx(path: Path, build: Callable[[Any], None]) -> Path:
    book = xlsxwriter.Workbook(str(path))
    build(book)
    book.close()
    return path


def sheet(book: Any, name: str, rows: Sequence[Sequence[object]]) -> Any:
    made = book.add_worksheet(name)
    for number, row in enumerate(rows):
        made.write_row(number, 0, row)
    return made


def ods(
    path: Path, tables_of_it: dict[str, list[list[str]]], hidden: Sequence[str] = (), kind: str = ODS
) -> Path:
    """Write an OpenDocument file; a cell that begins with `<` is markup."""
    names = {"office": "office", "table": "table", "text": "text", "style": "style"}
    spaces = " ".join(
        f'xmlns:{one}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for one, name in names.items()
    )
    body = ""
    for name, rows in tables_of_it.items():
        style = ' table:style-name="hidden"' if name in hidden else ""
        body += f'<table:table table:name="{name}"{style}>'
        for row in rows:
            body += "<table:table-row>" + "".join(
                cell if cell[:1] == "<" else text_cell(cell) for cell in row
            )
            body += "</table:table-row>"
        body += "</table:table>"
    properties = '<style:table-properties table:display="false"/>'
    style = f'<style:style style:name="hidden" style:family="table">{properties}</style:style>'
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {spaces} office:version="1.2">'
        f"<office:automatic-styles>{style}</office:automatic-styles>"
        f"<office:body><office:spreadsheet>{body}</office:spreadsheet></office:body></office:document-content>"
    )
    return package(path, {"content.xml": content}, kind)


def package(path: Path, parts: dict[str, str], kind: str = ODS, about: str = "") -> Path:
    entry = f'<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">{about}'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", kind, zipfile.ZIP_STORED)
        for name, text in parts.items():
            archive.writestr(name, text)
        archive.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
            f"{entry}</manifest:file-entry></manifest:manifest>",
        )
    return path


def text_cell(text: str) -> str:
    lines = "".join(f"<text:p>{escape(line)}</text:p>" for line in text.split("\n"))
    return (
        f'<table:table-cell office:value-type="string">{lines}</table:table-cell>'
        if text
        else "<table:table-cell/>"
    )


def compound(*streams: str) -> bytes:
    """Return the smallest compound file (MS-CFB) with these streams, all empty."""
    free, end, table = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD

    def entry(name: str, kind: int, right: int, child: int) -> bytes:
        raw = name.encode("utf-16-le")
        return struct.pack("<64sHBBIII16xI8x8xIQ", raw, len(raw) + 2, kind, 1, free, right, child, 0, end, 0)

    numbers = (0x3E, 3, 0xFFFE, 9, 6)  # version, byte order, sizes of sectors
    header = struct.pack(
        "<8s16x5H6x9I", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", *numbers, 0, 1, 1, 0, 4096, end, 0, end, 0
    )
    sectors = struct.pack("<109I", 0, *[free] * 108) + struct.pack("<128I", table, end, *[free] * 126)
    folder = entry("Root Entry", 5, free, 1)
    for n, name in enumerate(streams, 1):
        folder += entry(name, 2, n + 1 if n < len(streams) else free, free)
    return header + sectors + folder.ljust(512, b"\0")


def read(path: Path) -> dict[str, Rows]:
    """Return the rows of every sheet that is read."""
    found: dict[str, Rows] = {}
    for one in tables.read(path, None, columns.score):
        if one.hidden:
            assert list(one.records) == []
            continue
        found[one.name.removeprefix(str(path))] = list(one.records)
    return found


def refused(path: Path) -> TableError:
    with pytest.raises(TableError) as caught:
        read(path)
    assert caught.value.hint, "an error names the next step"
    return caught.value


# Sheets ------------------------------------------------------------------------------------------


def several(book: Any) -> None:
    sheet(book, "Parties", [["email", "name"], ["a@x.example", "Ann"]])
    sheet(book, "Old ones", [["email"], ["old@x.example"]]).hide()
    sheet(book, "Very", [["email"], ["very@x.example"]]).very_hidden()
    sheet(book, "Депутаты", [["Имя", "Эл. почта"], ["Бо", "b@x.example"]])
    book.add_worksheet("Empty")


def test_every_visible_sheet_is_read_and_no_hidden_one(tmp_path: Path) -> None:
    assert read(xlsx(tmp_path / "list.xlsx", several)) == {
        "[Parties]": [(1, ["email", "name"]), (2, ["a@x.example", "Ann"])],
        "[Депутаты]": [(1, ["Имя", "Эл. почта"]), (2, ["Бо", "b@x.example"])],
    }


def test_every_visible_table_of_an_opendocument_file_is_read(tmp_path: Path) -> None:
    both = {"Parties": [["email", "name"], ["a@x.example", "Ann & Bo"]], "More": [["email"], ["b@x.example"]]}
    both["Old"] = [["email"], ["old@x.example"]]
    assert read(ods(tmp_path / "list.ods", both, hidden=["Old"])) == {
        "[Parties]": [(1, ["email", "name"]), (2, ["a@x.example", "Ann & Bo"])],
        "[More]": [(1, ["email"]), (2, ["b@x.example"])],
    }


def test_the_sheets_of_a_file_are_one_list_and_each_place_is_named(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        sheet(book, "Parties", [["email", "city"], ["a@x.example", "Oslo"], ["nobody", "Bonn"]])
        sheet(book, "Notes", [["call them"], ["tomorrow"]])
        sheet(book, "Deputies", [["seat", "E-Mail"], [3, "b@x.example"], [4, "A@x.example"]])

    path = xlsx(tmp_path / "list.xlsx", build)
    people = contacts.read([path])
    assert (people.format, people.rows, people.columns) == ("xlsx", 4, ("email", "city", "seat"))
    assert [(one.email, one.file, one.line, one.fields) for one in people.contacts] == [
        ("a@x.example", f"{path}[Parties]", 2, {"city": "Oslo", "seat": "4"}),
        ("b@x.example", f"{path}[Deputies]", 2, {"city": "", "seat": "3"}),
    ]
    said = [(one.file.removeprefix(str(path)), one.line, one.cell, one.severity) for one in people.problems]
    assert said == [
        ("[Parties]", 3, "A3", "rejected"),
        ("[Deputies]", 3, "A3", "warning"),
        ("[Deputies]", 3, "B3", "rejected"),
        ("[Notes]", 1, "", "warning"),
    ]
    assert str(people.rejected[0]).startswith(f"{path}[Parties]:3 (A3): rejected: email 'nobody': ")


def test_titles_above_and_columns_beside_do_not_shift_rows_and_cells(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        made = book.add_worksheet()
        made.merge_range("A1:D1", "Members of the committee")
        made.merge_range("B2:D2", "as of 2012")
        made.write_row("C4", ["email", "name"])
        made.write_row("C5", ["a@x.example", "Ann"])
        made.write_row("C8", ["nobody", "Bo"])

    people = contacts.read([xlsx(tmp_path / "list.xlsx", build)])
    assert [(one.email, one.name, one.line) for one in people.contacts] == [("a@x.example", "Ann", 5)]
    assert [(one.line, one.cell) for one in people.rejected] == [(8, "C8")]
    assert [(one.line, one.value) for one in people.remarks] == [
        (1, "Members of the committee"),
        (2, "as of 2012"),
    ]


def test_cells_beyond_z_are_named_as_spreadsheets_name_them(tmp_path: Path) -> None:
    row = [f"c{n}" for n in range(30)]
    path = xlsx(tmp_path / "list.xlsx", lambda book: sheet(book, "S", [[*row, "email"], [*row, "nobody"]]))
    assert contacts.read([path]).rejected[0].cell == "AE2"


# Cells -------------------------------------------------------------------------------------------


def test_a_cell_is_the_text_that_people_see(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        made = book.add_worksheet()
        day, hour = (book.add_format({"num_format": form}) for form in ("yyyy-mm-dd", "hh:mm"))
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        made.write_number(0, 0, 491234567890)
        made.write_number(1, 0, 12.5)
        made.write_number(2, 0, -3)
        made.write_boolean(3, 0, True)
        made.write_boolean(4, 0, False)
        made.write_datetime(5, 0, datetime.datetime(2012, 5, 6), day)
        made.write_datetime(6, 0, datetime.datetime(2012, 5, 6, 13, 30), moment)
        made.write_datetime(7, 0, datetime.time(9, 5), hour)
        made.write_formula(8, 0, '="a"&"@x.example"', None, "a@x.example")
        made.write_formula(9, 0, "=1+1", None, 2)
        made.write_url(10, 0, "mailto:a@x.example", string="write to Ann")
        made.write_string(11, 0, "=1+1")
        made.write_string(12, 0, "two\nlines")
        made.write_string(13, 0, "_x0041_ & <b>")
        made.write_string(14, 0, "0049123")

    (rows,) = read(xlsx(tmp_path / "list.xlsx", build)).values()
    assert [cells for _, cells in rows] == [
        ["491234567890"],
        ["12.5"],
        ["-3"],
        ["yes"],
        ["no"],
        ["2012-05-06"],
        ["2012-05-06 13:30:00"],
        ["09:05:00"],
        ["a@x.example"],
        ["2"],
        ["write to Ann"],
        ["=1+1"],
        ["two\nlines"],
        ["_x0041_ & <b>"],
        ["0049123"],
    ]


def test_a_cell_of_an_opendocument_file_is_the_text_that_people_see(tmp_path: Path) -> None:
    kinds = {
        'office:value-type="float" office:value="12"': "12,00",
        'office:value-type="date" office:date-value="2012-05-06"': "6.5.",
        'office:value-type="boolean" office:boolean-value="true"': "WAHR",
        'table:formula="of:=[.A1]" office:value-type="string"': "Ann",
        'table:number-columns-repeated="2" office:value-type="string"': "twice",
    }
    cells = [
        f"<table:table-cell {kind}><text:p>{text}</text:p></table:table-cell>" for kind, text in kinds.items()
    ]
    cells.append("two\nlines")
    (rows,) = read(ods(tmp_path / "list.ods", {"S": [cells]})).values()
    assert rows == [(1, ["12", "2012-05-06", "yes", "Ann", "twice", "twice", "two\nlines"])]


def test_an_error_in_a_cell_is_an_empty_cell(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        made = sheet(book, "S", [["email", "seat"], ["a@x.example"]])
        made.write_formula(1, 1, "=1/0", None, "#DIV/0!")

    (one,) = contacts.read([xlsx(tmp_path / "list.xlsx", build)]).contacts
    assert one.fields == {"seat": ""}


def test_rows_and_cells_that_are_empty_are_left_out(tmp_path: Path) -> None:
    rows = [["email", "name", ""], [], ["", " ", ""], ["a@x.example", "", "  "], [""], ["", "Bo"]]
    found = read(xlsx(tmp_path / "list.xlsx", lambda book: sheet(book, "S", rows)))
    assert found == {"[S]": [(1, ["email", "name"]), (4, ["a@x.example"]), (6, ["", "Bo"])]}


# What a file is, its bytes say -------------------------------------------------------------------


def test_a_name_may_lie(tmp_path: Path) -> None:
    book = xlsx(tmp_path / "real.xlsx", lambda book: sheet(book, "S", [["email"], ["a@x.example"]]))
    for name in ("list.csv", "list.ods", "list.xls", "list"):
        path = tmp_path / name
        path.write_bytes(book.read_bytes())
        people = contacts.read([path])
        assert (people.format, [one.email for one in people.contacts]) == ("xlsx", ["a@x.example"])
    made = ods(tmp_path / "real.ods", {"S": [["email"], ["a@x.example"]]})
    (tmp_path / "list.xlsx").write_bytes(made.read_bytes())
    assert contacts.read([tmp_path / "list.xlsx"]).format == "ods"
    (tmp_path / "text.xlsx").write_text("email;name\na@x.example;Ann\n")
    people = contacts.read([tmp_path / "text.xlsx"])
    assert (people.format, people.contacts[0].name) == ("csv", "Ann")


def test_a_locked_file_says_that_it_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "list.xlsx"
    path.write_bytes(compound("EncryptedPackage", "EncryptionInfo"))
    assert str(refused(path)) == "is locked with a password"
    secret = '<manifest:encryption-data manifest:checksum-type="SHA1/1K" manifest:checksum="x"/>'
    package(tmp_path / "list.ods", {"content.xml": "\x01\x02\x03"}, about=secret)
    error = refused(tmp_path / "list.ods")
    assert str(error) == "is locked with a password"
    assert error.hint == "save a copy without a password"


@pytest.mark.parametrize(
    ("parts", "kind", "says"),
    [
        ({"hello.txt": "hello"}, "", "is a ZIP file, not a contact list"),
        ({"word/document.xml": "<x/>", "_rels/.rels": "<x/>"}, "", "is a ZIP file, not a contact list"),
        ({"content.xml": "<x/>"}, "application/vnd.oasis.opendocument.text", "is no spreadsheet"),
        ({"content.xml": "<x/"}, ODS, "is a damaged spreadsheet"),
        ({"xl/workbook.xml": "<x/>"}, "", "is a damaged spreadsheet"),
        ({"xl/workbook.xml": ""}, "", "is a damaged spreadsheet"),
    ],
)  # fmt: skip
def test_what_is_no_spreadsheet_is_called_what_it_is(
    tmp_path: Path, parts: dict[str, str], kind: str, says: str
) -> None:
    path = tmp_path / "list.xlsx"
    if kind:
        package(path, parts, kind)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in parts.items():
                archive.writestr(name, text)
    assert says in str(refused(path))


def test_a_damaged_file_is_called_damaged(tmp_path: Path) -> None:
    whole = xlsx(tmp_path / "whole.xlsx", several).read_bytes()
    for name, data in {
        "half.xlsx": whole[: len(whole) // 2],
        "changed.xlsx": whole[:300] + bytes(4000) + whole[4300:],
        "old.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000),
        "other.xls": compound("Other"),
        "start.xlsx": b"PK\x03\x04",
    }.items():
        (tmp_path / name).write_bytes(data)
        assert "spreadsheet" in str(refused(tmp_path / name)), name


def test_a_file_without_a_sheet_to_see_is_called_empty(tmp_path: Path) -> None:
    def hidden(book: Any) -> None:
        book.add_worksheet("Shown")
        sheet(book, "Hidden", [["email"], ["a@x.example"]]).hide()

    with pytest.raises(contacts.ContactsError, match="is empty: it has no visible sheet"):
        contacts.read([xlsx(tmp_path / "list.xlsx", hidden)])


def test_sheets_without_addresses_are_named(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        sheet(book, "One", [["name"], ["Ann"]])
        sheet(book, "Two", [["city"], ["Oslo"]])

        sheet(book, "Three", [["email"], ["a@x.example"]]).hide()

    path = xlsx(tmp_path / "list.xlsx", build)
    with pytest.raises(contacts.ContactsError) as caught:
        contacts.read([path])
    where = f"(sheets: {path}[One], {path}[Two], {path}[Three], which is hidden)"
    assert where in caught.value.message
    assert "--map email=COLUMN" in caught.value.hint


def test_a_map_may_fit_one_sheet_only(tmp_path: Path) -> None:
    def build(book: Any) -> None:
        sheet(book, "Notes", [["call"], ["them"]])
        sheet(book, "People", [["who", "email"], ["Ann", "a@x.example"]])

    people = contacts.read([xlsx(tmp_path / "list.xlsx", build)], None, {"name": "who"})
    assert [one.name for one in people.contacts] == ["Ann"]
    assert [one.file.rpartition("[")[2] for one in people.remarks] == ["Notes]"]


# Limits ------------------------------------------------------------------------------------------


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
        archive.filelist[-1].file_size = 400_000_001  # what it says of itself
    assert "unpacks to far more" in str(refused(path))


def test_a_file_of_many_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "parts.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(5_001):
            archive.writestr(f"{n}", "")
    assert "unpacks to far more" in str(refused(path))


def test_a_large_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "large.xlsx"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(sheets.MAX_BYTES + 1)
    assert "over 30 MB" in str(refused(path))


def children() -> set[str]:
    """Return the processes that this one has started and not ended."""
    return set(" ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split())


def test_rows_that_nobody_asks_for_leave_no_process_behind(tmp_path: Path) -> None:
    rows = [["email"], *([f"a{n}@x.example"] for n in range(5_000))]
    path = xlsx(tmp_path / "list.xlsx", lambda book: sheet(book, "S", rows))
    before = children()
    found = tables.read(path, None, columns.score)
    one = next(iter(found))
    assert next(one.records) == (1, ["email"])
    del one
    found.close()  # type: ignore[attr-defined]
    assert children() <= before
