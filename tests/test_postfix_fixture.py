"""The test mail server itself: it takes a mail after STARTTLS and login, refuses the rest, returns some."""

import email
import email.policy
import pwd
import shutil
import smtplib
import ssl
import tempfile
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import postfix
import pytest

MAIL = "From: sender@example.org\r\nSubject: Grüße\r\n\r\nHello\r\n".encode()
GONE = ["gone@some.example", "o'gone@other.example"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postfix.Postfix]:
    postfix.require()
    with postfix.run(tmp_path_factory.mktemp("postfix"), bouncing=GONE) as running:
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
    assert sorted(original_recipient(mail) for mail in arrived) == sorted(recipients)


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


def test_our_own_mail_has_a_mailbox_of_its_own(server: postfix.Postfix) -> None:
    recipients = ["press@outreach.example", "Press+b=17@outreach.example", "depress@outreach.example"]
    ours, others = len(server.messages(own=True)), len(server.messages())
    with connect(server) as client:
        client.login(server.user, server.password)
        assert client.sendmail(server.user, recipients, MAIL) == {}
    arrived = server.wait(ours + 2, own=True)[ours:]
    assert sorted(original_recipient(mail) for mail in arrived) == sorted(recipients[:2])
    assert [original_recipient(mail) for mail in server.wait(others + 1)[others:]] == recipients[2:]


def test_mail_to_some_is_accepted_and_comes_back_as_a_report(server: postfix.Postfix) -> None:
    before = len(server.messages(own=True))
    letter = b"Message-ID: <17@outreach.example>\r\n" + MAIL
    with connect(server) as client:
        client.login(server.user, server.password)
        for recipient in GONE:
            assert client.sendmail("press+17@outreach.example", [recipient], letter) == {}
    for mail in server.wait(before + 2, seconds=5, own=True)[before:]:
        report = email.message_from_bytes(mail, policy=email.policy.default)
        assert isinstance(report, EmailMessage)
        assert report["Return-Path"] == "<>" and report["To"] == "press+17@outreach.example"
        assert report["From"].addresses[0].addr_spec == "MAILER-DAEMON@example.org"
        assert report.get_content_type() == "multipart/report"
        _, status, returned = report.iter_parts()
        _, about = status.iter_parts()
        assert about["Status"] == "5.1.1" and about["Action"] == "failed"
        assert about["Final-Recipient"].removeprefix("rfc822; ") in GONE
        assert returned.get_content()["Message-ID"] == "<17@outreach.example>"


def test_our_own_mailbox_may_be_a_folder_of_another_user(tmp_path: Path) -> None:
    postfix.require()
    games = pwd.getpwnam("games")
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        own = Path(top, "Inbox")
        own.mkdir(mode=0o700)
        with pytest.raises(ValueError, match="not root"), postfix.run(tmp_path, own=own):
            pass
        shutil.chown(own, games.pw_uid, games.pw_gid)
        ours = "we@ours.example"
        with postfix.run(tmp_path, own=own, own_address=ours, starttls=False, login=False) as server:
            with smtplib.SMTP(server.host, server.port, timeout=20) as client:
                client.sendmail("sender@example.org", ["we+1@ours.example"], MAIL)
            server.wait(1, own=True)
        assert len(server.messages(own=True)) == 1 and server.own == own  # it stays where it is
        (mail,) = (own / "new").iterdir()
        assert (mail.stat().st_uid, mail.stat().st_gid) == (games.pw_uid, games.pw_gid)


def test_no_service_of_the_server_can_send_a_mail_on() -> None:
    services = [line for line in postfix.MASTER_CF.splitlines() if not line.startswith((" ", "#"))]
    assert {line.split()[7] for line in services}.isdisjoint({"smtp", "lmtp", "pipe", "local"})
    assert [line.split()[0] for line in services if " inet " in line] == ["127.0.0.1:{port}"]


def original_recipient(mail: bytes) -> str:
    return mail.split(b"\nX-Original-To: ")[1].split(b"\n")[0].decode()
