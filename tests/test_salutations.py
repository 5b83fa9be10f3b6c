"""Greetings: correct for everybody, and never with a gap where a name or title is missing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from outreach import salutations
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


def contact(gender: str = "", **known: str) -> Contact:
    return Contact("ann@party.example", gender=gender, **known)


# What we ship, typed by hand: a reworded greeting must be reworded here on purpose.
ANN = {"name": "Ann Lee"}
DR_ANN = {"name": "Ann Lee", "title": "Dr"}
PROF_ANN = {"name": "Ann Lee", "title": "Prof."}
SENATOR = {"name": "Ann Lee", "title": "Senator"}
MP = {"name": "Ann Lee", "title": "MP"}  # stands behind a name, not before it
DR = {"title": "Dr"}
ORGANISATION = {"organisation": "Open Cells"}
BOTH = {"name": "Ann Lee", "organisation": "Open Cells"}
NOBODY: dict[str, str] = {}


@pytest.mark.parametrize(
    ("audience", "gender", "known", "greeting"),
    [
        ("deputy", "f", ANN, "Dear Ms Ann Lee,"),
        ("deputy", "f", DR_ANN, "Dear Dr Ann Lee,"),
        ("deputy", "f", PROF_ANN, "Dear Prof. Ann Lee,"),
        ("deputy", "f", SENATOR, "Dear Senator Ann Lee,"),
        ("deputy", "f", MP, "Dear Ms Ann Lee,"),
        ("deputy", "f", DR, "Dear Madam,"),
        ("deputy", "f", NOBODY, "Dear Madam,"),
        ("deputy", "m", ANN, "Dear Mr Ann Lee,"),
        ("deputy", "m", DR_ANN, "Dear Dr Ann Lee,"),
        ("deputy", "m", MP, "Dear Mr Ann Lee,"),
        ("deputy", "m", NOBODY, "Dear Sir,"),
        ("deputy", "", ANN, "Dear Ann Lee,"),
        ("deputy", "", SENATOR, "Dear Senator Ann Lee,"),
        ("deputy", "", BOTH, "Dear Ann Lee,"),
        ("deputy", "", NOBODY, "Dear Sir or Madam,"),
        ("deputy", "", ORGANISATION, "Dear Sir or Madam,"),
        ("deputy", "organisation", ORGANISATION, "Dear Sir or Madam,"),
        ("deputy", "organisation", BOTH, "Dear Sir or Madam,"),
        ("deputy", "group", ANN, "Dear Ann Lee,"),
        ("deputy", "group", NOBODY, "Ladies and Gentlemen,"),
        ("human-rights", "f", ANN, "Dear Ms Ann Lee,"),
        ("", "m", ANN, "Dear Mr Ann Lee,"),
        ("party", "f", ANN, "Dear Comrade Ann Lee,"),
        ("party", "f", DR_ANN, "Dear Comrade Ann Lee,"),
        ("party", "f", NOBODY, "Dear Comrade,"),
        ("party", "m", ANN, "Dear Comrade Ann Lee,"),
        ("party", "", ANN, "Dear Comrade Ann Lee,"),
        ("party", "", NOBODY, "Dear Comrade,"),
        ("party", "", ORGANISATION, "Dear Comrades,"),
        ("party", "organisation", BOTH, "Dear Comrades,"),
        ("party", "group", ANN, "Dear Comrades,"),
    ],
)
def test_english_greetings(audience: str, gender: str, known: Mapping[str, str], greeting: str) -> None:
    assert shipped("en").greet(contact(gender, audience=audience, **known)) == greeting


@pytest.mark.parametrize(
    ("audience", "gender", "known", "greeting"),
    [
        ("deputy", "f", {"name": "Айгуль Ким"}, "Уважаемая Айгуль Ким!"),
        ("deputy", "f", {"name": "Айгуль Ким", "title": "Dr"}, "Уважаемая Айгуль Ким!"),
        ("deputy", "f", NOBODY, "Уважаемая госпожа!"),
        ("deputy", "m", {"name": "Иван Ким"}, "Уважаемый Иван Ким!"),
        ("deputy", "m", NOBODY, "Уважаемый господин!"),
        ("deputy", "", {"name": "Саша Ким"}, "Здравствуйте, Саша Ким!"),
        ("deputy", "", NOBODY, "Здравствуйте!"),
        ("deputy", "", {"organisation": "Архив"}, "Уважаемые дамы и господа!"),
        ("deputy", "organisation", {"organisation": "Архив"}, "Уважаемые дамы и господа!"),
        ("deputy", "group", {"name": "Секретариат"}, "Уважаемые дамы и господа!"),
        ("human-rights", "f", {"name": "Айгуль Ким"}, "Уважаемая Айгуль Ким!"),
        ("party", "f", {"name": "Айгуль Ким"}, "Здравствуйте, товарищ Айгуль Ким!"),
        ("party", "f", NOBODY, "Здравствуйте, товарищ!"),
        ("party", "m", {"name": "Иван Ким"}, "Здравствуйте, товарищ Иван Ким!"),
        ("party", "", {"name": "Саша Ким"}, "Здравствуйте, товарищ Саша Ким!"),
        ("party", "", NOBODY, "Здравствуйте, товарищ!"),
        ("party", "", {"organisation": "Архив"}, "Дорогие товарищи!"),
        ("party", "organisation", NOBODY, "Дорогие товарищи!"),
        ("party", "group", {"name": "Секретариат"}, "Дорогие товарищи!"),
    ],
)
def test_russian_greetings(audience: str, gender: str, known: Mapping[str, str], greeting: str) -> None:
    assert shipped("ru").greet(contact(gender, audience=audience, **known)) == greeting


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
