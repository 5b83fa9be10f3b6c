"""Messages: whatever is in a contact's fields, what leaves is one correct mail that says what it should."""

from __future__ import annotations

import base64
import datetime
import email
import re
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default as parsing
from random import Random

import pytest
from hostile import HEADERS, HOSTILE
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outreach import message
from outreach.message import MessageError
from outreach.model import Contact, Identity, Rendered

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests

KEY = b"k" * 32
TOKEN = "mfrggzdfmztwq2lknnwg23tpobyxe43u"
MESSAGE_ID = f"<{TOKEN}@mail.example>"
NOON = datetime.datetime(2012, 5, 14, 12, 0, 0, 987654, tzinfo=datetime.UTC)
ME = Identity("Solidarity Committee", "press@mail.example")
ANSWERS = Identity("", "answers@mail.example")


def rendered(subject: str = "Hello", text: str = "Text\n", html: str = "<p>Text</p>\n") -> Rendered:
    return Rendered(subject, text, html, "en", "ltr", "en.md")


def build(
    letter: Rendered | None = None,
    to: Contact | None = None,
    sender: Identity = ME,
    reply_to: Identity = ANSWERS,
    unsubscribe: str = "",
    message_id: str = MESSAGE_ID,
    date: datetime.datetime = NOON,
) -> bytes:
    to = to or Contact("ann@party.example")
    return message.build(letter or rendered(), to, sender, reply_to, unsubscribe, message_id, date)


def parse(data: bytes) -> EmailMessage:
    mail = email.message_from_bytes(data, policy=parsing)
    assert isinstance(mail, EmailMessage)
    return mail


def head(data: bytes) -> list[str]:
    """The header block, a line of it per entry, still folded."""
    return data.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def raw(data: bytes, name: str) -> str:
    """One header as it travels, its folds undone."""
    unfolded = "\n".join(head(data)).replace("\n ", " ").split("\n")
    (value,) = (line for line in unfolded if line.startswith(f"{name}: "))
    return value.removeprefix(f"{name}: ")


def shown_name(data: bytes, name: str) -> str:
    """The name in front of an address the way RFC 5322 and RFC 2047 read it."""
    phrase = raw(data, name).rpartition("<")[0].strip()
    if phrase.startswith('"'):
        assert phrase.endswith('"')
        return re.sub(r"\\(.)", r"\1", phrase[1:-1])
    return str(make_header(decode_header(phrase)))


def cleaned(name: str) -> str:
    return " ".join("".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in name).split())


def content(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


# Any name at all ---------------------------------------------------------------------------------

_FIELDS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.lists(st.sampled_from([*HOSTILE[:25], " ", "é", "Ann", "\n"]), max_size=4).map("".join),
)


@PROPERTY
@given(_FIELDS, _FIELDS)
def test_any_sender_and_reply_name_make_two_mailboxes(sender: str, answers: str) -> None:
    data = build(
        sender=Identity(sender, "press@mail.example"), reply_to=Identity(answers, "answers@mail.example")
    )
    mail = parse(data)
    assert mail.keys() == HEADERS
    for header, name, address in (("From", sender, "press"), ("Reply-To", answers, "answers")):
        assert mail[header].defects == ()
        assert [one.addr_spec for one in mail[header].addresses] == [f"{address}@mail.example"]
        assert shown_name(data, header) == cleaned(name)


@PROPERTY
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=80))
@example("x" * 5_000)
@example("я" * 5_000)
@example("=" * 998 + "\n")
@example(".\n..\n.x\n")
@example("From me\n>From you\n")
@example("trailing \t\n \n-- \n")
@example("\u2028\x85\v\f\x1c\n")
def test_text_and_html_arrive_word_for_word(text: str) -> None:
    data = build(rendered(text=text, html=f"<p>{text}</p>"))
    mail = parse(data)
    assert content(mail, "plain").removesuffix("\n") == text.removesuffix("\n")
    assert content(mail, "html").removesuffix("\n") == f"<p>{text}</p>"
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998


# Headers -----------------------------------------------------------------------------------------


def test_the_whole_header_block_of_a_plain_mail() -> None:
    to = Contact("Ann.Lee@party.example", name="Ann Lee")
    assert head(build(rendered("Hello, world"), to))[:-2] == [
        "From: Solidarity Committee <press@mail.example>",
        "To: Ann Lee <Ann.Lee@party.example>",
        "Reply-To: answers@mail.example",
        "Subject: Hello, world",
        "Date: Mon, 14 May 2012 12:00:00 +0000",
        f"Message-ID: {MESSAGE_ID}",
        f"List-Unsubscribe: <mailto:answers@mail.example?subject=unsubscribe%20{TOKEN}>",
        "MIME-Version: 1.0",
    ]


@pytest.mark.parametrize(
    "subject",
    [
        "Сергей Удальцов: призыв к солидарности из России, и просьба ответить на это письмо. " * 3,
        "Σεργκέι Ουνταλτσόφ: έκκληση αλληλεγγύης",
        "日本" * 100,
        "𝒳" * 100,
        "é" * 500,
        "a" * 2_000,
        "word " * 300,
        "Ja",
        "ü",
        "Hi =?utf-8?q?b?= there",
        "=?utf-8?q?=0ABcc:x?=",
        "two  blanks",
        "a" * 70 + " b" * 400,
        "x" * 899,
    ],
)
def test_a_subject_arrives_as_it_is_in_encoded_words_of_at_most_75_characters(subject: str) -> None:
    subject = subject.strip()
    data = build(rendered(subject))
    assert str(make_header(decode_header(raw(data, "Subject")))) == subject
    assert parse(data)["Subject"] == subject
    block = "\r\n".join(head(data))
    assert all(len(word) <= 75 for word in re.findall(r"=\?[^?\s]*\?[^?\s]*\?[^?\s]*\?=", block))
    if not subject.isascii():
        lines = [line for line in head(data) if not line.startswith("List-Unsubscribe:")]  # a URL is not cut
        assert max(map(len, lines)) <= 78
    assert not any(line.strip() in ("", "Subject:") for line in head(data))  # no line of blanks only


@pytest.mark.parametrize("subject", ["Hi\nBcc: x@evil.example", "Hi\r\nBcc: x@evil.example", "Hi\rthere"])
def test_a_line_break_in_a_subject_never_makes_a_header(subject: str) -> None:
    try:
        data = build(rendered(subject))
    except MessageError:
        return
    assert parse(data).keys() == HEADERS


@pytest.mark.parametrize(
    "name",
    [
        "Κώστας Παπαδόπουλος",
        "Νικηφόρος Αλεξανδρίδης-Παπακωνσταντίνου του Γεωργίου και της Μαρίας",
        "Гульнара Юлдашходжаева",
        "村瀬 ひかる",
        "شبكة الضمير",
        "می‌خواهم",  # the joiner inside is spelling
        "Lee, Ann",
        'Ann "Annie" Lee',
        "Ann (MP)",
        "Ann@party",
        "O'Hara",
        "Dr. Ann Lee",
        "Ann\\Lee",
        "a" * 300,
    ],
)
def test_a_name_arrives_as_it_is(name: str) -> None:
    data = build(to=Contact("ann@party.example", name=name))
    assert shown_name(data, "To") == name
    assert [one.addr_spec for one in parse(data)["To"].addresses] == ["ann@party.example"]


def test_an_internationalised_domain_travels_as_an_a_label() -> None:
    data = build(
        to=Contact("ann@brücke.example", name="Ann"),
        sender=Identity("К", "press@почта.example"),
        reply_to=Identity("", "answers@почта.example"),
    )
    assert raw(data, "To") == "Ann <ann@xn--brcke-lva.example>"
    assert raw(data, "From").endswith(" <press@xn--80a1acny.example>")
    assert raw(data, "Reply-To") == "answers@xn--80a1acny.example"
    assert (
        raw(data, "List-Unsubscribe")
        == "<mailto:answers@xn--80a1acny.example?subject=unsubscribe%20mfrggzdfmztwq2lknnwg23tpobyxe43u>"
    )
    assert data.isascii()


def test_only_a_local_part_beyond_ascii_makes_a_utf8_header() -> None:
    data = build(to=Contact("grüße@brücke.example", name="Ann é"))
    assert "=?" not in raw(data, "To").rpartition("<")[2]  # RFC 2047 §5: never inside an address
    assert "<grüße@xn--brcke-lva.example>".encode() in data
    assert parse(data).keys() == HEADERS
    assert "Text" in content(parse(data), "plain")


@pytest.mark.parametrize("name", ["", "Committee"])
def test_a_sender_beyond_ascii_never_becomes_an_encoded_word(name: str) -> None:
    """RFC 2047 §5: no encoded word inside an address. Refuse it, or write it as UTF-8."""
    beyond = Identity(name, "grüße@mail.example")
    for sender, reply_to in ((beyond, ANSWERS), (ME, beyond)):
        try:
            data = build(sender=sender, reply_to=reply_to)
        except MessageError:
            continue
        assert "<grüße@mail.example>".encode() in data or "grüße@mail.example\r\n".encode() in data
        assert b"?=@" not in data


@pytest.mark.parametrize("hours", [-11, -3, 0, 3, 5.5, 14])
def test_the_date_is_utc_and_tells_no_zone(hours: float) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    assert raw(build(date=NOON.astimezone(zone)), "Date") == "Mon, 14 May 2012 12:00:00 +0000"


@pytest.mark.parametrize(
    ("unsubscribe", "header", "one_click"),
    [
        ("", "<mailto:answers@mail.example?subject=unsubscribe%20mfrggzdfmztwq2lknnwg23tpobyxe43u>", False),
        ("mailto:stop@mail.example", "<mailto:stop@mail.example>", False),
        ("https://x.example/stop", "<https://x.example/stop>", True),
        (
            "https://x.example/stop?a={token}",
            "<https://x.example/stop?a=mfrggzdfmztwq2lknnwg23tpobyxe43u>",
            True,
        ),
        ("https://x.example/" + "long-" * 100, "<https://x.example/" + "long-" * 100 + ">", True),
        ("https://x.example/?a=1,2;b=(3)", "<https://x.example/?a=1,2;b=(3)>", True),
    ],
)
def test_list_unsubscribe_is_one_line_however_long(unsubscribe: str, header: str, one_click: bool) -> None:
    data = build(unsubscribe=unsubscribe)
    assert f"List-Unsubscribe: {header}" in head(data)
    assert ("List-Unsubscribe-Post: List-Unsubscribe=One-Click" in head(data)) is one_click  # RFC 8058


@pytest.mark.parametrize(
    "parts",
    [
        {"message_id": "<a@mail.example>\r\nBcc: x@evil.example"},
        {"message_id": "<a\n@mail.example>"},
        {"unsubscribe": "https://x.example/\r\nBcc: x@evil.example"},
        {"unsubscribe": "https://x.example/" + "x" * 1_000},
        {"unsubscribe": "https://x.example/стоп"},
        {"sender": Identity("", "press@mail.example\r\nBcc: x@evil.example")},
        {"to": Contact("ann@party.example\r\nBcc: x@evil.example")},
        {"to": Contact("ann\r\nBcc: x@party.example")},
        {"letter": rendered(text="\ud800")},
        {"letter": rendered(subject="\ud800")},
    ],
)
def test_a_message_that_would_not_be_what_was_asked_for_is_refused(parts: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        build(**parts)


# The document ------------------------------------------------------------------------------------


def test_a_message_is_text_and_html_as_alternatives() -> None:
    mail = parse(build())
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert all(part.get_content_charset() == "utf-8" for part in mail.iter_parts())


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Dear Ann Lee,\n", "quoted-printable"),
        ("Sehr geehrte Frau Müller, bitte erklären Sie öffentlich, was Sie tun.\n", "quoted-printable"),
        ("Chère Hélène, nous vous demandons de prendre la parole.\n", "quoted-printable"),
        ("Уважаемая Айгуль\n", "base64"),
        ("Αγαπητή Ελένη\n", "base64"),
        ("敬愛なる村瀬さん\n", "base64"),
    ],
)
def test_latin_text_is_never_base64_and_other_scripts_are_not_tripled(text: str, encoding: str) -> None:
    mail = parse(build(rendered(text=text * 20, html=f"<p>{text * 20}</p>")))
    assert [part["Content-Transfer-Encoding"] for part in mail.iter_parts()] == [encoding, encoding]
    assert content(mail, "plain") == text * 20


def test_a_message_is_the_same_each_time_and_names_no_machine() -> None:
    assert build() == build()
    assert build() != build(rendered(text="Other\n"))
    assert all(name not in build().lower() for name in (b"user-agent", b"x-mailer", b"python", b"received"))


# Tokens ------------------------------------------------------------------------------------------


def test_a_token_proves_who_wrote_to_whom() -> None:
    message_id = message.new_message_id(KEY, "Ann@brücke.example", "mail.example")
    token = message.token_of(message_id)
    assert message_id == f"<{token}@mail.example>"
    assert re.fullmatch(r"[a-z2-7]{40}", token)
    assert message.verify_token(KEY, token, "Ann@brücke.example")
    assert message.verify_token(KEY, token, "ANN@xn--brcke-lva.example")  # the same mailbox
    assert message.verify_token(KEY, token.upper(), "Ann@brücke.example")  # some servers change the case
    assert not message.verify_token(b"j" * 32, token, "Ann@brücke.example")
    assert not message.verify_token(KEY, token, "bo@brücke.example")
    assert not message.verify_token(KEY, token, "ann+x@brücke.example")


def test_no_two_messages_have_one_id() -> None:
    made = {message.new_message_id(KEY, "ann@party.example", "mail.example") for _ in range(100)}
    assert len(made) == 100


@PROPERTY
@given(st.integers(0, 39), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_token_with_one_letter_changed_is_forged(position: int, letter: str) -> None:
    token = message.token_of(message.new_message_id(KEY, "ann@party.example", "mail.example"))
    forged = token[:position] + letter + token[position + 1 :]
    assert message.verify_token(KEY, forged, "ann@party.example") is (forged == token)


@PROPERTY
@given(st.one_of(st.text(max_size=50), st.text("abcdefgs234567ſßıİK=", min_size=36, max_size=44)))
@example("")
@example("ſ" * 40)  # upper case makes it ASCII
@example("ß" * 20)
@example("ı" * 40)
@example("a" * 40)
@example("a" * 8)
@example("\0" * 40)
@example("=" * 40)
def test_any_text_is_a_forged_token_never_a_traceback(text: str) -> None:
    """Tokens are read from mail that anybody can send."""
    assert message.verify_token(KEY, text, "ann@party.example") is False


def test_a_valid_token_with_something_around_it_is_forged() -> None:
    token = message.token_of(message.new_message_id(KEY, "ann@party.example", "mail.example"))
    nonce = base64.b32decode(token.upper())[:10]
    for forged in (
        token + "=",
        token + "aaaaaaaa",
        " " + token,
        token + "\n",
        token[:-8],
        base64.b32encode(nonce).decode(),
    ):
        assert message.verify_token(KEY, forged, "ann@party.example") is False


# Hashes ------------------------------------------------------------------------------------------


def test_the_content_hash_is_stable() -> None:
    """Written down by hand: another value would stop every running mailing after an upgrade."""
    made = message.content_hash(rendered(), ME, ANSWERS, "")
    assert made == message.content_hash(rendered(), ME, ANSWERS, "")
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    assert made == "ffcd63cb5c3caa44bc7b584333d13f39"


@pytest.mark.parametrize(
    ("letter", "sender", "reply_to", "unsubscribe"),
    [
        (rendered(subject="Hello "), ME, ANSWERS, ""),
        (rendered(text="Text"), ME, ANSWERS, ""),
        (rendered(html="<p>Text</p>"), ME, ANSWERS, ""),
        (rendered(subject="Text\n", text="Hello"), ME, ANSWERS, ""),
        (rendered(), Identity("Other", ME.address), ANSWERS, ""),
        (rendered(), Identity(ME.name, "other@mail.example"), ANSWERS, ""),
        (rendered(), ME, Identity("Desk", ANSWERS.address), ""),
        (rendered(), ME, ME, ""),
        (rendered(), ME, ANSWERS, "https://x.example/stop"),
    ],
)
def test_the_content_hash_changes_with_every_part_that_a_reader_sees(
    letter: Rendered, sender: Identity, reply_to: Identity, unsubscribe: str
) -> None:
    changed = message.content_hash(letter, sender, reply_to, unsubscribe)
    assert changed != message.content_hash(rendered(), ME, ANSWERS, "")


def test_the_content_hash_knows_nothing_of_date_id_and_token() -> None:
    one = build(message_id="<one@mail.example>")
    other = build(message_id="<other@mail.example>", date=NOON + datetime.timedelta(days=1))
    assert one != other
    assert message.content_hash(rendered(), ME, ANSWERS, "https://x.example/{token}") == (
        message.content_hash(rendered(), ME, ANSWERS, "https://x.example/{token}")
    )


_HASHES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4).map("{}@party.example".format),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    max_size=8,
)


@PROPERTY
@given(_HASHES, st.randoms(use_true_random=False))
def test_the_fingerprint_does_not_depend_on_the_order_of_the_list(
    hashes: dict[str, str], random: Random
) -> None:
    pairs = list(hashes.items())
    random.shuffle(pairs)
    made = message.fingerprint(dict(pairs))
    assert made == message.fingerprint(hashes)
    assert re.fullmatch(r"[0-9a-f]{12}", made)


def test_the_fingerprint_changes_with_every_address_and_every_letter() -> None:
    hashes = {"a@x.example": "1" * 32, "b@x.example": "2" * 32}
    others = [
        {},
        {"a@x.example": "1" * 32},
        hashes | {"c@x.example": "3" * 32},
        hashes | {"b@x.example": "3" * 32},
        {"a@x.example": "2" * 32, "b@x.example": "1" * 32},
    ]
    assert len({message.fingerprint(one) for one in [hashes, *others]}) == 6
