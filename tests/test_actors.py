"""Recipients of a rehearsal answer like people and machines, and what they send is understood as meant."""

from __future__ import annotations

import datetime
import email
import email.policy
import itertools
import re
import tomllib
from email.message import EmailMessage
from functools import cache
from pathlib import Path

import pytest

from outreach import actors, classify, contacts, inbound, message
from outreach.model import Contact, Identity, Rendered

NOW = datetime.datetime(2026, 11, 26, 9, 30, tzinfo=datetime.UTC)
MARK = "<mfrggzdfmztwq2lknnwg23tpobyxe43u@outreach.example>"
TEMPLATES = Path(__file__).parent.parent / "templates"
LANGUAGES = sorted(path.stem for path in (TEMPLATES / "_languages").glob("*.toml"))
SENDER = Identity("Solidarity Committee", "press@outreach.example")
REPLY_TO = Identity("Комитет солидарности", "answers@outreach.example")
NAMES = {
    "ar": "ريما الحلواني",
    "cs": "Zdeněk Přibyslavský",
    "de": "Jana Köhlbrandt",
    "el": "Ελένη Χαραλαμπίδου",
    "pl": "Żaneta Łoś",
    "ru": "Айгуль Сатыбалдиева",
    "tr": "Şirin Aydoğmuşlu",
    "uk": "Оксана Гнатюк",
}
FORMS = [("de-CH", "de"), ("pt-BR", "pt"), ("fr-CA", "fr"), ("hi", "en"), ("zh-Hant-TW", "en")]
NOBODY = ["ann@d.example", "reply@d.example", "busy+a@d.example", "a@reply+b.example", "replying+a@d.example"]
TRICKS = ['"; DROP', "=?utf-8?q?=0ABcc:_x@y.example?=", "a\\b", "Ä" * 3000, "w" * 3000, "x, y <z@z.example>"]


@cache
def letter(language: str, name: str | None = None, recipient: str = "reply+desk@party.example") -> bytes:
    """Return a letter as message.py builds it, in the shipped words where there are some."""
    shipped = TEMPLATES / "solidarity" / f"{language}.md"
    source = (shipped if shipped.exists() else TEMPLATES / "solidarity/en.md").read_text("utf-8")
    head, _, body = source.partition("\n\n")
    footer = tomllib.loads((TEMPLATES / "_languages" / f"{language}.toml").read_text("utf-8"))["footer"]
    below = f"{footer['text']}\n{footer['opt_out']}".format(sender=SENDER.name, reply_to=REPLY_TO.address)
    text = re.sub(r"\{[{%].*?[%}]\}\n?", "", body).strip() + f"\n\n-- \n{below}\n"
    page = f'<!doctype html>\n<html lang="{language}" dir="ltr">\n<body><p>{text}</p></body></html>\n'
    subject = re.search(r"^Subject: (.*)$", head, re.MULTILINE)
    assert subject
    return message.build(
        Rendered(subject[1], text, page, language, "ltr", f"{language}.md"),
        Contact(recipient, NAMES.get(language, "Ann O'Lee") if name is None else name),
        SENDER,
        REPLY_TO,
        "",
        MARK,
        NOW - datetime.timedelta(hours=3),
    )


def played(role: str, language: str, variant: int, name: str | None = None) -> bytes:
    recipient = f"{role}+desk@party.example"
    mail = actors.play(letter(language, name, recipient), recipient, NOW, variant)
    assert mail
    return mail


def variants(role: str) -> range:
    return range({"reply": 60, "away": 18, "bounce": 2, "stop": 12}[role])


def one_line(text: str) -> str:
    return " ".join(text.split())


def sentences(language: str, role: str) -> list[str]:
    """Return the sentences of a role with the day in them, before any mail program wrapped them."""
    day = actors._Day(actors.returns(f"{role}+desk@party.example", NOW), language)
    texts = actors.words()[language][role].values()
    return [text.partition(" || ")[0].format(day=day, desk="office@party.example") for text in texts]


EVERY = [(role, language) for role in actors.ROLES for language in LANGUAGES]


def test_there_are_words_in_every_language_that_has_greetings() -> None:
    assert sorted(actors.words()) == LANGUAGES
    for language, said in actors.words().items():
        assert {role: len(said[role]) for role in ("reply", "away", "stop")} == {
            "reply": 5,
            "away": 3,
            "stop": 3,
        }, language
        assert said.keys() == actors.words()["en"].keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_person_s_answer_is_a_reply_with_their_own_words(language: str) -> None:
    said = actors.words()[language]
    seen = set()
    for number in variants("reply"):
        raw = played("reply", language, number)
        got = classify.read(raw)
        assert (got.kind, got.language) == ("reply", language), (number, got.evidence, got.text)
        sentence = sentences(language, "reply")[number % 5]
        assistant = got.sender == "office@party.example"
        assert assistant or got.sender == "reply+desk@party.example"
        if assistant:
            sentence = f"{said['assistant']} {sentence[0].upper()}{sentence[1:]}"
        manner = actors.MANNERS[number // 5 % 4]
        wanted = f"{said['hello']} {sentence}"
        if manner == "below":  # what stands below a quotation is kept with it
            assert one_line(got.text).endswith(wanted), number
            assert "\n> " in got.text
        else:
            assert one_line(got.text) == wanted, (number, manner)
        assert re.match(rf"{said['re']}: \w", got.subject)
        seen.add((number % 5, manner, assistant))
    assert len(seen) == 5 * 4 * 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_note_of_absence_is_read_with_its_day_of_return(language: str) -> None:
    for number in variants("away"):
        raw = played("away", language, number)
        got = classify.read(raw)
        back = actors.returns("away+desk@party.example", NOW)
        assert (got.kind, got.language) == ("auto-reply", language), (number, got.evidence, got.text)
        assert got.returns == back, (number, got.text)
        assert one_line(got.text) == sentences(language, "away")[number % 3]
        assert inbound.read(raw).get("auto-submitted") == "auto-replied"
    threaded = [inbound.read(played("away", language, number)).has("in-reply-to") for number in (0, 3)]
    assert threaded == [False, True]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_day_of_return_is_understood_all_the_year(language: str) -> None:
    recipient = "away+desk@party.example"
    for days, number in itertools.product(range(0, 366, 17), range(3)):
        now = NOW + datetime.timedelta(days=days)
        raw = actors.play(letter(language, None, recipient), recipient, now, number)
        assert raw
        got = classify.read(raw)
        assert got.returns == actors.returns(recipient, now), (now, got.text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_opt_out_is_seen(language: str) -> None:
    for number in variants("stop"):
        raw = played("stop", language, number)
        got = classify.read(raw)
        assert (got.kind, got.language) == ("opt-out", language), (number, got.evidence, got.text)
        assert one_line(got.text).endswith(sentences(language, "stop")[number % 3]), number
        assert got.sender == "stop+desk@party.example"


def test_a_bounce_names_the_dead_address() -> None:
    for language, number in itertools.product(LANGUAGES, variants("bounce")):
        raw = played("bounce", language, number)
        got = classify.read(raw)
        assert got.kind == "bounce"
        (bounce,) = got.bounces
        assert (bounce.recipient, bounce.action) == ("bounce+desk@party.example", "failed")
        assert (bounce.status, bounce.permanent) == ("5.1.1", True)
        mail = inbound.read(raw)
        assert mail.sender == "mailer-daemon@party.example"
        assert mail.get("to") == SENDER.address
        assert mail.returned[0]["message-id"] == MARK


@pytest.mark.parametrize(("role", "language"), EVERY)
def test_a_mail_is_well_formed(role: str, language: str) -> None:
    used = set()
    for number in variants(role):
        raw = played(role, language, number)
        assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
        assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
        head = raw.partition(b"\r\n\r\n")[0]
        assert head.isascii()
        assert all(len(line) <= 200 for line in head.split(b"\r\n"))
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        for part in mail.walk():
            assert part.defects == []
            assert [header for header in part.values() if getattr(header, "defects", ())] == []
            if part.get_content_type() in ("text/plain", "text/html"):
                assert isinstance(part, EmailMessage)
                assert "\ufffd" not in part.get_content()
                used.add(part.get_content_charset())
        assert len({name.lower() for name in mail}) == len(mail)
        assert mail["Date"].datetime == NOW
        assert mail["Message-ID"].rstrip(">").endswith("party.example")
        if role in ("reply", "stop"):
            assert (mail["In-Reply-To"], mail["References"]) == (MARK, MARK)
            assert mail["To"].addresses[0].addr_spec == REPLY_TO.address
            assert mail["To"].addresses[0].display_name == REPLY_TO.name
        if role != "bounce" and "office@" not in str(mail["From"]):
            assert mail["From"].addresses[0].display_name == NAMES.get(language, "Ann O'Lee")
    assert "utf-8" in used or role == "bounce"


@pytest.mark.parametrize("language", LANGUAGES)
def test_older_encodings_are_met_where_they_are_usual(language: str) -> None:
    wanted = actors.words()[language]["charset"]
    for role in ("reply", "away", "stop"):
        mails = [played(role, language, number) for number in variants(role)]
        assert 0 < sum(f"charset={wanted}".encode() in mail for mail in mails) < len(mails), role


def test_a_letter_in_a_regional_form_is_answered_in_its_language() -> None:
    for tag, wanted in FORMS:
        raw = letter("en", "", "stop+x@d.example").replace(b'lang=3D"en"', f'lang=3D"{tag}"'.encode())
        raw = raw.replace(b'lang="en"', f'lang="{tag}"'.encode())
        mail = actors.answer(raw, "stop+x@d.example", NOW)
        assert mail
        assert classify.read(mail).language == wanted


def test_only_roles_answer() -> None:
    for who in NOBODY:
        assert actors.answer(letter("en"), who, NOW) is None
    for role in actors.ROLES:
        assert actors.answer(letter("en"), f"{role.upper()}+a@d.example", NOW)


def test_the_same_rehearsal_gets_the_same_answers() -> None:
    people = [f"reply+{number}@d.example" for number in range(40)]
    first = [actors.answer(letter("fr"), who, NOW) for who in people]
    assert first == [actors.answer(letter("fr"), who, NOW) for who in people]
    assert len({classify.read(mail or b"").text for mail in first}) > 8
    assert len({inbound.read(mail or b"").get("message-id") for mail in first}) == 40


def test_an_organisation_without_a_name_answers_too() -> None:
    for role, number in itertools.product(actors.ROLES, range(4)):
        raw = played(role, "es", number, "")
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert mail["From"].addresses[0].domain == "party.example"


@pytest.mark.parametrize("name", TRICKS, ids=range(len(TRICKS)))
def test_no_name_breaks_a_header(name: str) -> None:
    for role, number in itertools.product(("reply", "away", "stop"), range(20)):
        mail = email.message_from_bytes(played(role, "de", number, name), policy=email.policy.default)
        assert mail["Bcc"] is None
        assert len(mail["From"].addresses) == 1
        assert mail["From"].addresses[0].domain == "party.example"


def test_letters_in_other_domains_are_answered_from_there() -> None:
    raw = letter("de", "", "reply+kontakt@rote-brücke.example")
    mail = email.message_from_bytes(
        actors.answer(raw, "reply+kontakt@rote-brücke.example", NOW) or b"", policy=email.policy.default
    )
    assert mail["From"].addresses[0].domain == "xn--rote-brcke-geb.example"


def test_the_example_list_plays_every_role() -> None:
    found: dict[str, list[Contact]] = {role: [] for role in actors.ROLES}
    for one in contacts.read([TEMPLATES.parent / "contacts.example.csv"]).contacts:
        role = one.email.partition("+")[0]
        if role in found:
            found[role].append(one)
    assert {role: len(some) for role, some in found.items()} == {
        "reply": 5,
        "away": 3,
        "bounce": 2,
        "stop": 2,
    }
    kinds = {"reply": "reply", "away": "auto-reply", "bounce": "bounce", "stop": "opt-out"}
    said = set()
    for role, some in found.items():
        for one in some:
            tag = one.language.partition("-")[0] or {"AT": "de", "CL": "es"}[one.country]
            raw = actors.answer(letter(tag, one.name, one.email), one.email, NOW)
            got = classify.read(raw or b"")
            assert got.kind == kinds[role], one.email
            said.add((role, got.language, got.sender.partition("@")[0] == "office"))
    assert len({language for role, language, _ in said if role == "reply"}) == 5
    assert any(assistant for _, _, assistant in said)
