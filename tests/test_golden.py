"""The shipped letter in every language and for every audience, word for word."""

from __future__ import annotations

import datetime
import email
import re
from functools import cache
from html import unescape

import golden
import pytest

from outreach import message, sources
from outreach.letters import Letter
from outreach.model import Contact, Identity

CASES = [(language, audience) for language in golden.LANGUAGES for audience in golden.AUDIENCES]
ME = Identity(golden.SENDER, golden.ADDRESS)
NOON = datetime.datetime(2012, 5, 14, 12, 0, tzinfo=datetime.UTC)


@cache
def letter() -> Letter:
    return Letter("solidarity", sources.read(golden.TEMPLATES, "solidarity", golden.TEMPLATES))


@cache
def arrived(language: str, audience: str) -> email.message.EmailMessage:
    """The message as a mail program reads it."""
    name, organisation, gender = golden.PEOPLE[language]
    to = Contact("ann@party.example", name, audience, organisation, "", language, gender)
    rendered = letter().render(to, ME, ME, NOON.date())
    data = message.build(rendered, to, ME, ME, "", "<token@mail.example>", NOON)
    return email.message_from_bytes(data, policy=email.policy.default)


def body(mail: email.message.EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


@pytest.mark.parametrize(("language", "audience"), CASES)
def test_subject_and_text_are_the_golden_ones(language: str, audience: str) -> None:
    mail = arrived(language, audience)
    made = f"Subject: {mail['Subject']}\n\n{body(mail, 'plain')}"
    assert made == golden.path(language, audience).read_text(encoding="utf-8")


@pytest.mark.parametrize(("language", "audience"), CASES)
def test_the_golden_files_were_built_without_the_program(language: str, audience: str) -> None:
    built = golden.expected_text(language, audience)
    stored = golden.path(language, audience).read_text(encoding="utf-8")
    assert stored == built, "run tests/golden.py, and read the difference"


@pytest.mark.parametrize(("language", "audience"), CASES)
def test_the_html_is_what_another_markdown_library_makes(language: str, audience: str) -> None:
    html = body(arrived(language, audience), "html")
    content = html.partition('<p class="sender"')[2].partition("</p>")[2].partition('<p class="footer"')[0]
    content = re.sub(r' style="[^"]*"', "", content)
    assert pieces(content) == pieces(golden.expected_html(language, audience))


def pieces(html: str) -> list[str]:
    """Cut HTML into tags and texts; blanks between blocks do not count."""
    found = [unescape(piece).strip() for piece in re.split(r"(<[^>]+>)", html)]
    return [piece for piece in found if piece]


def test_every_file_of_the_letter_is_covered() -> None:
    assert {(one.language, one.audience) for one in letter().files.values()} == set(CASES)
    assert {path.name for path in golden.GOLDEN.iterdir()} == {golden.path(*case).name for case in CASES}
