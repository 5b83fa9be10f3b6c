"""The test mail server itself: it takes a mail after STARTTLS and login, and refuses the rest."""

import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import postfix
import pytest

MAIL = "From: sender@example.org\r\nSubject: Grüße\r\n\r\nHello\r\n".encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postfix.Postfix]:
    postfix.require()
    with postfix.run(tmp_path_factory.mktemp("postfix")) as running:
        yield running


def connect(server: postfix.Postfix) -> smtplib.SMTP:
    client = smtplib.SMTP(server.host, server.port, timeout=20)
    client.starttls(context=ssl.create_default_context(cafile=server.ca_file))
    client.ehlo()
    return client


def test_mail_to_any_domain_arrives_after_starttls_and_login(server: postfix.Postfix) -> None:
    recipients = ["one@some.example", "two@other.example", "grüße@köln.example"]
    before = len(server.messages())
    with connect(server) as client:
        assert {"pipelining", "size", "8bitmime", "smtputf8"} <= client.esmtp_features.keys()
        client.login(server.user, server.password)
        refused = client.sendmail(server.user, recipients, MAIL, ["BODY=8BITMIME", "SMTPUTF8"])
    assert refused == {}
    arrived = server.wait(before + 3)[before:]
    assert all(mail.endswith(MAIL.replace(b"\r\n", b"\n")) for mail in arrived)
    assert sorted(mail.split(b"\nX-Original-To: ")[1].split(b"\n")[0].decode() for mail in arrived) == sorted(
        recipients
    )


def test_wrong_password_gets_535_and_no_login_no_recipient(server: postfix.Postfix) -> None:
    with connect(server) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as error:
            client.login(server.user, "wrong")
        assert error.value.smtp_code == 535
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(server.user, ["one@some.example"], MAIL)
    with smtplib.SMTP(server.host, server.port, timeout=20) as client:
        client.ehlo()
        assert not client.has_extn("auth")


def test_plain_server_without_starttls_and_login(tmp_path: Path) -> None:
    postfix.require()
    with postfix.run(tmp_path, starttls=False, login=False) as server:
        with smtplib.SMTP(server.host, server.port, timeout=20) as client:
            client.ehlo()
            assert not client.has_extn("starttls") and not client.has_extn("auth")
            client.sendmail("sender@example.org", ["one@some.example"], MAIL)
        server.wait(1)
    assert len(server.messages()) == 1  # kept after the stop
    assert server.maildir.is_relative_to(tmp_path) and "status=sent" in server.log.read_text()
