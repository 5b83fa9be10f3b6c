"""Answers on real servers: letters through Postfix, answers read from Dovecot, threads as mutt shows them."""

from __future__ import annotations

import contextlib
import datetime
import random
import smtplib
import subprocess
import time
from email.message import EmailMessage

import answering
import dovecot
import forked
import mutt
import postfix
import sink
from conftest import ENVIRONMENT, Project

UNLIMITED = ("--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
NAMES = ("ann", "bob", "cem", "dee", "eve", "fay", "gus", "hal")
OURS = answering.US


def mail_of(name: str) -> str:
    return f"{name}@{name}.example.org"


def imap(server: dovecot.Dovecot) -> dict[str, str]:
    user = server.user.replace("@", "%40")
    return {
        "OUTREACH_IMAP_URL": f"imaps://{user}@localhost:{server.tls_port}/?ca={server.ca_file}",
        "OUTREACH_IMAP_PASSWORD": server.password,
    }


def answer(server: postfix.Postfix, *mails: bytes) -> None:
    with smtplib.SMTP(server.host, server.port) as client:
        for raw in mails:
            client.sendmail(mail_of("other"), [OURS], raw)


def by_recipient(mails: list[bytes]) -> dict[str, EmailMessage]:
    letters = map(answering.letter, mails)
    return {str(one["To"]).rpartition("<")[2].strip(">"): one for one in letters}


def test_a_mailing_its_answers_and_a_follow_up_on_real_servers(project: Project) -> None:
    for server in (postfix, dovecot, mutt):
        server.require()
    rows = [f"{mail_of(name)},{name.title()},{name} e.V.,party,DE,en" for name in NAMES]
    head = "email,name,organisation,audience,country,language\n"
    project.write("contacts.csv", head + "\n".join(rows) + "\n")
    project.letter("Subject: Stand by us, {{ name }}\n\nDear {{ name }},\n\nplease help.\n")
    ann, bob, cem, dee, eve, fay, gus, hal = map(mail_of, NAMES)
    with (
        dovecot.run(project.folder) as box,
        postfix.run(project.folder, login=False, own=box.maildir, own_address=OURS, bouncing=[cem]) as out,
    ):
        project.env |= imap(box) | {"OUTREACH_SMTP_URL": f"smtp://{out.host}:{out.port}"}
        project.run("send", *UNLIMITED)
        letters = {
            str(one["To"]).rpartition("<")[2].strip(">"): one for one in map(answering.letter, out.wait(7))
        }
        back = datetime.date.today() + datetime.timedelta(days=20)
        answer(
            out,
            answering.mail(f"Ann <{ann}>", "We will do it.", to=letters[ann]),
            answering.mail(
                bob,
                f"I am out of the office until {back.day} {back:%B %Y}.",
                to=letters[bob],
                Auto_Submitted="auto-replied",
            ),
            answering.mail(dee, "Please remove me from your list.", to=letters[dee]),
            answering.refusal(eve, str(letters[eve]["Message-ID"])),
            answering.mail("assistant@home.example.org", "She says yes.", to=letters[fay]),
        )
        out.wait(6, own=True)  # with the report that Postfix itself wrote about cem
        before = box.snapshot()
        assert len(before["INBOX"]) == 6
        project.run("replies", "sync")
        project.run("replies", "sync")
        assert box.snapshot() == before
        assert project.json("status", "--json")["inbound"] == {
            "reply": 2, "auto-reply": 1, "bounce": 2, "opt-out": 1, "complaint": 0, "other": 0
        }  # fmt: skip
        report = project.report()
        came = {mail: [one["kind"] for one in row["inbound"]] for mail, row in report.items()}
        assert came == {
            ann: ["reply"], bob: ["auto-reply"], cem: ["bounce"], dee: ["opt-out"], eve: ["bounce"],
            fay: ["reply"], gus: [], hal: [],
        }  # fmt: skip
        assert {row["state"] for row in report.values()} == {"sent"}
        refused = {one["value"] for one in project.json("suppress", "list", "--json")}
        assert refused == {cem, dee}
        assert "She says yes." in project.run("deliveries", "show", fay).stdout
        project.write("templates/again/en.md", "Subject: Unused\n\nDear {{ name }},\n\nseen it?\n")
        project.run("send", "again", "--follow-up", "hello", *UNLIMITED)
        out.wait(9)
        lines = mutt.threads(out.maildir)
        assert len(lines) == 9
        for name in ("Gus", "Hal"):
            at = lines.index(f"Stand by us, {name}")
            assert lines[at + 1].endswith(f"->Re: Stand by us, {name}")
        assert sum("->" in line for line in lines) == 2


def test_answers_in_the_mailbox_act_while_the_mailing_runs(project: Project) -> None:
    """The child process is told of new mail by IDLE."""
    for server in (postfix, dovecot):
        server.require()
    rows = [f"{mail_of(name)},{name.title()},party,DE,en" for name in NAMES[:5]]
    project.write("contacts.csv", "email,name,audience,country,language\n" + "\n".join(rows) + "\n")
    project.letter()
    project.write("templates/second/en.md", "Subject: Second\n\nDear {{ name }}.\n")
    dee, eve = mail_of("dee"), mail_of("eve")
    with (
        dovecot.run(project.folder) as box,
        postfix.run(project.folder, login=False, own=box.maildir, own_address=OURS) as out,
    ):
        project.env |= imap(box) | {"OUTREACH_SMTP_URL": f"smtp://{out.host}:{out.port}"}
        project.run("send", "hello", "--only", "name=Dee", "--only", "name=Eve", *UNLIMITED, code=75)
        letters = {
            str(one["To"]).rpartition("<")[2].strip(">"): one for one in map(answering.letter, out.wait(2))
        }
        slowly = ("--yes", "--rate", "24/minute", "--rate-per-domain", "unlimited")
        process = project.start("send", "second", *slowly)
        out.wait(3)
        answer(
            out,
            answering.mail(dee, "Please remove me from your list.", to=letters[dee]),
            answering.bounce(eve, str(letters[eve]["Message-ID"])),
        )
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        counts = project.json("status", "second", "--json")["counts"]
        assert (counts["sent"], counts["suppressed"]) == (3, 2)
        assert len(out.messages()) == 5
    assert no_children(project)


def no_children(project: Project) -> bool:
    """Tell whether no reading of this project goes on."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = subprocess.run(
            ["pgrep", "-f", f"{project.folder}.*--attached"], capture_output=True, text=True, check=False
        )
        if not found.stdout:
            return True
        time.sleep(0.1)
    return False


def test_a_reading_ends_with_the_run_that_it_is_for(project: Project) -> None:
    project.contacts(3)
    project.letter()
    with dovecot.run(project.folder) if dovecot.available() is None else contextlib.nullcontext() as box:
        dovecot.require()
        project.env |= imap(box) | {"OUTREACH_SMTP_URL": "smtp://127.0.0.1:9"}
        with sink.run() as server:
            project.env["OUTREACH_SMTP_URL"] = server.url
            process = project.start("send", "--yes", "--rate", "6/minute")
            deadline = time.monotonic() + 20
            while not server.record and time.monotonic() < deadline:
                time.sleep(0.05)
            process.kill()
            process.communicate()
            assert no_children(project)


def test_killed_fifty_times_each_mail_is_counted_once(project: Project) -> None:
    dovecot.require()
    chance = random.Random(8)
    with dovecot.run(project.folder) as box:
        project.env |= imap(box)
        for number in range(400):
            folder = "Junk" if number % 10 == 0 else "INBOX"
            box.deliver(answering.mail(f"p{number}@d.example.org", f"Answer number {number}."), folder)
        before = box.snapshot()
        gone: set[str] = set()
        killed = 0
        for kill in range(50):
            if kill == 15:
                box.change_uidvalidity("INBOX")
                before = box.snapshot()
            if kill in (10, 30):
                uids = chance.sample(sorted(before["INBOX"]), 10)
                gone |= {answering.letter(before["INBOX"][uid][2])["From"] for uid in uids}
                box.expunge(uids)
                before = box.snapshot()
            try:
                wait = chance.uniform(0.1, 0.6)
                forked.run(("replies", "sync"), project.folder, ENVIRONMENT | project.env, wait)
            except subprocess.TimeoutExpired:
                killed += 1
        assert killed > 25  # the others had read everything
        project.run("replies", "sync")
        assert box.snapshot() == before
        senders = [row["from"] for row in project.json("replies", "list", "--json")]
        assert len(senders) == len(set(senders))
        everybody = {f"p{number}@d.example.org" for number in range(400)}
        assert everybody - gone <= set(senders) <= everybody


def test_evidence_lies_in_the_sent_folder(project: Project) -> None:
    dovecot.require()
    project.contacts(3)
    project.letter()
    with dovecot.run(project.folder) as box, sink.run() as server:
        server.after_data = lambda recipient: None
        project.env |= imap(box) | {"OUTREACH_SMTP_URL": server.url}
        project.run("send", *UNLIMITED, "--no-replies", code=None)
        box.deliver(answering.mail(OURS, "A private mail."), "Sent")
        project.run("replies", "sync")
        assert "does not keep there" in project.run("resolve", code=1).stderr
        for one in server.record[:2]:
            box.deliver(one.content, "Sent")
        project.run("replies", "sync")
        done = project.run("resolve", code=1)
        assert done.stdout.count("it lies in the Sent folder") == 2
        counts = project.json("status", "--json")["counts"]
        assert (counts["sent"], counts["unknown"]) == (2, 1)
        assert "probably they did not leave" in project.run("resolve", code=1).stderr
        assert project.json("replies", "list", "--json") == []
