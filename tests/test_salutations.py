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


# Several people, one inbox -------------------------------------------------------------------------

# A woman, a man, a woman: the full name, and the family name where greetings of the language take it.
THREE = {
    "ar": ("مريم حداد", "يوسف التازي", "ريما سالم"),
    "cs": ("Jana|Nováková", "Petr|Novák", "Eva|Malá"),
    "da": ("Anne|Holm", "Jens|Berg", "Mette|Lund"),
    "de": ("Jana|Köhler", "Ole|Brandt", "Ute|Weiß"),
    "el": ("Μαρία|Παπαδοπούλου", "Γιώργος|Παπαδόπουλος", "Ελένη|Ρήγα"),
    "en": ("Ann|Lee", "Bob|Ray", "Chidi|Okafor"),
    "es": ("Ana|López", "Luis|Ruiz", "Inés|Vega"),
    "fr": ("Léa|Morel", "Théo|Vauclin", "Inès|Roy"),
    "it": ("Anna|Rossi", "Luca|Bianchi", "Sara|Verdi"),
    "nl": ("Anna|de Vries", "Jan|Jansen", "Els|Bos"),
    "pl": ("Anna|Nowak", "Piotr|Kowalski", "Ewa|Zielińska"),
    "pt": ("Ana|Reis", "Rui|Melo", "Inês|Gama"),
    "ru": ("Анна Петровна Ли", "Иван Ким", "Ольга Цой"),
    "sv": ("Anna|Lind", "Erik|Berg", "Eva|Ek"),
    "tr": ("Ayşe|Kaya", "Mehmet|Demir", "Elif|Ak"),
    "uk": ("Олена|Коваль", "Іван|Бондаренко", "Ганна|Мороз"),
}
# Typed by hand, like the table of greetings: language, audience, genders, titles, greeting.
SHARED = [
    ("ar", "", "fm", "", "السيدة مريم حداد المحترمة، والسيد يوسف التازي المحترم،"),
    (
        "ar",
        "",
        "fmf",
        "",
        "السيدة مريم حداد المحترمة، والسيد يوسف التازي المحترم، والسيدة ريما سالم المحترمة،",
    ),
    ("ar", "", "fm", "Dr", "السيدة الدكتورة مريم حداد المحترمة، والسيد الدكتور يوسف التازي المحترم،"),
    ("ar", "", "f?", "", "إلى عناية مريم حداد ويوسف التازي، تحية طيبة،"),
    ("ar", "", "???", "Dr", "إلى عناية د. مريم حداد ود. يوسف التازي ود. ريما سالم، تحية طيبة،"),
    ("ar", "party", "fm", "", "الرفيقة العزيزة مريم حداد، والرفيق العزيز يوسف التازي،"),
    ("ar", "party", "?m", "", "تحية رفاقية إلى مريم حداد ويوسف التازي،"),
    ("cs", "", "fm", "", "Vážená paní Nováková, vážený pane Nováku,"),
    ("cs", "", "fmf", "", "Vážená paní Nováková, vážený pane Nováku, vážená paní Malá,"),
    ("cs", "deputy", "fm", "MP", "Vážená paní poslankyně, vážený pane poslanče,"),
    ("cs", "deputy", "fmf", "Senator", "Vážené paní senátorky, vážený pane senátore,"),
    ("cs", "", "f?", "", "Vážené paní, vážení pánové,"),
    ("cs", "party", "fm", "", "Vážená přítelkyně, vážený příteli,"),
    ("cs", "party", "fmf", "", "Vážené přítelkyně, vážený příteli,"),
    ("da", "", "fm", "", "Kære Anne Holm, kære Jens Berg"),
    ("da", "", "fmf", "", "Kære Anne Holm, kære Jens Berg, kære Mette Lund"),
    ("da", "party", "fm", "", "Kære kammerat Anne Holm, kære kammerat Jens Berg"),
    ("de", "", "fm", "", "Sehr geehrte Frau Köhler, sehr geehrter Herr Brandt,"),
    ("de", "", "fmf", "", "Sehr geehrte Frau Köhler, sehr geehrter Herr Brandt, sehr geehrte Frau Weiß,"),
    ("de", "", "fm", "Prof", "Sehr geehrte Frau Professorin Köhler, sehr geehrter Herr Professor Brandt,"),
    ("de", "", "??", "", "Guten Tag Jana Köhler, guten Tag Ole Brandt,"),
    ("de", "party", "fm", "", "Liebe Genossin Köhler, lieber Genosse Brandt,"),
    ("de", "party", "m?", "", "Lieber Genosse Köhler, hallo Ole Brandt,"),
    ("el", "", "fm", "", "Αξιότιμη κυρία Παπαδοπούλου, αξιότιμε κύριε Παπαδόπουλε,"),
    ("el", "", "fmf", "", "Αξιότιμη κυρία Παπαδοπούλου, αξιότιμε κύριε Παπαδόπουλε, αξιότιμη κυρία Ρήγα,"),
    ("el", "", "fmf", "Prof", "Αξιότιμες κυρίες Καθηγήτριες, αξιότιμε κύριε Καθηγητά,"),
    ("el", "party", "fm", "", "Αγαπητή συντρόφισσα Παπαδοπούλου, αγαπητέ σύντροφε Παπαδόπουλε,"),
    ("el", "party", "f?", "", "Αγαπητές συντρόφισσες, αγαπητοί σύντροφοι,"),
    ("en", "", "fm", "", "Dear Ms Lee, dear Mr Ray,"),
    ("en", "", "fmf", "", "Dear Ms Lee, dear Mr Ray, dear Ms Okafor,"),
    ("en", "", "f?", "Dr", "Dear Dr Lee, dear Dr Ray,"),
    ("en", "party", "fm", "", "Dear Comrade Ann Lee, dear Comrade Bob Ray,"),
    ("es", "", "fm", "", "Estimada señora López, estimado señor Ruiz:"),
    ("es", "", "fmf", "", "Estimada señora López, estimado señor Ruiz, estimada señora Vega:"),
    ("es", "deputy", "fm", "Dip", "Estimada diputada López, estimado diputado Ruiz:"),
    ("es", "", "??f", "", "A la atención de Ana López, de Luis Ruiz y de Inés Vega:"),
    ("es", "party", "fm", "", "Estimada compañera Ana López, estimado compañero Luis Ruiz:"),
    ("es", "party", "f?", "", "Saludos solidarios a Ana López y a Luis Ruiz:"),
    ("fr", "", "fm", "", "Madame, Monsieur,"),
    ("fr", "", "fmf", "", "Mesdames, Monsieur,"),
    ("fr", "", "mf", "", "Madame, Monsieur,"),
    ("fr", "", "ff", "", "Mesdames,"),
    ("fr", "", "f?", "", "Mesdames, Messieurs,"),
    ("fr", "deputy", "fm", "", "Madame la Députée, Monsieur le Député,"),
    ("fr", "deputy", "fmf", "", "Mesdames les Députées, Monsieur le Député,"),
    ("fr", "", "mm", "Sénateur", "Messieurs les Sénateurs,"),
    ("fr", "party", "fm", "", "Chère camarade, cher camarade,"),
    ("fr", "party", "fmf", "", "Chères camarades, cher camarade,"),
    ("it", "", "fm", "", "Gentile signora Rossi, gentile signor Bianchi,"),
    ("it", "", "fmf", "", "Gentile signora Rossi, gentile signor Bianchi, gentile signora Verdi,"),
    ("it", "deputy", "fm", "", "Gentile onorevole Rossi, gentile onorevole Bianchi,"),
    ("it", "party", "fm", "", "Cara compagna Anna Rossi, caro compagno Luca Bianchi,"),
    ("it", "party", "f?", "", "Care compagne e cari compagni,"),
    ("nl", "", "fm", "", "Geachte mevrouw Anna de Vries, geachte heer Jan Jansen,"),
    ("nl", "", "fmf", "", "Geachte mevrouw Anna de Vries, geachte heer Jan Jansen, geachte mevrouw Els Bos,"),
    ("nl", "party", "fm", "", "Beste kameraad Anna de Vries, beste kameraad Jan Jansen,"),
    ("pl", "", "fm", "", "Szanowna Pani, Szanowny Panie,"),
    ("pl", "", "fmf", "", "Szanowne Panie, Szanowny Panie,"),
    ("pl", "", "mm", "", "Szanowni Panowie,"),
    ("pl", "", "f?", "", "Szanowni Państwo,"),
    ("pl", "deputy", "fm", "MP", "Szanowna Pani Posłanko, Szanowny Panie Pośle,"),
    ("pl", "", "fmf", "Dyr", "Szanowne Panie, Szanowny Panie,"),  # no plural of the title: for nobody
    ("pl", "party", "fm", "", "Droga Koleżanko Anno, Drogi Kolego Piotrze,"),
    ("pl", "party", "fmf", "", "Droga Koleżanko Anno, Drogi Kolego Piotrze, Droga Koleżanko Ewo,"),
    ("pt", "", "fm", "", "Cara Senhora Ana Reis, caro Senhor Rui Melo,"),
    ("pt", "", "fmf", "", "Cara Senhora Ana Reis, caro Senhor Rui Melo, cara Senhora Inês Gama,"),
    ("pt", "", "??f", "", "À atenção de Ana Reis, de Rui Melo e de Inês Gama,"),
    ("pt", "deputy", "fm", "", "Senhora Deputada Ana Reis, Senhor Deputado Rui Melo,"),
    ("pt", "deputy", "?m", "", "À atenção de Ana Reis e de Rui Melo,"),
    ("pt", "party", "fm", "", "Cara camarada Ana Reis, caro camarada Rui Melo,"),
    ("ru", "", "fm", "", "Уважаемая Анна Петровна Ли, уважаемый Иван Ким!"),
    ("ru", "", "fmf", "", "Уважаемая Анна Петровна Ли, уважаемый Иван Ким, уважаемая Ольга Цой!"),
    ("ru", "", "f?f", "", "Здравствуйте, Анна Петровна Ли, Иван Ким и Ольга Цой!"),
    ("ru", "party", "fm", "", "Здравствуйте, товарищи Анна Петровна Ли и Иван Ким!"),
    ("sv", "", "fm", "", "Bästa Anna Lind, bäste Erik Berg!"),
    ("sv", "", "fmf", "", "Bästa Anna Lind, bäste Erik Berg, bästa Eva Ek!"),
    ("sv", "party", "fm", "", "Bästa kamrat Anna Lind, bäste kamrat Erik Berg!"),
    ("tr", "", "fm", "", "Sayın Ayşe Kaya, Sayın Mehmet Demir,"),
    ("tr", "", "fmf", "", "Sayın Ayşe Kaya, Sayın Mehmet Demir, Sayın Elif Ak,"),
    ("tr", "party", "fm", "", "Değerli Ayşe Yoldaş, Değerli Mehmet Yoldaş,"),
    ("uk", "", "fm", "", "Шановна пані Коваль, шановний пане Бондаренку!"),
    ("uk", "", "fmf", "", "Шановна пані Коваль, шановний пане Бондаренку, шановна пані Мороз!"),
    ("uk", "", "f?", "", "Шановні пані та панове!"),
    ("uk", "party", "fm", "", "Дорога товаришко Коваль, дорогий товаришу Бондаренку!"),
]


def person(gender: str, name: str, audience: str = "", title: str = "", **fields: str) -> Contact:
    """A person; `Ann|Lee` is a name in two columns as well."""
    parts = dict(zip(("given_name", "family_name"), name.split("|"), strict=True)) if "|" in name else {}
    known = {"name": name.replace("|", " "), "audience": audience, "title": title}
    return contact(gender.replace("?", ""), **known, fields=parts | fields)


def inbox(*people: Contact, **known: Any) -> Contact:
    """A contact as contacts.py makes it of several rows."""
    first = people[0]
    known = {"audience": first.audience, "organisation": first.organisation} | known
    return contact("group", name=", ".join(one.name for one in people if one.name), people=people, **known)


@pytest.mark.parametrize(
    ("language", "audience", "genders", "title", "greeting"),
    SHARED,
    ids=[f"{language} {greeting}" for language, *_, greeting in SHARED],
)
def test_everybody_who_shares_an_inbox_is_greeted_in_one_sentence_of_the_language(
    language: str, audience: str, genders: str, title: str, greeting: str
) -> None:
    names = THREE[language][: len(genders)]
    people = [person(*one, audience, title) for one in zip(genders, names, strict=True)]
    assert shipped(language).greet(inbox(*people), languages.direction(language)) == greeting


def test_the_table_of_shared_inboxes_has_two_and_three_people_in_every_language() -> None:
    tags = {path.stem for path in SHIPPED.glob("*.toml")}
    assert {language for language, *_ in SHARED} == set(THREE) == tags
    for genders in ("fm", "fmf"):
        assert {row[0] for row in SHARED if row[1:4] == ("", genders, "")} == tags
    assert {row[0] for row in SHARED if row[1:3] == ("party", "fm")} == tags


@pytest.mark.parametrize("language", sorted(THREE))
def test_no_greeting_of_a_shared_inbox_has_a_gap_or_a_second_end(language: str) -> None:
    phrases, direction = shipped(language), languages.direction(language)
    kinds = list(itertools.product(("f", "m", "?"), (True, False), ("", "party", "deputy"), ("", "Senator")))
    for pair in itertools.product(kinds, repeat=2):
        two = [
            person(gender, name if named else "", audience, title)
            for name, (gender, named, audience, title) in zip(THREE[language], pair, strict=False)
        ]
        greeting = phrases.greet(inbox(*two), direction)
        assert greeting.strip() == greeting != ""
        assert not re.search(r"\s\s|\s[,!.،]|[{}]|[,،:!][,،:!]|[:!].", greeting), greeting
        assert greeting[0] == greeting[0].upper()


def test_every_shipped_plural_and_capital_belongs_to_a_greeting() -> None:
    for language in THREE:
        phrases = shipped(language)
        ones = {
            pattern.format_map({"title": forms.get(gender, "")})
            for table in phrases.greetings.values()
            for gender in ("f", "m")
            for pattern in table[gender]
            for forms in [*phrases.titles.values(), {}]
            if set(re.findall(r"{(\w+)}", pattern)) <= {"title"}
        }
        assert set(phrases.together.plural) <= ones, set(phrases.together.plural) - ones
        words = {text.split()[0].rstrip("!,") for text in [*ones, *phrases.together.plural.values()]}
        words |= {
            p.split()[0] for table in phrases.greetings.values() for some in table.values() for p in some
        }
        kept = {word for word, behind in phrases.together.beginnings.items() if behind[:1].isupper()}
        assert kept <= words, kept - words


SARA = person("f", "Sara|Lind")
TOM = person("m", "Tom|Berg")


@pytest.mark.parametrize(
    ("people", "greeting"),
    [
        ((SARA, TOM), "Dear Ms Lind, dear Mr Berg,"),
        ((TOM, SARA), "Dear Mr Berg, dear Ms Lind,"),  # the order of the list
        ((SARA, person("f", "")), "Ladies and Gentlemen,"),
        ((SARA, person("", "")), "Ladies and Gentlemen,"),
        ((SARA, contact("organisation", name="Desk", organisation="Open Cells")), "Ladies and Gentlemen,"),
        ((SARA, person("f", "", salutation="Dear Editor,")), "Dear Ms Lind, dear Editor,"),
        ((SARA, person("f", "", given_name="Eva")), "Dear Ms Lind, dear Ms Eva,"),
        ((SARA, person("f", "Ann|Lind")), "Dear Ms Sara Lind, dear Ms Ann Lind,"),  # which one?
        ((SARA, person("m", "Ann|Lind")), "Dear Ms Lind, dear Mr Lind,"),
        ((SARA, SARA), "Dear Ms Sara Lind,"),
        ((SARA, TOM, person("f", "Ann|Lind")), "Dear Ms Sara Lind, dear Mr Berg, dear Ms Ann Lind,"),
        (
            (SARA, TOM, *(person("m", f"A|B{n}") for n in "123")),
            "Dear Ms Lind, dear Mr Berg, dear Mr B1, dear Mr B2, dear Mr B3,",
        ),
        ((SARA, TOM, *(person("m", f"A|B{n}") for n in "1234")), "Ladies and Gentlemen,"),
        ((SARA, person("m", "Tom Jr.")), "Dear Ms Lind, dear Mr Tom Jr.,"),
        ((person("m", "Tom Jr."), SARA), "Dear Mr Tom Jr., dear Ms Lind,"),
        ((person("f", "{title} {0.x}"), TOM), "Dear Ms {title} {0.x}, dear Mr Berg,"),
        ((person("f", "Ann|Lee", "party"), TOM), "Dear Comrade Ann Lee, dear Mr Berg,"),
    ],
)
def test_nobody_who_shares_an_inbox_is_passed_over(people: tuple[Contact, ...], greeting: str) -> None:
    assert shipped("en").greet(inbox(*people)) == greeting


def test_a_group_is_greeted_without_the_names_and_the_organisation_of_some() -> None:
    nobody = contact("f", organisation="Open Cells")
    one = contact("f", name="Ann Lee", organisation="Open Cells")
    assert shipped("da").greet(inbox(one, nobody)) == "Til Open Cells"
    assert shipped("da").greet(inbox(one, contact("f"))) == "Til rette vedkommende"
    assert shipped("en").greet(inbox(one, nobody)) == "Ladies and Gentlemen,"


def test_people_of_different_registers_are_greeted_formally_as_a_group() -> None:
    comrade, reader = person("f", "Ann|Lee", "party"), person("f", "")
    phrases = salutations.parse("x.toml", MINIMAL)
    assert phrases.greet(inbox(comrade, person("f", "", "party"))) == "Comrades!"
    assert phrases.greet(inbox(comrade, reader)) == "Dear all,"
    russian = person("f", "Анна Ли", "party"), person("m", "Иван Ким", "deputy")
    assert shipped("ru").greet(inbox(*russian)) == "Здравствуйте, Анна Ли и Иван Ким!"


@pytest.mark.parametrize(
    ("language", "people", "greeting"),
    [
        # The name of one has no vocative: then no names at all, not for one of them only.
        ("cs", (("f", "Jana|Nováková"), ("m", "Bob|Smith")), "Vážená paní, vážený pane,"),
        ("el", (("f", "Ελένη|Ρήγα"), ("m", "Bob|Smith")), "Αξιότιμη κυρία, αξιότιμε κύριε,"),
        ("el", (("m", "Bob|Smith"), ("f", "Ελένη|Ρήγα")), "Αξιότιμη κυρία, αξιότιμε κύριε,"),
        ("el", (("m", "Bob|Smith"), ("m", "Γιώργος|Ρήγας")), "Αξιότιμοι κύριοι,"),
        ("pl", (("m", "Hugo|Ek", "party"), ("f", "Anna|Nowak", "party")), "Droga Koleżanko, Drogi Kolego,"),
        ("uk", (("f", "Олена|Коваль"), ("m", "Bob Smith")), "Шановна пані, шановний пане!"),
        (
            "el",
            (("m", "Γιώργος|Ρήγας"), ("m", "Νίκος|Ρήγας")),
            "Αξιότιμε κύριε Γιώργο Ρήγα, αξιότιμε κύριε Νίκο Ρήγα,",
        ),
    ],
)
def test_a_name_that_cannot_be_said_takes_the_other_names_with_it(
    language: str, people: tuple[tuple[str, ...], ...], greeting: str
) -> None:
    assert shipped(language).greet(inbox(*(person(*one) for one in people))) == greeting


def test_a_list_of_names_has_their_titles_and_their_forms_of_address() -> None:
    people = person("f", "Олена Коваль", name_vocative="Олено"), person("?", "Кім", name_vocative="Кіме")
    assert shipped("uk").greet(inbox(*people)) == "Добрий день, Олено та Кіме!"
    people = person("?", "Ana Reis", title="Dra"), person("?", "Kim Melo")
    assert shipped("pt").greet(inbox(*people)) == "À atenção da Dra. Ana Reis e de Kim Melo,"


@pytest.mark.parametrize(
    ("language", "first", "second", "greeting"),
    [
        ("de", "Liebe Sara,", "", "Liebe Sara, sehr geehrter Herr Berg,"),
        ("de", "", "Lieber Tom,", "Sehr geehrte Frau Lind, lieber Tom,"),
        ("de", "", "Genosse Berg!", "Sehr geehrte Frau Lind, Genosse Berg!"),  # a noun keeps its capital
        ("de", "Liebe Nachbarn!", "Liebe Nachbarn!", "Liebe Nachbarn!"),
        ("de", "Hallo Sara", "", "Hallo Sara, sehr geehrter Herr Berg,"),
        ("fr", "Chère Sara,", "Cher Tom,", "Chère Sara, cher Tom,"),
        ("fr", "Chère Sara\u00a0!", "Salut Tom\u00a0!", "Chère Sara\u00a0! Salut Tom\u00a0!"),
        ("sv", "", "Tjena Tom!", "Bästa Sara Lind! Tjena Tom!"),
        ("sv", "Bästa Sara!", "", "Bästa Sara, bäste Tom Berg!"),
        ("es", "¡Hola, Sara!", "", "¡Hola, Sara! Estimado señor Berg:"),
        ("en", "Hi {name}!", "Hi Tom {", "Hi {name}! Hi Tom {"),
    ],
)
def test_a_salutation_of_the_list_greets_its_person_among_the_others(
    language: str, first: str, second: str, greeting: str
) -> None:
    people = person("f", "Sara|Lind", salutation=first), person("m", "Tom|Berg", salutation=second)
    assert shipped(language).greet(inbox(*people)) == greeting


def test_the_salutation_of_the_whole_inbox_wins() -> None:
    assert shipped("en").greet(inbox(SARA, TOM, fields={"salutation": "Dear team,"})) == "Dear team,"
    assert "own column" in shipped("en").why(inbox(SARA, TOM, fields={"salutation": "Dear team,"}))


def test_each_name_of_the_other_direction_is_isolated() -> None:
    people = person("f", "Maria (NGO)"), person("m", "يوسف"), person("m", "Bob")
    greeting = shipped("ar").greet(inbox(*people), "rtl")
    assert greeting == "السيدة Maria (NGO) المحترمة، والسيد يوسف المحترم، والسيد Bob المحترم،"
    assert languages.shown(greeting) == (
        "السيدة \u2068Maria (NGO)\u2069 المحترمة، والسيد يوسف المحترم، والسيد \u2068Bob\u2069 المحترم،"
    )
    listed = shipped("ar").greet(inbox(person("?", "Kim"), person("m", "يوسف")), "rtl")
    assert languages.shown(listed) == "إلى عناية \u2068Kim\u2069 ويوسف، تحية طيبة،"
    english = shipped("en").greet(inbox(person("f", "مريم"), person("m", "", salutation="يوسف،")))
    assert languages.shown(english) == "Dear Ms \u2068مريم\u2069, \u2068يوسف،\u2069"
    same = shipped("en").greet(inbox(SARA, TOM))
    assert type(same) is str


def test_the_letter_goes_on_behind_a_shared_greeting_as_behind_any_other() -> None:
    for language, people, capital in (
        ("de", (SARA, TOM), False),
        ("de", (SARA, person("m", "", salutation="Hallo Tom!")), True),
        ("ru", (SARA, TOM), True),
        ("cs", (person("f", "Jana|Nováková"), person("m", "Petr|Novák")), False),
        ("en", (SARA, TOM), False),
    ):
        assert shipped(language).wants_capital(shipped(language).greet(inbox(*people))) is capital


def test_why_those_who_share_an_inbox_are_greeted_so_is_said() -> None:
    english, french, russian = shipped("en"), shipped("fr"), shipped("ru")
    assert english.why(inbox(SARA, TOM)) == (
        "2 people share this inbox: en.toml: "
        "[greeting.formal] f = 'Dear Ms {family},'; [greeting.formal] m = 'Dear Mr {family},'"
    )
    group = "en.toml: [greeting.formal] group = 'Ladies and Gentlemen,'"
    assert english.why(inbox(SARA, person("f", ""))) == (
        f"2 people share this inbox, and not all of them can be named: {group}"
    )
    assert english.why(inbox(*[SARA] * 6)) == f"6 people share this inbox, too many to greet by name: {group}"
    assert (
        french.why(inbox(SARA, SARA)) == "2 people share this inbox: fr.toml: [together.plural] 'Mesdames,'"
    )
    assert russian.why(inbox(SARA, TOM, person("?", "Kim"))) == (
        "3 people share this inbox: ru.toml: [together.list.formal]"
    )
    alike = salutations.parse("x.toml", MINIMAL.replace('"Dear {title} {name},", "Dear Ms {name},", ', ""))
    assert alike.greet(inbox(SARA, SARA)) == "Dear all,"
    assert alike.why(inbox(SARA, SARA)) == (
        "2 people share this inbox, who would be greeted alike: x.toml: [greeting.formal] group = 'Dear all,'"
    )


def test_a_language_file_without_a_word_on_it_greets_several_people_too() -> None:
    phrases = salutations.parse("x.toml", MINIMAL)
    assert phrases.greet(inbox(SARA, TOM)) == "Dear Ms Sara Lind, dear Mr Tom Berg,"
    comrades = [person(one.gender, one.name, "party") for one in (SARA, TOM)]
    assert phrases.greet(inbox(*comrades)) == "Comrade Sara Lind, comrade Tom Berg!"


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


@pytest.mark.parametrize(
    ("together", "expected"),
    [
        ("together = 1", "together must be a table: [together]"),
        ("[together]\nbetwen = ','", "unknown key betwen in [together]; known: between, capitals, plural"),
        ("[together]\nbetween = ''", "[together] between must be a text without fields"),
        ("[together]\nbetween = '{name}'", "[together] between must be a text without fields"),
        ("[together]\ncapitals = 'Dear'", "[together] capitals must be a list of words"),
        ("[together]\ncapitals = ['Dear Ms']", "[together] capitals must be a list of words"),
        ("[together]\ncapitals = [1]", "[together] capitals must be a list of words"),
        ("[together]\nplural = ['x']", '[together.plural] must be like "Madame," = "Mesdames,"'),
        ("[together.plural]\n'Dear Sir,' = 1", "[together.plural] must be like"),
        ("[together.plural]\n'Dear Sir,' = '{name}'", "[together.plural] must be like"),
        ("[together.plural]\n'Dear Sir,' = '}'", "[together.plural] must be like"),
        ("[together]\nand = ' and '", "[together] and must be two texts"),
        ("[together]\nand = [', ']", "[together] and must be two texts"),
        ("[together]\nlist = 'x'", "[together] list must hold tables"),
        ("[together]\nlist = { formal = 1 }", "[together.list.formal] must be like all = "),
        ("[together.list.formal]\nall = 'Hi {people}'", "[together.list.formal] must be like all = "),
        (
            "[together.list.formal]\nall = 'Hi'\neach = ['{name}']",
            "all must be a text with {people} in it once",
        ),
        ("[together.list.formal]\nall = '{people}{people}'\neach = ['{name}']", "with {people} in it once"),
        ("[together.list.formal]\nall = '{people:d}'\neach = ['{name}']", "with {people} in it once"),
        ("[together.list.formal]\nall = '{people}'\neach = []", "[together.list.formal] each is missing"),
        ("[together.list.formal]\nall = '{people}'\neach = ['{nmae}']", "each has an unknown field {nmae}"),
        ("[together.list.formal]\nall = '{people}'\neach = ['{title}']", "each must have a name in each"),
        (
            "[together.list.friends]\nall = '{people}'\neach = ['{name}']",
            "[together.list.friends] belongs to no greetings; there are: comrades, formal",
        ),
    ],
)
def test_a_mistake_in_the_words_for_several_people_is_named(together: str, expected: str) -> None:
    text = f"{together}\n{MINIMAL}" if together == "together = 1" else f"{MINIMAL}\n{together}"
    (found,) = problems(text)
    assert expected in found


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
