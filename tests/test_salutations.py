"""Greetings: correct for everybody, and never with a gap where a name or title is missing."""

from __future__ import annotations

import csv
import itertools
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from outreach import languages, salutations
from outreach.errors import Exit, LetterError
from outreach.model import Contact, Identity
from outreach.salutations import Phrases

SHIPPED = Path(__file__).parent.parent / "templates" / "_languages"

MINIMAL = """
registers = { party = "comrades" }
titles = { "Dr" = "Dr" }
[greeting.formal]
f = ["Dear {title} {name},", "Dear Ms {name},", "Dear Madam,"]
m = ["Dear {title} {name},", "Dear Mr {name},", "Dear Sir,"]
unknown = ["Dear {name},", "Dear reader,"]
organisation = ["Dear {organisation},", "Dear all,"]
group = ["Dear all,"]
[greeting.comrades]
f = ["Comrade {name}!", "Comrade!"]
m = ["Comrade {name}!", "Comrade!"]
unknown = ["Comrade {name}!", "Comrade!"]
organisation = ["Comrades!"]
group = ["Comrades!"]
[footer]
text = "From {sender}, answers to {reply_to}"
opt_out = "Say STOP"
"""


@cache
def shipped(language: str) -> Phrases:
    return salutations.parse(f"{language}.toml", (SHIPPED / f"{language}.toml").read_text(encoding="utf-8"))


def contact(gender: str = "", **known: Any) -> Contact:
    return Contact("ann@party.example", gender=gender, **known)


# What we ship ------------------------------------------------------------------------------------

LANGUAGES = ("en", "ru", "de", "fr", "es", "ar")  # of the shipped letter; more have greetings only
# Typed by hand from the rules of each language: a reworded greeting must be reworded there on purpose.
with (Path(__file__).parent / "data" / "greetings.csv").open(encoding="utf-8", newline="") as file:
    GREETINGS = list(csv.DictReader(file))


@pytest.mark.parametrize("row", GREETINGS, ids=lambda row: f"{row['language']} {row['greeting']}")
def test_a_reader_is_greeted_as_the_rules_of_the_language_want_it(row: dict[str, str]) -> None:
    fields = {name: row[name] for name in ("given_name", "family_name")}
    known = {name: row[name] for name in ("audience", "title", "name", "organisation")}
    one = contact(row["gender"], **known, fields=fields)
    assert shipped(row["language"]).greet(one, languages.direction(row["language"])) == row["greeting"]


def test_the_table_of_greetings_is_large_and_has_no_row_that_differs_by_a_name_only() -> None:
    def bare(row: dict[str, str]) -> tuple[str, str]:
        greeting = row["greeting"]
        for column in ("name", "family_name", "given_name", "organisation"):
            greeting = greeting.replace(row[column] or "\0", "NAME")
        return row["language"], greeting

    def kind(row: dict[str, str]) -> tuple[object, ...]:
        named = (bool(row[column]) for column in ("name", "family_name", "given_name", "organisation"))
        return row["language"], row["audience"], row["gender"], row["title"], *named

    assert len({kind(row) for row in GREETINGS}) == len(GREETINGS)
    ours = [row for row in GREETINGS if row["language"] in LANGUAGES]
    assert len({bare(row) for row in ours}) >= 80, "in the languages of the shipped letter alone"
    assert {row["language"] for row in GREETINGS} == {path.stem for path in SHIPPED.glob("*.toml")}
    for language in {row["language"] for row in GREETINGS}:
        mine = [row for row in GREETINGS if row["language"] == language]
        assert {row["gender"] for row in mine} == {"", "f", "m", "organisation", "group"}


@pytest.mark.parametrize("language", sorted(path.stem for path in SHIPPED.glob("*.toml")))
def test_the_sources_of_the_rules_stand_in_the_file(language: str) -> None:
    text = (SHIPPED / f"{language}.toml").read_text(encoding="utf-8")
    assert len(re.findall(r"^#.*\w", text, re.MULTILINE)) >= 3


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_no_shipped_greeting_has_a_gap(path: Path) -> None:
    phrases = salutations.parse(path.name, path.read_text(encoding="utf-8"))
    genders = ("", "f", "m", "organisation", "group")
    audiences = ("", "party", "deputy", "human-rights", "press")
    for gender, audience, name, title, organisation in itertools.product(
        genders, audiences, ("", "Ann Lee"), ("", "Dr", "Prof.", "MdB"), ("", "Open Cells")
    ):
        one = contact(gender, audience=audience, name=name, title=title, organisation=organisation)
        greeting = phrases.greet(one)
        assert greeting.strip() == greeting != ""
        assert not re.search(r"\s\s|\s[,!.،]|[{}]", greeting), greeting
        assert "MdB" not in greeting  # no title that its language does not know


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_footer_names_sender_and_reply_address(path: Path) -> None:
    phrases = salutations.parse(path.name, path.read_text(encoding="utf-8"))
    footer = phrases.foot(Identity("Committee", "me@mail.example"), Identity("", "answers@mail.example"))
    assert "Committee" in footer
    assert "answers@mail.example" in footer
    assert re.search(r"\bSTOP\b", footer)
    assert footer == footer.strip()
    assert not re.search(r"[{}]", footer)


# The rules ---------------------------------------------------------------------------------------


def test_the_first_pattern_whose_fields_are_all_known_wins() -> None:
    phrases = salutations.parse("x.toml", MINIMAL)
    assert phrases.greet(contact("f", name="Ann Lee", title="Dr")) == "Dear Dr Ann Lee,"
    assert phrases.greet(contact("f", name="Ann Lee", title="dr.")) == "Dear Dr Ann Lee,"
    assert phrases.greet(contact("f", name="Ann Lee", title="MP")) == "Dear Ms Ann Lee,"
    assert phrases.greet(contact("f", title="Dr")) == "Dear Madam,"
    assert phrases.greet(contact("organisation", organisation="Open Cells")) == "Dear Open Cells,"
    assert phrases.greet(contact("organisation", name="Ann Lee")) == "Dear all,"


def test_an_organisation_without_a_person_is_greeted_as_one() -> None:
    phrases = salutations.parse("x.toml", MINIMAL)
    assert phrases.greet(contact("", organisation="Open Cells")) == "Dear Open Cells,"
    assert phrases.greet(contact("", organisation="Open Cells", name="Ann Lee")) == "Dear Ann Lee,"
    assert phrases.greet(contact("f", organisation="Open Cells")) == "Dear Madam,"


def test_an_audience_without_a_register_is_greeted_formally() -> None:
    phrases = salutations.parse("x.toml", MINIMAL)
    assert phrases.greet(contact("f", audience="party", name="Ann")) == "Comrade Ann!"
    assert phrases.greet(contact("f", audience="press", name="Ann")) == "Dear Ms Ann,"


def test_the_salutation_column_wins_over_everything() -> None:
    phrases = salutations.parse("x.toml", MINIMAL)
    own = {"salutation": "Caro {name}, ciao!"}
    one = Contact("ann@party.example", name="Ann", gender="f", audience="party", title="Dr", fields=own)
    assert phrases.greet(one) == "Caro {name}, ciao!"  # data, not a pattern
    empty = Contact("ann@party.example", name="Ann", gender="f", fields={"salutation": ""})
    assert phrases.greet(empty) == "Dear Ms Ann,"


def test_a_name_is_data_not_a_pattern() -> None:
    phrases = salutations.parse("x.toml", MINIMAL)
    name = "{title} {0.__class__} <b>"
    assert phrases.greet(contact("f", name=name)) == f"Dear Ms {name},"


def test_the_footer_takes_the_address_where_the_sender_has_no_name() -> None:
    phrases = salutations.parse("x.toml", MINIMAL)
    answers = Identity("Desk", "answers@mail.example")
    assert phrases.foot(Identity("", "me@mail.example"), answers) == (
        "From me@mail.example, answers to answers@mail.example\nSay STOP"
    )


def test_titles_are_known_by_their_letters_and_said_as_the_language_says_them() -> None:
    text = MINIMAL.replace(
        '{ "Dr" = "Dr" }', '{ "Prof. Dr." = { f = "Professorin", m = "Professor" }, "Dr" = "Dr." }'
    )
    phrases = salutations.parse("x.toml", text)
    for title, gender, said in (
        ("Prof.Dr.", "f", "Dear Professorin Ann,"),
        ("PROF DR", "m", "Dear Professor Ann,"),
        ("MdB Dr", "f", "Dear Dr. Ann,"),  # of several, the first that is known
        ("MdB", "f", "Dear Ms Ann,"),
        ("Prof. Dr.", "", "Dear Ann,"),  # no form for a gender that is not known
    ):
        assert phrases.greet(contact(gender, name="Ann", title=title)) == said


def test_names_in_two_columns_are_put_together_in_the_order_of_the_language() -> None:
    first = salutations.parse("x.toml", "family_name_first = true\n" + MINIMAL)
    last = salutations.parse("x.toml", MINIMAL)
    parts = {"given_name": "János", "family_name": "Kovács"}
    assert first.greet(contact("m", fields=parts)) == "Dear Mr Kovács János,"
    assert first.greet(contact("m", name="János Kovács", fields=parts)) == "Dear Mr Kovács János,"
    assert last.greet(contact("m", fields=parts)) == "Dear Mr János Kovács,"
    assert (
        last.greet(contact("m", fields={"last_name": "Kovács", "first_name": "János"}))
        == "Dear Mr János Kovács,"
    )
    assert last.greet(contact("m", fields={"surname": "Kovács"})) == "Dear Mr Kovács,"
    japanese = {"given_name": "ひかる", "family_name": "村瀬"}
    assert first.greet(contact("f", fields=japanese)) == "Dear Ms 村瀬ひかる,"


GREEK = """
[vocative.m]
"ος" = "ε"
"ης" = "η"
"ας" = "α"
[vocative.f]
"α" = "α"
"η" = "η"
"ου" = "ου"
[greeting.formal]
f = ["Αγαπητή κυρία {family_vocative},", "Αγαπητή κυρία,"]
m = ["Αγαπητέ κύριε {family_vocative},", "Αγαπητέ κύριε,"]
unknown = ["Καλημέρα σας,"]
organisation = ["Αγαπητές κυρίες, αγαπητοί κύριοι,"]
group = ["Αγαπητές κυρίες, αγαπητοί κύριοι,"]
[footer]
text = "{sender}"
opt_out = "STOP"
"""


@pytest.mark.parametrize(
    ("gender", "fields", "greeting"),
    [
        ("m", {"family_name": "Παπαδόπουλος"}, "Αγαπητέ κύριε Παπαδόπουλε,"),
        ("m", {"family_name": "Αλεξανδρίδης"}, "Αγαπητέ κύριε Αλεξανδρίδη,"),
        ("m", {"family_name": "Ρήγας-Σολωμός"}, "Αγαπητέ κύριε,"),  # -ός has no rule: better no name
        ("m", {"family_name": "Ρήγας-Κάλβος"}, "Αγαπητέ κύριε Ρήγα-Κάλβε,"),
        ("m", {"family_name": "Smith"}, "Αγαπητέ κύριε,"),
        ("m", {"family_name": "Παππούς", "family_vocative": "Παππού"}, "Αγαπητέ κύριε Παππού,"),
        ("f", {"family_name": "Παπαδοπούλου"}, "Αγαπητή κυρία Παπαδοπούλου,"),
        ("f", {}, "Αγαπητή κυρία,"),
        ("", {"family_name": "Παπαδόπουλος"}, "Καλημέρα σας,"),
    ],
)
def test_a_name_is_called_by_its_form_of_address_or_not_at_all(
    gender: str, fields: dict[str, str], greeting: str
) -> None:
    assert salutations.parse("el.toml", GREEK).greet(contact(gender, fields=fields)) == greeting


def test_the_letter_goes_on_with_a_small_letter_only_where_the_language_wants_it() -> None:
    german, english = shipped("de"), shipped("en")
    assert not german.wants_capital("Sehr geehrte Frau Lee,")
    assert german.wants_capital("Liebe Ann!")
    assert german.wants_capital("Hallo Ann")
    assert not english.wants_capital("Hi Ann!")  # in English the author's own letter stays


def test_a_name_of_the_other_direction_is_isolated_and_compares_as_itself() -> None:
    greeting = shipped("ar").greet(contact("f", name="Maria (NGO)", audience="party"), "rtl")
    assert greeting == "الرفيقة العزيزة Maria (NGO)،"
    assert languages.shown(greeting) == "الرفيقة العزيزة \u2068Maria (NGO)\u2069،"
    same = shipped("ar").greet(contact("f", name="ريما", audience="party"), "rtl")
    assert languages.shown(same) == same


def test_why_a_reader_is_greeted_so_is_said() -> None:
    phrases = salutations.parse("_languages/x.toml", MINIMAL)
    assert (
        phrases.why(contact("f", name="Ann")) == "_languages/x.toml: [greeting.formal] f = 'Dear Ms {name},'"
    )
    assert "own column" in phrases.why(contact(fields={"salutation": "Hi"}))


# Mistakes in a language file ---------------------------------------------------------------------


def problems(text: str) -> list[str]:
    with pytest.raises(LetterError) as caught:
        salutations.parse("_languages/x.toml", text)
    assert caught.value.exit_code == Exit.DATA
    assert "_languages/x.toml" in caught.value.message
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('f = ["Comrade {name}!", "Comrade!"]', "", "[greeting.comrades] f is missing"),
        ('f = ["Comrade {name}!", "Comrade!"]', "f = []", "[greeting.comrades] f is missing"),
        ('f = ["Comrade {name}!", "Comrade!"]', 'f = "Comrade!"', "[greeting.comrades] f is missing"),
        ('"Dear Sir,"', '"Dear {nmae},", "Dear Sir,"', "[greeting.formal] m has an unknown field {nmae}"),
        ('"Dear Sir,"', '"Dear {email},", "Dear Sir,"', "[greeting.formal] m has an unknown field {email}"),
        ('"Dear Sir,"', '"{name.__class__}", "Dear Sir,"', "has an unknown field {name.__class__}"),
        ('"Dear Sir,"', '"Dear {,", "Dear Sir,"', "[greeting.formal] m has an unknown field"),
        ('"Dear Sir,"', '"Dear {}", "Dear Sir,"', "[greeting.formal] m has an unknown field {}"),
        (
            '"Dear Sir,"',
            '"Dear {name},"',
            "[greeting.formal] m is wrong: its last greeting must need no field",
        ),
        ("{sender}", "{name}", "[footer] text has an unknown field {name}"),
        ("{sender}", "{", "[footer] text has an unknown field"),
        ('text = "From {sender}, answers to {reply_to}"', "", "[footer] text is missing"),
        ('text = "From {sender}, answers to {reply_to}"', 'text = " "', "[footer] text is missing"),
        ('"comrades" }', '"friends" }', "[greeting.friends] f is missing"),
    ],
)
def test_a_mistake_in_a_language_file_is_named(old: str, new: str, expected: str) -> None:
    assert old in MINIMAL
    assert any(expected in one for one in problems(MINIMAL.replace(old, new)))


def test_all_mistakes_are_shown_at_once() -> None:
    found = problems("")
    assert len(found) == 7
    assert all(one.startswith("_languages/x.toml: ") for one in found)


def test_a_file_that_is_no_toml_says_where() -> None:
    with pytest.raises(LetterError, match=r"x\.toml is no valid TOML: .*line 2") as caught:
        salutations.parse("x.toml", "name = 'x'\nfooter =\n")
    assert caught.value.exit_code == Exit.DATA


@pytest.mark.parametrize(
    "text",
    [
        "greeting = 1",
        "greeting = []",
        "[greeting]\nformal = 1",
        "[greeting]\nformal = ['x']",
        "registers = 1",
        "registers = ['comrades']",
        "registers = { party = 1 }",
        "registers = { party = ['x'] }",
        "footer = 1",
        "footer = 'text'",
        "[footer]\ntext = 1",
        "[footer]\ntext = ['x']",
        MINIMAL.replace('"Dear Sir,"', "1"),
        MINIMAL.replace('"Dear Sir,"', '["x"]'),
        MINIMAL.replace('titles = { "Dr" = "Dr" }', "titles = 5"),
        MINIMAL.replace('titles = { "Dr" = "Dr" }', "titles = { a = { x = 'y' } }"),
    ],
)
def test_a_value_of_the_wrong_kind_is_a_letter_error_not_a_traceback(text: str) -> None:
    with pytest.raises(LetterError):
        salutations.parse("x.toml", text)


@pytest.mark.parametrize("pattern", ["{name:z}", "{name!x}", "{name:>{title}}", "{name:d}"])
def test_a_pattern_that_cannot_be_filled_is_refused_when_it_is_read(pattern: str) -> None:
    with pytest.raises(LetterError):
        salutations.parse("x.toml", MINIMAL.replace('"Dear Sir,"', f'"Dear {pattern},", "Dear Sir,"'))
    with pytest.raises(LetterError):
        salutations.parse("x.toml", MINIMAL.replace("{sender}", pattern.replace("name", "sender")))


def test_an_empty_greeting_is_refused() -> None:
    with pytest.raises(LetterError):
        salutations.parse("x.toml", MINIMAL.replace('"Dear Sir,"', '""'))
