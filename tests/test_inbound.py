# ruff: noqa: E501 - tables read better with a case on a line
"""Any bytes are read as a mail: in every charset and transfer encoding, broken in every way, in bounded time."""

from __future__ import annotations

import base64
import quopri
import time

import pytest

from outreach import charsets, classify, inbound

GREEK, RUSSIAN, POLISH = (
    "Δεν είμαι στο γραφείο.",
    "Мы поддерживаем ваше обращение.",
    "Zażółć gęślą jaźń, prosimy o pomoc.",
)
JAPANESE, CHINESE, HEBREW, ARABIC = (
    "署名に賛同します。",
    "我们支持你们的呼吁。",
    "אנחנו תומכים בפנייה שלכם.",
    "نحن ندعم نداءكم.",
)


def mail(body: bytes, head: str = "") -> inbound.Inbound:
    return inbound.read(f"From: a@b.example\nSubject: x\n{head}\n".encode() + body)


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (GREEK, "utf-8"),
        (GREEK, "iso-8859-7"),
        (GREEK, "windows-1253"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "windows-1251"),
        (RUSSIAN, "iso-8859-5"),
        (POLISH, "iso-8859-2"),
        (POLISH, "windows-1250"),
        (JAPANESE, "iso-2022-jp"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (CHINESE, "gb2312"),
        (CHINESE, "gb18030"),
        (HEBREW, "windows-1255"),
        (ARABIC, "windows-1256"),
        (RUSSIAN, "utf-7"),
    ],
)
@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_every_charset_in_every_transfer_encoding(text: str, charset: str, encoding: str) -> None:
    data = text.encode(charset)
    body = {"8bit": data, "quoted-printable": quopri.encodestring(data), "base64": base64.encodebytes(data)}[
        encoding
    ]
    head = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}\n"
    assert mail(body, head).text.strip() == text


@pytest.mark.parametrize(
    ("text", "written", "declared"),
    [
        (RUSSIAN, "koi8-r", ""),
        (RUSSIAN, "windows-1251", ""),
        (RUSSIAN, "windows-1251", "iso-8859-1"),
        (RUSSIAN, "koi8-r", "us-ascii"),
        (RUSSIAN, "utf-8", "windows-1251"),
        (GREEK, "iso-8859-7", "iso-8859-1"),
        (JAPANESE, "iso-2022-jp", ""),
        (JAPANESE, "iso-2022-jp", "us-ascii"),
        ("Grüße aus Köln", "utf-8", "us-ascii"),
        ("Grüße aus Köln", "iso-8859-1", "utf-8"),
        ("Grüße aus Köln", "iso-8859-1", "x-unknown"),
        ("Grüße aus Köln", "iso-8859-1", "hex"),
        ("Да, поддерживаем.", "koi8-r", ""),
        (CHINESE, "gb18030", "gb2312"),
    ],
)
def test_a_wrong_or_missing_charset_is_seen_through(text: str, written: str, declared: str) -> None:
    head = f"Content-Type: text/plain; charset={declared}\n" if declared else ""
    assert mail(text.encode(written), head).text.strip() == text


def test_japanese_with_the_signs_of_windows() -> None:
    data = b"\x1b$B-!=pL>$K;?F1$7$^$9!#\x1b(B"
    assert charsets.decode(data, "iso-2022-jp") == "①署名に賛同します。"


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
        ("=?iso-8859-1?Q?Gr=FC=DFe_aus?= =?iso-8859-1?Q?_K=F6ln?=", "Grüße aus Köln"),
        ("=?utf-8?b?0J/RgNC4?=\n =?utf-8?b?0LLQtdGC?=", "Привет"),
        ("=?utf-8?q?=D0?= =?utf-8?q?=9F?=", "П"),  # a character cut in two
        ("=?iso-2022-jp?B?GyRCPXBMPhsoQg==?=", "署名"),
        ("[=?utf-8?q?Gr=C3=BC?=] x", "[Grü] x"),
        ("=?unknown?q?abc?=", "abc"),
        ("=?utf-8?q?never closed", "=?utf-8?q?never closed"),
        ("=?utf-8*de?q?Ja?=", "Ja"),
        ("plain", "plain"),
    ],
)
def test_headers_are_decoded(header: str, text: str) -> None:
    assert inbound.header_text(header) == text


def test_raw_bytes_in_headers_are_read() -> None:
    raw = "Subject: Автоответ\nFrom: Анна <a@b.example>\n\nx".encode("windows-1251")
    assert inbound.read(raw).subject == "Автоответ"


def test_flowed_lines_are_paragraphs_again() -> None:
    body = b"One long \nline.\nTwo.\n> quoted \n> line\n-- \nAnn \n"
    read = mail(body, "Content-Type: text/plain; format=flowed\n")
    assert read.text == "One long line.\nTwo.\n> quoted line\n-- \nAnn "


def test_of_alternatives_the_plain_text_is_read_unless_it_is_a_stub() -> None:
    def both(plain: str, html: str) -> str:
        head = "Content-Type: multipart/alternative; boundary=b\n"
        parts = f"--b\nContent-Type: text/plain\n\n{plain}\n--b\nContent-Type: text/html\n\n{html}\n--b--\n"
        return mail(parts.encode(), head).text.strip()

    html = "<p>We sign the appeal and will write to the ambassador tomorrow.</p>"
    assert both("We sign.", html) == "We sign."
    assert both("", html).startswith("We sign the appeal")
    assert both("This is an HTML mail.", html).startswith("We sign the appeal")


def test_a_letter_below_a_large_photograph_is_read() -> None:
    photo = base64.encodebytes(bytes(4_000_000))
    raw = (
        b"From: a@b.example\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/jpeg\n"
        b"Content-Transfer-Encoding: base64\n\n" + photo + b"--b\n\nWe sign.\n--b--\n"
    )
    assert inbound.read(raw).text.strip() == "We sign."


def test_a_mail_without_any_text_has_none() -> None:
    for kind in ("image/jpeg", "application/pdf", "application/pkcs7-mime"):
        head = f"Content-Type: {kind}\nContent-Transfer-Encoding: base64\n"
        assert mail(base64.encodebytes(bytes(range(256)) * 40), head).text == ""


def test_attachments_and_messages_inside_are_not_the_text() -> None:
    raw = (
        b"From: a@b.example\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nSee below.\n"
        b"--b\nContent-Type: text/plain; name=notes.txt\nContent-Disposition: attachment\n\nSTOP\n"
        b"--b\nContent-Type: message/rfc822\n\nSubject: y\n\nunsubscribe me\n--b--\n"
    )
    read = inbound.read(raw)
    assert read.text.strip() == "See below."
    assert read.inside.strip() == "unsubscribe me"
    assert classify.understand(read).kind == "reply"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n\n",
        b"no headers at all",
        b"\xff\xfe\x00\x01",
        b"Subject",
        b"Subject: x",
        b": empty name\n\nx",
        b"Content-Type: multipart/mixed\n\nno boundary",
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n--b",
        b"Content-Type: text/plain; charset*=utf-8''%FF\n\nx",
        b"Content-Transfer-Encoding: base64\n\n!!!not base64!!!",
        b"Content-Transfer-Encoding: x-uuencode\n\nbegin 644 x\n",
        b"Content-Type: message/delivery-status\n\nFinal-Recipient:\nAction\n: x\n\n\n\nStatus: 5.1.1",
        b"Date: Fri, 99 Foo 99999 99:99:99 +9999\nSubject: Out of office\n\nI am away until 31 February.",
        b"From: <<<>>>@@\nTo: ,,,;;;\n\nx",
        b"Subject: =?idna?q?=E9?= =?punycode?q?=E9?= =?undefined?q?=E9?= =?rot13?q?x?=\n\nx",
        b"Content-Type: text/plain; charset=undefined\n\n\xe9",
        b"Content-Type: text/plain; charset=idna\nContent-Transfer-Encoding: base64\n\n6Q==",
        b"Content-Type: text/plain; charset*=idna'en'utf-8\n\n\xe9",
        "X-Autoreply: 1\n\n❶ I am away until ❶.❷.2012, ➀ May ፩ back on ❶.".encode(),
        b"Subject: =?utf-7?q?+2AA-?=\n\n+2AA-",
        b"Received: " + b"(" * 5000 + b"\n\nx",
        b"Content-Type: message/rfc822\n\n" * 200 + b"x",
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 200 + b"x",
    ],
)
def test_broken_mail_is_read(raw: bytes) -> None:
    answer = classify.understand(inbound.read(raw))
    assert answer.evidence
    classify.document("x", answer)["text"].encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\n\n" + b"> " * 1_000_000,
        b"Subject: x\n\n" + b"On Monday\n" * 200_000,
        b"Subject: " + b"Re: " * 200_000 + b"\n\nx",
        b"X: y\n" * 100_000 + b"\nx",
        b"Subject: =?utf-8?q?" + b"=?utf-8?q?x?= " * 50_000 + b"\n\nx",
        b"Content-Type: text/html\n\n" + b"<div>" * 300_000,
        b"Content-Type: text/html\n\n" + b"<p " * 300_000,
        b"Content-Type: text/html\n\n" + b"<!--" * 300_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 50_000,
        b"From: MAILER-DAEMON@b.example\nSubject: failure notice\n\n" + b"<a@b.example>:\n" * 50_000,
        b"From: MAILER-DAEMON@b.example\nSubject: failure notice\n\n" + b"user unknown " * 50_000,
        b"Subject: Out of office\n\n" + b"until 1.1.2012 - " * 20_000,
        ("Subject: x\n\n" + "\u0301" * 300_000).encode(),
        b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=\n" * 500_000,
        b"Subject: x\n\n" + b"x" * 30_000_000,
        b"Subject: x\n\n" + b"*" * 100_000,
        b"Subject: x\n\n" + (b"_" * 76 + b"\n") * 2_000,
        b"From: MAILER-DAEMON@b.example\nSubject: failure notice\n\n(expanded from " + b"@" * 20_000,
        b"From: MAILER-DAEMON@b.example\nSubject: failure notice\n\n" + b"," * 100_000,
        b"From: MAILER-DAEMON@b.example\nX-Failed-Recipients: "
        + b"a@b.example, " * 500
        + b"\n\n"
        + b"x no\n" * 2_000,
        b"X-Autoreply: 1\n\n" + b"until 1.1. " * 5_000,
        b"Subject: x\n\n" + b"12@ab:\n" * 10_000,
        b"Subject: x\n\n" + b"Sent from my iPhone\n" * 10_000,
        b"Subject: x\n\n" + "今後".encode() * 20_000,
    ],
    ids=range(24),
)
def test_no_mail_takes_long(raw: bytes) -> None:
    """A generous bound, on the processor's time: what explodes takes minutes."""
    start = time.process_time()
    classify.read(raw)
    assert time.process_time() - start < 10
