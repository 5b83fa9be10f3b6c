"""Files that want to hurt: each ends in a clear error or a list, in bounds of memory and processor time."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import forked
import fuzz
import pytest
import xlsxwriter
from conftest import ENVIRONMENT

from outreach import address, contacts

MEGABYTES = 300  # of any process
SECONDS = 10  # of processor time of each process


def check(path: Path, *options: str) -> tuple[int, str, str]:
    """Run `contacts check` in its bounds; return exit code, stdout, stderr."""
    command = ("contacts", "check", str(path), *options)
    done = forked.run(command, path.parent, ENVIRONMENT, cpu_seconds=SECONDS)
    assert done.returncode in (0, 1, 2, 65), done.stderr
    assert "Traceback" not in done.stderr
    assert 0 < done.megabytes < MEGABYTES
    return done.returncode, done.stdout, done.stderr


def refused(path: Path, says: str) -> None:
    code, _, words = check(path)
    assert code == 65, words
    assert says in words
    assert "→" in words, "the next step"


# Text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"email,name\n", b"[", b'{"email": "', b"\xff\xfe"])
@pytest.mark.parametrize("fill", [b"a", b"\0", b","])
def test_a_line_that_never_ends(tmp_path: Path, start: bytes, fill: bytes) -> None:
    path = tmp_path / "list.csv"
    with path.open("wb") as out:
        out.write(start)
        if fill == b"\0":
            out.truncate(1_000_000_000)  # a sparse file: a gigabyte of nothing
        else:
            for _ in range(80):
                out.write(fill * 1_000_000)
    code, _, words = check(path)
    assert code == 65, words


def test_columns_and_rows_without_end(tmp_path: Path) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text("email" + ",x" * 100_000 + "\na@x.example" + ",1" * 100_000 + "\n")
    assert check(wide)[0] in (0, 65)
    long = tmp_path / "long.csv"
    with long.open("w") as out:
        out.write("email\n")
        for _ in range(1_100):
            out.write("\n" * 1_000)
    assert check(long)[0] == 65


def test_one_inbox_of_thousands_and_thousands_of_addresses_of_one(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    names = "".join(f"office@x.example,Anna Lee{n}\n" for n in range(5_000))
    path.write_text(f"email,name\n{names}")
    code, out, _ = check(path, "--json")
    found = json.loads(out)
    assert found["rows"] == found["kept"] + found["joined"] + found["rejected"] == 5_000
    many = "; ".join(f"a{n}@x.example" for n in range(5_000))
    path.write_text(f'email,name\n"{many}",Anna\n')
    code, out, _ = check(path, "--json")
    assert code in (0, 1)


_UNITS = (
    "<",
    ">",
    "@",
    "a@",
    "a@b.",
    " at ",
    "(at)",
    "(",
    '"',
    "'",
    " ",
    ";",
    "/",
    "a ",
    "＠",
    "\u0301",
    "<a@b>",
)


@pytest.mark.parametrize("unit", [*_UNITS, "a@b.example "])
def test_mending_a_cell_takes_time_by_its_length_only(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "list.csv"
    cell = (unit * 100_000)[:100_000].replace('"', '""')
    path.write_text(f'email,name\n"{cell}",Ann\n"a@x.example{cell}",Bo\n')
    check(path)


def test_json_that_is_nested_numbered_and_broken(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    for text in (
        "[" * 100_000,
        '[{"email": ' + "[" * 100_000,
        '{"a":' * 100_000,
        '[{"email": "a@x.example", "n": ' + "9" * 100_000 + "}]",
        '[{"email": "a@x.example"}, 5]',
        '[{"email": "a@x.example"} {"email": "b@x.example"}]',
        '{"persons": [1, 2]}',
        '{"persons": [{"email": 5, "contact_details": 7, "memberships": "x"}]}',
        '{"persons": [], "organizations": {"a": 1}, "memberships": 5}',
        '[{"email": "\\ud800a@x.example"}]',
        '[{"email": null}, {"email": true}, {"email": ["a@x.example", 5]}]',
    ):
        path.write_text(text)
        check(path)


# Spreadsheets --------------------------------------------------------------------------------------


def book(path: Path, change: Callable[[str, bytes], bytes] = lambda name, part: part) -> Path:
    """Write a small workbook, each part of it changed."""
    made = io.BytesIO()
    workbook = xlsxwriter.Workbook(made, {"in_memory": True})
    sheet = workbook.add_worksheet()
    for row, cells in enumerate((("email", "name"), ("ann@x.example", "Ann Lee"))):
        for column, cell in enumerate(cells):
            sheet.write_string(row, column, cell)
    workbook.close()
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def in_sheet(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, part: part.replace(old, new) if name.endswith("sheet1.xml") else part


def test_a_small_workbook_is_read(tmp_path: Path) -> None:
    assert check(book(tmp_path / "list.xlsx"))[0] == 0


def test_a_sheet_that_unpacks_to_half_a_gigabyte(tmp_path: Path) -> None:
    small, path = book(tmp_path / "small.xlsx"), tmp_path / "list.xlsx"
    with (
        zipfile.ZipFile(small) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for name in old.namelist():
            with new.open(name, "w") as part:
                part.write(old.read(name))
                if name.endswith(
                    "sheet1.xml"
                ):  # bit by bit: what this process has would count as the other's
                    for _ in range(500):
                        part.write(b" " * 1_000_000)
    refused(path, "unpacks to far more")
    size = next(one.file_size for one in zipfile.ZipFile(path).infolist() if "sheet1" in one.filename)
    lie = path.read_bytes().replace(size.to_bytes(4, "little"), (5_000).to_bytes(4, "little"))
    path.write_bytes(lie)
    check(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"</sheetData>", b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'),
        (b"</sheetData>", b'<row r="3"><c r="BDWGN3"><v>1</v></c></row></sheetData>'),
        (b'ref="A1:B2"', b'ref="A1:XFD1048576"'),
        (b't="s"><v>0</v>', b't="s"><v>999999</v>'),
        (
            b"<worksheet",
            b'<!DOCTYPE x [<!ENTITY a "' + b"b" * 10_000 + b'"><!ENTITY c "&a;&a;&a;">]><worksheet',
        ),
        (b"<sheetData>", b"<a>" * 100_000 + b"<sheetData>"),
        (b"<sheetData>", b"<sheetData"),
    ],
)
def test_a_sheet_that_lies_about_itself(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = book(tmp_path / "list.xlsx", in_sheet(old, new))
    assert check(path)[0] in (0, 1, 65)


_ODF = "urn:oasis:names:tc:opendocument:xmlns"


@pytest.mark.parametrize("rows", [1, 1_048_576])
def test_an_open_document_that_repeats_a_cell_a_million_times(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "list.ods"
    content = (
        f'<?xml version="1.0"?><office:document-content xmlns:office="{_ODF}:office:1.0"'
        f' xmlns:table="{_ODF}:table:1.0" xmlns:text="{_ODF}:text:1.0">'
        '<office:body><office:spreadsheet><table:table table:name="a">'
        f'<table:table-row table:number-rows-repeated="{rows}"><table:table-cell office:value-type="string"'
        ' table:number-columns-repeated="1000000"><text:p>a@x.example</text:p></table:table-cell>'
        "</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet", zipfile.ZIP_STORED)
        out.writestr("content.xml", content)
    assert check(path)[0] in (0, 1, 65)


def test_a_zip_that_is_no_spreadsheet_and_one_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "list.xlsx"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("readme.txt", "hello")
    refused(path, "is a ZIP file")
    data = book(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "damaged")


# What is no file ------------------------------------------------------------------------------------


def test_pipes_devices_folders_and_links_in_a_circle(tmp_path: Path) -> None:
    pipe, circle = tmp_path / "pipe", tmp_path / "circle"
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    for path in (pipe, circle, tmp_path, Path("/dev/zero"), tmp_path / "nowhere"):
        done = subprocess.run(
            [sys.executable, "-m", "outreach", "contacts", "check", str(path)],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 65, done.stderr
        assert b"Traceback" not in done.stderr


def test_whoever_reads_the_document_may_go_away(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("email\n" + "".join(f"a{n}@x.example\n" for n in range(5_000)))
    check = f"{sys.executable} -m outreach contacts check {path} --json"
    command = f"{check} | head -c 100 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


# Anything -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [11])
def test_mutated_lists_keep_the_rules(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short piece of `make fuzz`; the seed makes it the same each time."""
    monkeypatch.setattr(fuzz, "FAILURES", tmp_path / "failures")
    done, failed = fuzz.run(seed, 600, files=60)
    assert failed == 0
    assert sum(done.values()) == 60


def test_every_address_that_is_kept_can_be_sent_to(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    cells = [
        "ANN@X.EXAMPLE",
        "ann@x.example.",
        "Ann <ann2@X.Example>",
        "анна@пример.example",
        "a@köln.example",
    ]
    path.write_text("email\n" + "\n".join(cells) + "\n", encoding="utf-8")
    for one in contacts.read([path]).contacts:
        assert address.parse(one.email) == one.email
        assert address.wire(one.email).rpartition("@")[2].isascii()
