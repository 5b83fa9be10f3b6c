"""Whatever stands in a contact's fields: one correct mail, no header, link or tag that the letter has not.

Run by tests/test_oldest.py on the oldest Python at hand as well: some versions let an encoded word in a name
become a header line.
"""

from __future__ import annotations

import datetime
import email
import re
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default as parsing
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hostile import HEADERS, HOSTILE
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outreach import message, sources
from outreach.errors import LetterError
from outreach.letters import Letter
from outreach.model import Contact, Identity

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests
TEMPLATES = Path(__file__).parent.parent / "templates"
ME = Identity("Solidarity Committee", "press@mail.example")
NOON = datetime.datetime(2012, 5, 14, 12, 0, tzinfo=datetime.UTC)
OWN = """Subject: To {{ name }} of {{ organisation }}: {{ q }}

{{ salutation }}

**{{ name }}** *{{ organisation }}* `{{ q }}` [x](https://x.example/?q={{ q }}) <https://x.example/{{ q }}>

- {{ q }}
- {{ title }} {{ q|upper }} {{ q|replace("a", name) }} {{ q ~ name }} {{ q[:50] }}

> {{ q }}

| {{ q }} | {{ name }} |
|---|---|
{% for word in q.split() %}
{% if loop.index < 3 %}
| {{ word }} | {{ organisation }} |
{% endif %}
{% endfor %}

![a picture for {{ name }}](p.png)
"""


@cache
def letters() -> list[Letter]:
    texts = sources.read(TEMPLATES, "solidarity", TEMPLATES)
    common = {path: text for path, text in texts.items() if path.startswith("_")}
    own = {f"own/{language}.md": OWN for language in ("en", "ar", "de")}
    return [Letter("solidarity", texts), Letter("own", {**common, **own}, "en", lambda name: b"PNG")]


class _Tags(HTMLParser):
    """The tags and addresses of an HTML text, besides the <bdi> around values."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "bdi":
            self.tags.append(f"{tag} {' '.join(sorted(name for name, _ in attrs))}")
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def shape(html: str) -> tuple[list[str], list[str]]:
    """Return the tags in order, and where the links lead up to the part that a contact may fill.

    Without the rows of the table: it has as many as the field has words.
    """
    found = _Tags()
    found.feed(html)
    found.close()
    rows = ("tr ", "td style", "tr style")
    tags = [tag for tag in found.tags if tag not in rows]
    return tags, [re.sub(r"(https://x\.example/(\?q=)?).*", r"\1", link) for link in found.links]


def parse(data: bytes) -> EmailMessage:
    mail = email.message_from_bytes(data, policy=parsing)
    assert isinstance(mail, EmailMessage)
    return mail


def content(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


_FIELD = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(), max_size=30),  # lone surrogates too
    st.lists(st.sampled_from([*HOSTILE[:25], " ", "é", "Ann", "\n", "ريما"]), max_size=4).map("".join),
)
_LANGUAGE = st.sampled_from(["en", "de", "fr", "es", "ru", "ar", "de+ar", "ar+fr"])


@PROPERTY
@given(
    st.sampled_from([0, 1]),
    _LANGUAGE,
    st.sampled_from(["party", "deputy", "human-rights", ""]),
    _FIELD,
    _FIELD,
    _FIELD,
    st.sampled_from(["", "f", "m", "organisation", "group"]),
    _FIELD,
)
@example(0, "ar", "party", "Maria ({{ 7*7 }})", "=?utf-8?q?=0ABcc:x?=", "Dr", "f", "x")
@example(1, "de+ar", "", "x" * 10_000, "x" * 10_000, "<script>", "", "](http://")
@example(1, "ar", "", "я" * 10_000, "я " * 5_000, "](http://", "m", "\r\nBcc: x")
@example(1, "en", "", '"' * 899, "\r\n.\r\n", "\ud800", "", "\ud800")
@example(0, "ru", "party", "\u202eевил", "a\r\nSubject: b", "\x1b[31m", "group", "")
def test_any_fields_make_one_correct_mail(
    which: int, language: str, audience: str, name: str, q: str, title: str, gender: str, salutation: str
) -> None:
    letter = letters()[which]

    def reader(name: str, organisation: str, q: str, title: str, salutation: str) -> Contact:
        fields = {"q": q, "salutation": salutation}
        return Contact(
            "ann@party.example", name, audience, organisation, "", language, gender, title, fields=fields
        )

    harmless = letter.render(reader("Ann", "Org", "one two three", "", "Dear Ann,"), ME, ME, NOON.date())
    to = reader(name, q, q, title, salutation)
    try:
        made = letter.render(to, ME, ME, NOON.date())
    except LetterError as error:
        assert which == 1 and "grows without end" in error.message  # 10,000 times 10,000 characters
        return
    data = message.build(made, to, ME, ME, "", "<token@mail.example>", NOON)

    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998  # RFC 5322 §2.1.1
    bare = data.replace(b"\r\n", b"")
    assert b"\n" not in bare and b"\r" not in bare
    mail = parse(data)
    assert mail.keys() == HEADERS
    assert [part.defects for part in mail.walk()] == [[]] * sum(1 for _ in mail.walk())
    assert [one.addr_spec for one in mail["To"].addresses] == ["ann@party.example"]
    unfolded = data.partition(b"\r\n\r\n")[0].decode().replace("\r\n ", " ")
    (subject,) = re.findall(r"^Subject: (.*?)\r?$", unfolded, re.MULTILINE)
    assert str(make_header(decode_header(subject))) == made.subject
    assert content(mail, "plain") == made.text
    assert content(mail, "html").rstrip("\n") == made.html.rstrip("\n")
    assert shape(made.html) == shape(harmless.html)
    for text in (made.text, made.html):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066\u2067\ud800-\udfff]", text)
        assert text.count("\u2068") == text.count("\u2069")


@pytest.mark.parametrize("language", ["en", "ar", "de+ar"])
def test_every_hostile_text_in_every_field_at_once(language: str) -> None:
    """The longest way round, without chance."""

    def reader(text: str) -> Contact:
        return Contact("a@b.example", text, "party", text, "", language, "f", text, fields={"q": text})

    for letter in letters():
        harmless = letter.render(reader("one two three"), ME, ME, NOON.date())
        for text in HOSTILE:
            try:
                made = letter.render(reader(text), ME, ME, NOON.date())
            except LetterError as error:
                assert "grows without end" in error.message
                continue
            mail = parse(message.build(made, reader(text), ME, ME, "", "<token@mail.example>", NOON))
            assert mail.keys() == HEADERS
            assert shape(made.html) == shape(harmless.html)
