"""The words of lists: every header and gender word says one thing, in every language we promise."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from outreach import languages

FOLDER = Path(languages.__file__).parent
COLUMNS = tomllib.loads((FOLDER / "columns.toml").read_text("utf-8"))
GENDERS = tomllib.loads((FOLDER / "genders.toml").read_text("utf-8"))
TABLES = {"columns.toml": COLUMNS, "genders.toml": GENDERS}
PROGRAMS = "programs"  # stands among the languages of columns.toml
PROMISED = re.findall(r"\w+", "en ru de fr es it pt el tr pl sv fi nl uk ar he da nb cs hu ro bg ja zh")
NAMES = ["name", "given_name", "family_name"]
PERSON = ["audience", "organisation", "country", "language", "gender", "title", "salutation"]


def fold(text: str) -> str:
    """Fold a header or a cell the way readers of the tables do."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def words(file: str) -> Iterator[tuple[str, str, str]]:
    """Yield (table, language, word)."""
    for table, by_language in TABLES[file].items():
        for language, found in by_language.items():
            for word in found:
                yield table, language, word


def meanings(file: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for table, _, word in words(file):
        found.setdefault(fold(word), set()).add(table)
    return found


def test_the_tables_are_the_fields_and_genders_of_a_contact() -> None:
    assert list(COLUMNS) == ["email", "alternates", *NAMES, *PERSON, "opt_out", "timezone"]
    assert list(GENDERS) == ["f", "m", "organisation", "group", "unknown"]


@pytest.mark.parametrize("file", TABLES)
def test_a_word_says_one_thing(file: str) -> None:
    assert {word: tables for word, tables in meanings(file).items() if len(tables) > 1} == {}


@pytest.mark.parametrize("file", TABLES)
def test_a_word_is_given_once_in_its_language(file: str) -> None:
    seen: set[tuple[str, str, str]] = set()
    twice = []
    for table, language, word in words(file):
        key = (table, language, fold(word))
        if key in seen:
            twice.append((table, language, word))
        seen.add(key)
    assert twice == []


@pytest.mark.parametrize("file", TABLES)
def test_every_word_is_text_that_can_be_found(file: str) -> None:
    for table, language, word in words(file):
        where = f"{table}.{language}: {word!r}"
        assert isinstance(word, str), where
        assert fold(word), where  # signs alone fold to nothing
        assert word == " ".join(word.split()), where
        assert unicodedata.is_normalized("NFC", word), where


@pytest.mark.parametrize("file", TABLES)
def test_every_language_is_known_in_its_usual_spelling(file: str) -> None:
    tags = {language for _, language, _ in words(file)} - {PROGRAMS}
    assert {tag: languages.normalise(tag) for tag in tags} == {tag: tag for tag in tags}


@pytest.mark.parametrize("language", PROMISED)
def test_a_promised_language_has_the_words_a_list_needs(language: str) -> None:
    for field in ("email", "name", "organisation", "country"):
        assert COLUMNS[field].get(language), field
    for gender in ("f", "m"):
        assert GENDERS[gender].get(language), gender


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("E-Mail", "email"),
        ("e_mail", "email"),
        ("Courriel", "email"),
        ("Адрес эл. почты", "email"),
        ("E-Mail-Adresse (dienstlich)", "email"),
        ("Ｅメール", "email"),
        ("البريد الإلكتروني", "email"),
        ("דוא״ל", "email"),
        ("E-mail 1 - Value", "email"),
        ("E-mail 2 - Value", "alternates"),
        ("E-mail 2 Address", "alternates"),
        ("E-Mail 2: Adresse", "alternates"),
        ("Secondary Email", "alternates"),
        ("Ф.И.О.", "name"),
        ("Nom et prénom", "name"),
        ("ADI SOYADI", "name"),
        ("ΟΝΟΜΑΤΕΠΩΝΥΜΟ", "name"),
        ("Nombre", "given_name"),
        ("Nom", "family_name"),
        ("Last Name", "family_name"),
        ("Partei", "organisation"),
        ("Organization 1 - Name", "organisation"),
        ("ORG", "organisation"),
        ("国家/地区", "country"),
        ("PAÍS", "country"),
        ("Lang", "language"),
        ("Anrede", "gender"),
        ("honorific_prefix", "title"),
        ("Briefanrede", "salutation"),
        ("Type", None),
        ("Category", None),
        ("Titre", None),
        ("Position", None),
        ("Address", None),
        ("E-mail 1 - Type", None),
        ("E-mail Display Name", None),
        ("Country name", None),  # a variable of letters
    ],
)
def test_a_header_of_a_real_list_is_understood_or_left_alone(header: str, field: str | None) -> None:
    assert meanings("columns.toml").get(fold(header)) == ({field} if field else None)


@pytest.mark.parametrize(
    ("cell", "gender"),
    [
        ("Frau", "f"),
        ("Mme", "f"),
        ("Sra.", "f"),
        ("г-жа", "f"),
        ("Pani", "f"),
        ("Κα", "f"),
        ("KADIN", "f"),
        ("女性", "f"),
        ("أنثى", "f"),
        ("Herr", "m"),
        ("M.", "m"),
        ("Г-Н", "m"),
        ("Pan", "m"),
        ("ΚΟΣ", "m"),
        ("Bay", "m"),
        ("ז", "m"),
        ("Юр. лицо", "organisation"),
        ("M. et Mme", "group"),
        ("female", "f"),
        ("w", "f"),
        ("male", "m"),
        ("o", "organisation"),
        ("g", "group"),
        ("x", "unknown"),
        ("d", "unknown"),
        ("divers", "unknown"),
        ("Non-Binary", "unknown"),
        ("Frau/Herr", "unknown"),
        ("V", None),  # vrouw and vyras
        ("Hon.", None),
        ("1", None),
    ],
)
def test_a_gender_cell_of_a_real_list_is_understood_or_left_alone(cell: str, gender: str | None) -> None:
    assert meanings("genders.toml").get(fold(cell)) == ({gender} if gender else None)
