"""Whole mailings into real servers, Postfix and Exim, with PIPELINING and without; and Exim by itself."""

import email
import email.policy
import functools
import re
import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from email.message import EmailMessage
from pathlib import Path

import exim
import postfix
import pytest
from conftest import Project

MAIL = b"From: sender@example.org\r\nSubject: Hello\r\n\r\n.hidden\r\n..\r\n"
# Paragraphs of the letter; the longest one goes out as several lines, which begin with dots too.
LETTER = ("Dear {{ name }},", ".", "..", ".hidden", "...and so on" + "." * 300, "The end.")
SEND = ("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited", "--connections", "2")

Run = Callable[..., AbstractContextManager[postfix.Postfix]]


@pytest.fixture(params=["postfix", "exim"])
def run(request: pytest.FixtureRequest) -> Run:
    """What runs a server of the kind under test, in plain text and without login."""
    if request.param == "exim":
        exim.require()
        return exim.run
    postfix.require()
    return functools.partial(postfix.run, starttls=False, login=False)


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "one-by-one"])
def test_everybody_gets_one_whole_mail_and_the_report_knows_who_was_refused(
    run: Run, pipelining: bool, project: Project
) -> None:
    refused = [f"-gone{n}@d{n % 3}.example.org" for n in range(6)]  # Postfix takes no address with such a -
    busy = [f"busy{n}@d{n}.example.org" for n in range(2)]  # Exim takes these at the second try
    people = [f"person{n}@d{n % 7}.example.org" for n in range(34)]
    taken = people + busy
    names = write_list(project, [*refused[:1], *people[:8], *refused[1:4], *busy, *people[8:], *refused[4:]])
    project.letter("Subject: Hello {{ name }}\n\n" + "\n\n".join(LETTER) + "\n")
    project.env["OUTREACH_RETRY"] = "1s"
    with run(project.folder, pipelining=pipelining) as server:
        assert ("PIPELINING" in announced(server)) is pipelining
        project.env["OUTREACH_SMTP_URL"] = f"smtp://{server.host}:{server.port}"
        project.run(*SEND, code=1)  # some were refused
        server.wait(len(taken))
    arrived = [parsed(mail) for mail in server.messages()]
    assert sorted(map(recipient, arrived)) == sorted(taken)
    for mail in arrived:
        name = names[recipient(mail)]
        text = "\n\n".join(LETTER).replace("{{ name }}", name)
        assert mail["Subject"] == f"Hello {name}"
        assert body(mail, "plain").startswith(f"{text}\n\n-- \n")
    for kind in ("plain", "html"):
        assert len({body(mail, kind).replace(names[recipient(mail)], "") for mail in arrived}) == 1
    assert all(b"\n.\n" in mail for mail in server.messages())  # the dots were on lines of their own

    report = project.report()
    assert report.keys() == {*taken, *refused}
    assert {mail for mail, row in report.items() if row["state"] == "failed"} == set(refused)
    sent = {mail: row["message_id"] for mail, row in report.items() if row["state"] == "sent"}
    assert sent == {recipient(mail): mail["Message-ID"] for mail in arrived}
    twice = busy if isinstance(server, exim.Exim) else []
    assert {mail: row["attempts"] for mail, row in report.items()} == (
        dict.fromkeys([*taken, *refused], 1) | dict.fromkeys(twice, 2)
    )
    log = server.log.read_text()
    assert len(re.findall(r" <= press@|: from=<press@", log)) == len(taken)  # none was taken and lost
    assert "synchronization" not in log and "improper command pipelining" not in log
    if isinstance(server, exim.Exim):  # it notes a mail whose commands were sent ahead with an L
        assert log.count(" P=esmtp L S=") == (len(taken) if pipelining else 0)


def test_a_session_that_exim_ends_for_its_many_refusals_costs_nobody_the_mail(project: Project) -> None:
    exim.require()
    refused = [f"gone{n}@d{n % 7}.example.org" for n in range(40)]
    people = [f"person{n}@d{n % 7}.example.org" for n in range(3)]
    write_list(project, [*refused, *people])
    project.letter()
    with exim.run(project.folder) as server:
        project.env["OUTREACH_SMTP_URL"] = f"smtp://{server.host}:{server.port}"
        project.run(*SEND, code=1)  # some were refused
        server.wait(len(people))
        assert sorted(recipient(parsed(mail)) for mail in server.messages()) == people
    assert "too many nonmail commands" in server.log.read_text()
    report = project.report()
    assert {mail for mail, row in report.items() if row["state"] == "failed"} == set(refused)
    assert {row["attempts"] for row in report.values()} == {1}


def test_exim_takes_mail_for_any_domain_after_starttls_refuses_gone_and_defers_busy_once(
    tmp_path: Path,
) -> None:
    exim.require()
    with exim.run(tmp_path, starttls=True) as server:
        with smtplib.SMTP(server.host, server.port, timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cafile=server.ca_file))
            client.ehlo()
            assert {"pipelining", "size", "8bitmime", "smtputf8"} <= client.esmtp_features.keys()
            assert not client.has_extn("auth") and not client.has_extn("starttls")
            wanted = ["one@some.example", "Two@other.example", "gone@some.example", "busy@some.example"]
            refused = client.sendmail("sender@example.org", wanted, MAIL)
            assert {mail: code for mail, (code, _) in refused.items()} == {wanted[2]: 550, wanted[3]: 451}
            client.sendmail("sender@example.org", wanted[3:], MAIL)
        server.wait(3)
    mails = server.messages()  # kept after the stop
    assert all(mail.endswith(b"\n\n.hidden\n..\n") for mail in mails)
    assert {recipient(parsed(mail)) for mail in mails} == {wanted[0], wanted[1], wanted[3]}
    assert server.maildir.is_relative_to(tmp_path) and "R=all T=maildir" in server.log.read_text()


def test_exim_without_pipelining_ends_a_session_that_sends_ahead(tmp_path: Path) -> None:
    exim.require()
    with (
        exim.run(tmp_path, pipelining=False) as server,
        socket.create_connection((server.host, server.port), timeout=20) as client,
    ):
        lines = client.makefile("rb")
        lines.readline()
        client.sendall(b"EHLO client.example.org\r\n")
        while lines.readline().startswith(b"250-"):
            pass
        client.sendall(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        assert lines.readline().startswith(b"554 SMTP synchronization error")
        assert lines.read() == b""


def write_list(project: Project, mails: list[str]) -> dict[str, str]:
    """Write the contacts; return their names by address."""
    names = {mail: f"Reader {n}" for n, mail in enumerate(mails)}
    rows = [f"{mail},{name},party,DE,en" for mail, name in names.items()]
    project.write("contacts.csv", "email,name,audience,country,language\n" + "\n".join(rows) + "\n")
    return names


def announced(server: postfix.Postfix) -> set[str]:
    """The keywords of the server's answer to EHLO, read from a bare socket."""
    with socket.create_connection((server.host, server.port), timeout=20) as client:
        lines = client.makefile("rb")
        assert lines.readline().startswith(b"220 ")
        client.sendall(b"EHLO client.example.org\r\n")
        answer = [lines.readline()]
        while answer[-1].startswith(b"250-"):
            answer.append(lines.readline())
        client.sendall(b"QUIT\r\n")
    assert answer[-1].startswith(b"250 ")
    return {line[4:].split()[0].decode() for line in answer[1:]}


def parsed(mail: bytes) -> EmailMessage:
    return email.message_from_bytes(mail, policy=email.policy.default)


def recipient(mail: EmailMessage) -> str:
    """The address in the envelope: the servers write it into the header."""
    return str(mail["Envelope-to"] or mail["X-Original-To"])


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return part.get_content()
