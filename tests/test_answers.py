"""What follows from mail that came back: whose it is, what it stops, what people decide, who is silent."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import answering
import pytest
import sink
from conftest import ENVIRONMENT, Project

UNLIMITED = ("--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
AUTO = "auto-replied"
STOP = "Please remove me from your list."
NAMES = ("ann", "bob", "cem", "dee", "eve")


@dataclass
class Campaign:
    """A project whose mailing has been sent, and the mailbox where answers lie."""

    project: Project
    server: sink.Sink
    letters: dict[str, Any] = field(default_factory=dict)  # by recipient

    @property
    def box(self) -> Path:
        return self.project.folder / "answers"

    def send(self, *arguments: str, code: int | None = 0) -> Any:
        self.project.env["OUTREACH_SMTP_URL"] = self.server.url
        done = self.project.run("send", *UNLIMITED, *arguments, code=code)
        self.letters |= {one.recipient: answering.letter(one.content) for one in self.server.record}
        return done

    def id(self, who: str) -> str:
        return str(self.letters[who]["Message-ID"])

    def sync(self, *mails: bytes, code: int = 0) -> Any:
        answering.drop(self.box, *mails)
        return self.project.json("replies", "sync", "--source", "maildir:answers", "--json", code=code)

    def status(self, *arguments: str) -> Any:
        return self.project.json("status", *arguments, "--json")

    def list(self, *arguments: str) -> Any:
        return self.project.json("replies", "list", *arguments, "--json")

    def suppressed(self) -> dict[str, str]:
        return {one["value"]: one["reason"] for one in self.project.json("suppress", "list", "--json")}


def mail_of(name: str) -> str:
    return f"{name}@{name}.example.org"


@pytest.fixture
def campaign(project: Project) -> Iterator[Campaign]:
    """Five people, of whom nobody has got the letter yet."""
    rows = [f"{mail_of(name)},{name.title()},{name} e.V.,party,DE,en" for name in NAMES]
    project.write(
        "contacts.csv", "email,name,organisation,audience,country,language\n" + "\n".join(rows) + "\n"
    )
    project.letter("Subject: Stand by us, {{ name }}\n\nDear {{ name }},\n\nplease help.\n")
    with sink.run() as server:
        yield Campaign(project, server)


def follow(campaign: Campaign) -> None:
    campaign.project.write(
        "templates/again/en.md", "Subject: Unused\n\nDear {{ name }},\n\ndid you see it?\n"
    )


# Matching ----------------------------------------------------------------------------------------


def test_each_kind_is_matched_counted_and_acted_on(campaign: Campaign) -> None:
    campaign.send()
    ann, bob, cem, dee, eve = map(mail_of, NAMES)
    letters = campaign.letters
    campaign.sync(
        answering.mail(f"Ann <{ann}>", "We will do it.", to=letters[ann]),
        answering.mail(bob, STOP, to=letters[bob]),
        answering.bounce(cem, campaign.id(cem)),
        answering.mail(
            dee,
            "I am out of the office until 20 December 2099.",
            to=letters[dee],
            Auto_Submitted="auto-replied",
        ),
        answering.complaint(campaign.id(eve)),
    )
    status = campaign.status()
    assert status["inbound"] == {
        "reply": 1, "auto-reply": 1, "bounce": 1, "opt-out": 1, "complaint": 1, "other": 0
    }  # fmt: skip
    assert status["answers_read_at"]
    assert campaign.suppressed() == {
        bob: "asked to stop (mail 2)",
        cem: "bad mailbox: 5.1.1 550 5.1.1 no such user (mail 3)",
        eve: "complained: marked the letter as spam (mail 5)",
    }
    report = campaign.project.report()
    assert [one["kind"] for one in report[ann]["inbound"]] == ["reply"]
    assert {row["state"] for row in report.values()} == {"sent"}
    assert {row["matched"] for row in campaign.list()} == {"token"}
    again = campaign.sync()
    assert (again["new"], again["again"]) == (0, 0)
    assert campaign.status()["inbound"] == status["inbound"]


def test_the_same_mail_in_another_place_counts_once(campaign: Campaign) -> None:
    campaign.send()
    ann = mail_of("ann")
    raw = answering.mail(ann, "Yes.", to=campaign.letters[ann])
    campaign.sync(raw, raw, b"X-Spam: no\r\nDelivered-To: x@example.org\r\n" + raw)
    (campaign.project.folder / "one.eml").write_bytes(raw.replace(b"\r\n", b"\n"))
    campaign.project.run("replies", "sync", "--source", "eml:one.eml")
    assert campaign.status()["inbound"]["reply"] == 1


def test_without_a_token_the_sender_then_the_organisation_with_the_subject_are_matched(
    campaign: Campaign,
) -> None:
    campaign.send()
    bob = mail_of("bob")
    campaign.sync(
        answering.mail(mail_of("ann"), "A new mail.", subject="About your cause"),
        answering.mail("office@bob.example.org", "He says yes.", subject="AW: Stand by us, Bob"),
        answering.mail("office@cem.example.org", "Hm.", subject="Something else"),
        answering.mail("stranger@nowhere.example.org", "Hello!", subject="Re: Stand by us, Bob"),
    )
    found = {row["from"]: row for row in campaign.list()}
    assert found[mail_of("ann")]["matched"] == "address"
    assert found["office@bob.example.org"]["matched"] == "organisation"
    assert found["office@bob.example.org"]["email"] == bob
    guessed = found["office@cem.example.org"]
    assert (guessed["matched"], guessed["pending"]) == (None, True)
    assert [one["email"] for one in guessed["guesses"]] == [mail_of("cem")]
    assert [row["from"] for row in campaign.list("--unmatched")] == [
        "office@cem.example.org", "stranger@nowhere.example.org"
    ]  # fmt: skip
    campaign.project.run("replies", "assign", str(guessed["id"]), mail_of("cem"))
    assert campaign.status()["inbound"]["reply"] == 3


def test_an_answer_from_another_address_is_matched_by_the_token(campaign: Campaign) -> None:
    campaign.send()
    ann = mail_of("ann")
    campaign.sync(answering.mail("helper@home.example.org", "On her behalf.", to=campaign.letters[ann]))
    (row,) = campaign.list()
    assert (row["email"], row["matched"], row["pending"]) == (ann, "token", False)


def test_what_we_wrote_ourselves_is_no_answer(campaign: Campaign) -> None:
    campaign.send()
    ann, us = mail_of("ann"), answering.US
    hers = answering.mail(ann, "When?", to=campaign.letters[ann])
    ours = answering.mail(us, "On Tuesday.", to=answering.letter(hers), References=campaign.id(ann))
    campaign.sync(hers, ours, campaign.server.record[1].content)  # copies to ourselves
    assert [row["from"] for row in campaign.list()] == [ann]
    assert len(campaign.list("--unanswered")) == 1  # From alone proves nothing
    answering.drop(campaign.box / ".Sent", ours)
    campaign.sync()
    assert campaign.list()[0]["written_back"]
    assert campaign.list("--unanswered") == []


def test_who_has_the_own_address_in_the_list_is_a_reader_too(campaign: Campaign) -> None:
    with (campaign.project.folder / "contacts.csv").open("a") as out:
        out.write(f"{answering.US},Us,us,party,DE,en\n")
    campaign.send()
    campaign.sync(answering.mail(answering.US, "Good.", to=campaign.letters[answering.US]))
    assert [row["matched"] for row in campaign.list()] == ["token"]


def test_the_token_of_another_recipient_counts_as_none(campaign: Campaign) -> None:
    """Ann passed her letter on to Bob, who has one of his own."""
    campaign.send()
    ann, bob = mail_of("ann"), mail_of("bob")
    campaign.sync(answering.mail(bob, "We will.", to=campaign.letters[ann]))
    (row,) = campaign.list()
    assert (row["email"], row["matched"]) == (bob, "address")
    assert "another recipient" in row["reason"]


# Forgeries ---------------------------------------------------------------------------------------


def strange_token(campaign: Campaign, tmp_path: Path) -> str:
    """A Message-ID of another ledger, to the same recipient."""
    other = Project(tmp_path / "other", dict(campaign.project.env))
    other.folder.mkdir()
    for name in ("contacts.csv", "templates/hello/en.md"):
        other.write(name, (campaign.project.folder / name).read_text())
    with sink.run() as server:
        other.env["OUTREACH_SMTP_URL"] = server.url
        other.run("send", *UNLIMITED)
        (raw,) = [one.content for one in server.record if one.recipient == mail_of("ann")]
    return str(answering.letter(raw)["Message-ID"])


@pytest.mark.parametrize("whose", ["none", "wrong", "another ledger's", "another recipient's"])
def test_a_forgery_suppresses_nobody_and_waits_for_a_decision(
    campaign: Campaign, tmp_path: Path, whose: str
) -> None:
    campaign.send("--only", "name=Ann", "--only", "name=Bob", code=75)
    ann = mail_of("ann")
    token = {
        "none": "",
        "wrong": "<" + "a2" * 20 + "@outreach.example>",
        "another ledger's": strange_token(campaign, tmp_path),
        "another recipient's": campaign.id(mail_of("bob")),
    }[whose]
    campaign.sync(
        answering.bounce(ann, token),
        answering.mail(ann, STOP, subject="Re: x", token=token),
        answering.mail(mail_of("cem"), "Unsubscribe me, please.", subject="Re: x", token=token),
        *([answering.complaint(token, ann)] if token else []),
    )
    assert campaign.suppressed() == {}
    waiting = campaign.list("--unmatched")
    assert {row["kind"] for row in waiting} == {"bounce", "opt-out"} | ({"complaint"} if token else set())
    assert all(row["pending"] for row in waiting)
    assert not any("suppressed" in row["state"] for row in campaign.project.report().values())
    # What a forged wish for no more mail is about is held, and nothing else: a person decides.
    campaign.send(code=75)
    assert mail_of("cem") not in campaign.letters
    assert {mail_of("dee"), mail_of("eve")} <= campaign.letters.keys()
    assert campaign.status()["held"] == 1
    for row in waiting:
        campaign.project.run("replies", "dismiss", str(row["id"]))
    campaign.send()
    assert campaign.letters.keys() == set(map(mail_of, NAMES))
    assert len(campaign.server.record) == 5
    assert campaign.list("--unmatched") == []


def test_a_report_about_others_does_not_kill_the_reader(campaign: Campaign) -> None:
    campaign.send()
    ann = mail_of("ann")
    raw = answering.bounce(ann, campaign.id(ann), "5.2.2", "552 5.2.2 mailbox full").decode()
    other = (
        "\r\n\r\nFinal-Recipient: rfc822; x@other.example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user"
    )
    full = "Diagnostic-Code: smtp; 552 5.2.2 mailbox full"
    alias = answering.bounce("member@dead.example.org", campaign.id(ann)).decode()
    alias = alias.replace("Final-Recipient:", f"Original-Recipient: rfc822; {ann}\r\nFinal-Recipient:")
    campaign.sync(raw.replace(full, full + other).encode(), alias.encode())
    assert campaign.suppressed() == {}
    assert [row["kind"] for row in campaign.list("--unmatched")] == ["bounce"]
    assert campaign.list("--unmatched")[0]["guesses"][0]["email"] == ann


def test_a_report_is_never_our_own_whoever_stands_in_from(campaign: Campaign) -> None:
    campaign.send()
    ann, bob, cem = map(mail_of, NAMES[:3])
    ours = f"From: {answering.US}".encode()
    bounced = answering.bounce(ann, campaign.id(ann)).replace(b"From: MAILER-DAEMON@ann.example.org", ours)
    hotmail = {"Message_ID": campaign.id(bob), "X_HmXmrOriginalRecipient": bob}
    junk = answering.mail(answering.US, "Text", subject="Hello", **hotmail)
    wish = answering.complaint(campaign.id(cem), cem).replace(b"-Type: abuse", b"-Type: opt-out")
    campaign.sync(bounced, junk, wish)
    assert campaign.suppressed().keys() == {ann, bob, cem}


def test_what_a_token_proves_is_overruled_only_on_purpose(campaign: Campaign) -> None:
    campaign.send()
    ann = mail_of("ann")
    campaign.sync(answering.mail(ann, STOP, to=campaign.letters[ann]))
    run = campaign.project.run
    assert "--yes" in run("replies", "dismiss", "1", code=2).stderr
    run("replies", "assign", "1", mail_of("bob"), code=2)
    assert campaign.suppressed().keys() == {ann}
    run("replies", "dismiss", "1", "--yes")
    assert campaign.suppressed() == {}


def test_a_refusal_that_others_stand_behind_stays(campaign: Campaign) -> None:
    campaign.send("--only", "name=Ann", "--only", "name=Bob", code=75)
    ann, bob = mail_of("ann"), mail_of("bob")
    campaign.sync(
        answering.mail(ann, STOP, to=campaign.letters[ann]),
        answering.mail(ann, STOP + " Now.", to=campaign.letters[ann]),
        answering.mail(bob, STOP, to=campaign.letters[bob]),
    )
    run = campaign.project.run
    run("suppress", "add", bob, "--reason", "told me so")
    run("replies", "dismiss", "1", "--yes")
    run("replies", "dismiss", "3", "--yes")
    assert campaign.suppressed() == {ann: "asked to stop (mail 2)", bob: "told me so"}
    run("replies", "dismiss", "2", "--yes")
    assert campaign.suppressed().keys() == {bob}


def test_the_table_shows_how_an_answer_begins(campaign: Campaign) -> None:
    campaign.send()
    ann, bob = mail_of("ann"), mail_of("bob")
    campaign.sync(
        answering.mail(ann, "Yes, we will hold a vigil.\n\nAnn", to=campaign.letters[ann]),
        answering.mail(bob, "On Monday you wrote:\n> please help.\n\nOf course.", to=campaign.letters[bob]),
    )
    shown = campaign.project.run("replies", "list").stdout
    assert "Yes, we will hold a vigil." in shown
    assert "Of course." in shown


def test_what_was_assigned_wrongly_is_taken_back(campaign: Campaign) -> None:
    campaign.send("--only", "name=Ann", code=75)
    ann, bob = mail_of("ann"), mail_of("bob")
    campaign.sync(answering.mail("someone@home.example.org", STOP, subject="Stop"))
    run = campaign.project.run
    run("replies", "assign", "1", bob)
    assert campaign.suppressed().keys() == {bob, "someone@home.example.org"}
    run("replies", "assign", "1", ann)
    assert campaign.suppressed().keys() == {ann, "someone@home.example.org"}
    assert "free again" in run("replies", "dismiss", "1").stdout
    assert campaign.suppressed() == {}
    campaign.send()
    assert bob in campaign.letters


def test_what_a_person_assigns_acts(campaign: Campaign) -> None:
    campaign.send("--only", "name=Ann", code=75)
    ann, bob = mail_of("ann"), mail_of("bob")
    campaign.sync(answering.bounce(ann, ""), answering.mail(bob, STOP, subject="Stop"))
    waiting = {row["kind"]: row["id"] for row in campaign.list("--unmatched")}
    campaign.project.run("replies", "assign", str(waiting["bounce"]), ann)
    campaign.project.run("replies", "assign", str(waiting["opt-out"]), bob)
    assert campaign.suppressed().keys() == {ann, bob}
    campaign.send()
    assert bob not in campaign.letters
    assert campaign.status()["counts"]["suppressed"] == 1


def test_a_mail_from_list_unsubscribe_has_the_token_in_its_subject(campaign: Campaign) -> None:
    campaign.send("--only", "name=Ann", code=75)
    ann = mail_of("ann")
    link = str(campaign.letters[ann]["List-Unsubscribe"])
    subject = link.strip("<>").partition("subject=")[2].replace("%20", " ")
    campaign.sync(answering.mail(ann, "", subject=subject))
    assert campaign.suppressed() == {ann: "asked to stop (mail 1)"}


def test_a_token_in_the_address_for_answers_finds_the_letter(campaign: Campaign) -> None:
    campaign.project.env["OUTREACH_REPLY_TO"] = "Us <answers+{token}@outreach.example>"
    campaign.send()
    ann, letter = mail_of("ann"), campaign.letters[mail_of("ann")]
    token = campaign.id(ann).strip("<>").partition("@")[0]
    assert str(letter["Reply-To"]) == f"Us <answers+{token}@outreach.example>"
    assert "answers@outreach.example" in letter.get_body(("plain",)).get_content()
    raw = answering.mail("other@home.example.org", "Yes.", subject="A new mail")
    campaign.sync(raw.replace(answering.US.encode(), f"answers+{token}@outreach.example".encode()))
    (row,) = campaign.list()
    assert (row["email"], row["matched"]) == (ann, "token")


# While a mailing runs ------------------------------------------------------------------------------


def test_what_arrives_while_a_mailing_runs_stops_what_was_planned(campaign: Campaign) -> None:
    campaign.send("--only", "name=Ann", "--only", "name=Bob", "--name", "first", code=75)
    ann, bob = mail_of("ann"), mail_of("bob")
    campaign.project.letter("Subject: Second\n\nDear {{ name }}.\n")
    campaign.project.write("templates/second/en.md", "Subject: Second\n\nDear {{ name }}.\n")
    order = [*NAMES[2:], "bob", "ann"]
    rows = [f"{mail_of(name)},{name.title()},{name} e.V.,party,DE,en" for name in order]
    campaign.project.write(
        "contacts.csv", "email,name,organisation,audience,country,language\n" + "\n".join(rows) + "\n"
    )
    campaign.project.env |= {"OUTREACH_IMAP_URL": "maildir:answers"}
    answering.drop(campaign.box)
    process = campaign.project.start(
        "send", "second", "--yes", "--rate", "20/minute", "--rate-per-domain", "unlimited"
    )
    deadline = time.monotonic() + 30
    while len(campaign.server.record) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    answering.drop(
        campaign.box,
        answering.bounce(ann, campaign.id(ann)),
        answering.mail(bob, STOP, to=campaign.letters[bob]),
    )
    out, err = process.communicate(timeout=60)
    sent = [one.recipient for one in campaign.server.record[2:]]
    assert sent == [mail_of(name) for name in NAMES[2:]], (out, err)
    assert campaign.status("second")["counts"]["suppressed"] == 2
    assert "opt-out from" in err


def test_the_reading_beside_a_run_runs_nothing_of_the_project_and_survives_a_missing_mailbox(
    campaign: Campaign,
) -> None:
    campaign.send("--only", "name=Ann", "--only", "name=Bob", code=75)
    bob = mail_of("bob")
    campaign.project.write("templates/second/en.md", "Subject: Second\n\nDear {{ name }}.\n")
    campaign.project.write("email.py", "open('was-run', 'w')\n")
    campaign.project.env["OUTREACH_IMAP_URL"] = "maildir:answers"
    rows = [f"{mail_of(name)},{name.title()},party,DE,en" for name in ("cem", "dee", "bob")]
    campaign.project.write("contacts.csv", "email,name,audience,country,language\n" + "\n".join(rows) + "\n")
    slowly = ("--yes", "--rate", "8/minute", "--rate-per-domain", "unlimited")
    process = subprocess.Popen(  # as it is installed: the folder is no place for modules
        [str(Path(sys.executable).with_name("outreach")), "send", "second", *slowly],
        cwd=campaign.project.folder,
        env=ENVIRONMENT | campaign.project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while len(campaign.server.record) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    answering.drop(campaign.box, answering.mail(bob, STOP, to=campaign.letters[bob]))
    _, err = process.communicate(timeout=90)
    assert bob not in campaign.server.recipients[2:], err
    assert "answers cannot be read" in err
    assert not (campaign.project.folder / "was-run").exists()


def test_no_replies_reads_nothing(campaign: Campaign) -> None:
    campaign.project.env |= {"OUTREACH_IMAP_URL": "maildir:nowhere"}
    done = campaign.send("--no-replies", "--only", "name=Ann", code=75)
    assert "answers" not in done.stderr
    assert campaign.status()["answers_failed"] is None


def test_complaints_stop_a_run(campaign: Campaign) -> None:
    campaign.send("--only", "name=Ann", "--only", "name=Bob", code=75)
    process = campaign.project.start("send", "--yes", "--rate", "20/minute", "--rate-per-domain", "unlimited")
    deadline = time.monotonic() + 30
    while len(campaign.server.record) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    campaign.sync(*(answering.complaint(campaign.id(mail_of(name))) for name in ("ann", "bob")))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "2 of" in err
    assert "marked the letter as spam" in err
    assert len(campaign.server.record) < 5


# Another address -----------------------------------------------------------------------------------


def alternates(campaign: Campaign) -> None:
    campaign.project.write(
        "contacts.csv",
        "email,name,audience,country,language\n"
        "ann@ann.example.org; ann@home.example.org; ann@third.example.org,Ann,party,DE,en\n"
        "bob@bob.example.org; bob@home.example.org,Bob,party,DE,en\n",
    )


def test_a_hard_bounce_brings_the_next_address_into_play(campaign: Campaign) -> None:
    alternates(campaign)
    campaign.server.rcpt_replies["ann@ann.example.org"] = ["550 5.1.1 no such user"]
    campaign.server.rcpt_replies["bob@bob.example.org"] = ["552 5.2.2 mailbox full"]
    campaign.send(code=1)
    assert campaign.server.recipients == ["ann@home.example.org"]
    campaign.sync(answering.bounce("ann@home.example.org", campaign.id("ann@home.example.org")))
    campaign.send(code=1)
    assert campaign.server.recipients == ["ann@home.example.org", "ann@third.example.org"]
    campaign.sync(answering.bounce("ann@third.example.org", campaign.id("ann@third.example.org")))
    campaign.send(code=1)
    assert len(campaign.server.record) == 2
    campaign.project.write("templates/next/en.md", "Subject: Next\n\nDear {{ name }}.\n")
    campaign.send("next")
    assert campaign.server.recipients[2:] == ["bob@bob.example.org"]


def test_a_soft_bounce_does_not(campaign: Campaign) -> None:
    alternates(campaign)
    campaign.send()
    ann = "ann@ann.example.org"
    campaign.sync(answering.bounce(ann, campaign.id(ann), "4.2.2", "452 4.2.2 mailbox full"))
    campaign.send()
    assert len(campaign.server.record) == 2
    assert campaign.suppressed() == {}


def test_a_later_mailing_takes_the_address_that_lives(campaign: Campaign) -> None:
    alternates(campaign)
    campaign.send()
    ann = "ann@ann.example.org"
    campaign.sync(answering.bounce(ann, campaign.id(ann)))
    campaign.project.write("templates/next/en.md", "Subject: Next\n\nDear {{ name }}.\n")
    campaign.send("next")
    assert sorted(campaign.server.recipients[2:]) == ["ann@home.example.org", "bob@bob.example.org"]


def test_a_person_gets_a_letter_once_at_whichever_address(campaign: Campaign) -> None:
    alternates(campaign)
    campaign.send("--except", "name=Bob", code=75)
    ann = "ann@ann.example.org"
    campaign.project.write("templates/next/en.md", "Subject: Next\n\nDear {{ name }}.\n")
    campaign.server.rcpt_replies[ann] = ["550 5.1.1 no such user"]
    campaign.send("next", "--only", "name=Ann", code=None)
    assert campaign.server.recipients == [ann, "ann@home.example.org"]
    campaign.send("hello", "--add-new")
    campaign.send("hello", "--name", "two", code=None)
    campaign.project.run("suppress", "remove", ann)
    campaign.send("next", "--retry-failed", code=None)
    people = [mail.partition("@")[0] for mail in campaign.server.recipients]
    assert sorted(people) == ["ann", "ann", "bob", "bob"]


def test_what_is_planned_elsewhere_for_a_dead_mailbox_goes_to_the_next_address(campaign: Campaign) -> None:
    alternates(campaign)
    campaign.project.write("templates/next/en.md", "Subject: Next\n\nDear {{ name }}.\n")
    campaign.send("next", "--only", "name=Bob", code=75)
    campaign.send("hello")
    ann = "ann@ann.example.org"
    campaign.sync(answering.bounce(ann, campaign.id(ann)))
    campaign.send("next")
    campaign.send("hello")
    assert campaign.server.recipients.count("ann@home.example.org") == 2
    assert campaign.server.recipients.count(ann) == 1


def test_a_bounce_that_is_taken_back_mails_nobody_twice(campaign: Campaign) -> None:
    alternates(campaign)
    ann, home = "ann@ann.example.org", "ann@home.example.org"
    campaign.project.write("templates/next/en.md", "Subject: Next\n\nDear {{ name }}.\n")
    campaign.send("next", "--only", "name=Bob", code=75)
    campaign.send("hello")
    campaign.sync(answering.bounce(ann, campaign.id(ann)))
    counts = campaign.project.json("status", "next", "--json")["counts"]
    assert (counts["planned"], counts["suppressed"]) == (1, 1)
    campaign.project.run("replies", "dismiss", "1", "--yes")
    campaign.send("next")
    campaign.send("hello")
    assert campaign.server.recipients.count(ann) == 2
    assert home not in campaign.server.recipients


def test_a_report_is_assigned_to_the_letter_that_it_is_about(campaign: Campaign) -> None:
    alternates(campaign)
    campaign.send()
    ann, home = "ann@ann.example.org", "ann@home.example.org"
    campaign.sync(answering.bounce(ann, campaign.id(ann)))
    campaign.send()
    campaign.sync(answering.bounce(ann, ""))
    campaign.project.run("replies", "assign", "2", ann)
    campaign.send()
    assert campaign.server.recipients[2:] == [home]
    assert campaign.suppressed().keys() == {ann}


def test_a_new_address_is_used_when_the_letter_came_back(campaign: Campaign) -> None:
    campaign.send()
    ann = mail_of("ann")
    campaign.sync(answering.bounce(ann, campaign.id(ann)))
    text = (campaign.project.folder / "contacts.csv").read_text()
    campaign.project.write("contacts.csv", text.replace(ann, f"{ann}; ann@home.example.org"))
    campaign.send("--add-new")
    assert campaign.server.recipients[5:] == ["ann@home.example.org"]


def test_of_a_shared_inbox_that_is_dead_everybody_gets_an_own_letter(campaign: Campaign) -> None:
    campaign.project.write(
        "contacts.csv",
        "email,name,audience,country,language\n"
        "office@x.example.org; ann@x.example.org,Ann,party,DE,en\n"
        "office@x.example.org; bob@x.example.org,Bob,party,DE,en\n",
    )
    campaign.server.rcpt_replies["office@x.example.org"] = ["550 5.1.1 no such user"]
    campaign.send(code=1)
    assert sorted(campaign.server.recipients) == ["ann@x.example.org", "bob@x.example.org"]
    subjects = {str(answering.letter(one.content)["Subject"]) for one in campaign.server.record}
    assert subjects == {"Stand by us, Ann", "Stand by us, Bob"}


def test_held_letters_do_not_keep_others_from_their_turn(campaign: Campaign) -> None:
    campaign.sync(answering.mail(mail_of("ann"), STOP, subject="Stop"))
    campaign.send("--limit", "1", code=75)
    assert campaign.server.recipients == [mail_of("bob")]


def test_a_hold_counts_for_every_address_of_a_person(campaign: Campaign) -> None:
    alternates(campaign)
    campaign.send("--only", "name=Bob", code=75)
    campaign.sync(answering.mail("ann@third.example.org", STOP, subject="Stop"))
    campaign.server.rcpt_replies["ann@ann.example.org"] = ["550 5.1.1 no such user"]
    campaign.send(code=75)
    assert campaign.server.recipients == ["bob@bob.example.org"]
    assert campaign.status()["held"] == 1
    assert campaign.project.json("deliveries", "list", "--state", "planned", "--json")[0]["held"]


# Marks ---------------------------------------------------------------------------------------------


def test_marks_by_mail_and_by_address_are_in_report_and_lists(campaign: Campaign) -> None:
    campaign.send()
    ann, bob = mail_of("ann"), mail_of("bob")
    campaign.sync(answering.mail(ann, "We will.", to=campaign.letters[ann]))
    (row,) = campaign.list("--unanswered")
    run = campaign.project.run
    today = datetime.date.today().isoformat()
    run("replies", "mark", str(row["id"]), "promised", "--note", "by phone too", "--due", today)
    run("replies", "mark", bob, "done", "--link", "https://bob.example.org/x", "--on", "2026-01-02")
    report = campaign.project.report()
    assert (report[ann]["answer"], report[ann]["note"], report[ann]["due"]) == (
        "promised",
        "by phone too",
        today,
    )
    assert (report[bob]["answer"], report[bob]["link"]) == ("done", "https://bob.example.org/x")
    assert report[bob]["answer_at"].startswith("2026-01-02")
    assert campaign.list("--unanswered") == []
    assert [one["email"] for one in campaign.list("--due")] == [ann]
    run("replies", "mark", mail_of("cem"), "refused")
    run("replies", "mark", mail_of("cem"), "none")
    run("replies", "mark", mail_of("cem"), "done", "--link", "javascript:x", code=2)
    run("replies", "mark", mail_of("cem"), "done", "--on", "2099-01-01", code=2)
    answers = campaign.project.json("report", "--format", "json")["answers"]
    assert answers == {"done": 1, "promised": 1, "forwarded": 0, "question": 0, "refused": 0}
    run("replies", "mark", ann, "done")
    assert campaign.list("--due") == []
    rows = campaign.project.json("deliveries", "list", "--answer", "done", "--json")
    assert {one["email"] for one in rows} == {ann, bob}
    run("replies", "mark", "an@ann.example.org", "done", code=2)
    run("replies", "mark", "99", "done", code=2)
    run("replies", "mark", ann, "promised", "--due", "soon", code=2)


def test_everything_about_one_person(campaign: Campaign) -> None:
    campaign.server.rcpt_replies[mail_of("ann")] = ["451 4.3.0 later"]
    campaign.project.env |= {"OUTREACH_RETRY": "1s"}
    campaign.send()
    ann = mail_of("ann")
    campaign.sync(answering.mail(ann, STOP, to=campaign.letters[ann]))
    person = campaign.project.json("deliveries", "show", ann, "--format", "json")
    (delivery,) = person["deliveries"]
    assert [one["code"] for one in delivery["tries"]] == [451, 250]
    assert delivery["letter"]["subject"] == "Stand by us, Ann"
    assert person["suppressed"] == "asked to stop (mail 1)"
    shown = campaign.project.run("deliveries", "show", ann).stdout
    assert "451 4.3.0 later" in shown
    assert "Dear Ann" in shown
    sent = answering.letter(
        campaign.project.run("deliveries", "show", ann, "--format", "eml").stdout.encode()
    )
    assert sent["Message-ID"] == campaign.letters[ann]["Message-ID"]
    assert sent.get_body(("plain",)).get_content() == campaign.letters[ann].get_body(("plain",)).get_content()
    rows = campaign.project.json("deliveries", "list", "--state", "sent", "--only", "name=Bob", "--json")
    assert [one["email"] for one in rows] == [mail_of("bob")]


# Doubt ---------------------------------------------------------------------------------------------


def test_evidence_settles_what_is_in_doubt(campaign: Campaign) -> None:
    campaign.server.after_data = lambda recipient: None  # accepted, and cut off
    campaign.send(code=None)
    assert campaign.status()["counts"]["unknown"] == 5
    ann, bob, cem, *_ = map(mail_of, NAMES)
    done = campaign.project.run("resolve", code=1)
    assert "no evidence" in done.stderr
    campaign.sync(
        answering.mail(ann, "Thanks.", to=campaign.letters[ann]),
        answering.bounce(bob, campaign.id(bob)),
        answering.mail(cem, "A mail without token.", subject="Hello"),
    )
    done = campaign.project.run("resolve", code=1)
    assert "our token came back" in done.stdout
    report = campaign.project.report()
    assert [mail for mail, row in report.items() if row["state"] == "sent"] == [ann, bob]


# Follow-up -----------------------------------------------------------------------------------------


def test_a_follow_up_goes_to_the_silent_only_in_the_thread_of_the_first(campaign: Campaign) -> None:
    ann, bob, cem, dee, eve = map(mail_of, NAMES)
    campaign.server.after_data = lambda recipient: None if recipient == eve else "250 2.0.0 taken"
    campaign.send(code=None)
    follow(campaign)
    first = dict(campaign.letters)
    done = campaign.send("again", "--follow-up", "hello", code=75)
    assert "never read" in done.stderr
    back = datetime.date.today() + datetime.timedelta(days=20)
    words = f"I am out of the office until {back.day} {back:%B %Y}."
    campaign.sync(
        answering.mail(ann, "We will do it.", to=first[ann]),
        answering.mail(bob, words, to=first[bob], Auto_Submitted=AUTO),
    )
    plan = campaign.project.json("send", "again", "--follow-up", "hello", "--dry-run", "--json")
    why = {one["email"]: one["reason"] for one in plan["excluded"]}
    assert why[ann].startswith("has answered")
    assert why[bob] == f"is away until {back}"
    assert "in doubt" in why[eve]
    campaign.send("again", "--follow-up", "hello")
    second = campaign.server.record[5:]
    assert [one.recipient for one in second] == [cem, dee]
    mail = answering.letter(second[0].content)
    assert mail["Subject"] == "Re: Stand by us, Cem"
    assert mail["In-Reply-To"] == mail["References"] == first[cem]["Message-ID"]
    campaign.send("again")  # goes on as what it is
    assert len(campaign.server.record) == 7
    campaign.project.write("templates/third/en.md", "Subject: Unused\n\nDear {{ name }}, please.\n")
    campaign.send("third", "--follow-up", "again")
    third = answering.letter(campaign.server.record[-2].content)
    assert third["Subject"] == "Re: Stand by us, Cem"
    assert third["References"] == f"{first[cem]['Message-ID']} {mail['Message-ID']}"
    assert third["In-Reply-To"] == mail["Message-ID"]


def test_a_follow_up_waits_so_long_and_stops_for_who_answers_meanwhile(campaign: Campaign) -> None:
    campaign.send()
    follow(campaign)
    campaign.sync()
    done = campaign.send("again", "--follow-up", "hello", "--after", "14d", code=65)
    assert "--after is 14 days" in done.stderr
    campaign.project.run("plan", "again")
    campaign.send("again", "--follow-up", "hello", "--limit", "1", code=75)
    bob = mail_of("bob")
    campaign.sync(answering.mail(bob, "Yes!", to=campaign.letters[bob]))
    campaign.send("again", "--follow-up", "hello")
    assert bob not in campaign.server.recipients[5:]
    report = {
        row["email"]: row
        for row in campaign.project.json("report", "again", "--format", "json")["deliveries"]
    }
    assert (report[bob]["state"], report[bob]["server_reply"]) == ("cancelled", "has answered meanwhile")
    campaign.send("hello", "--follow-up", "again", code=2)
    campaign.send("again", "--follow-up", "nothing", code=2)
    campaign.send("again", "--after", "1d", code=2)


def test_silent_means_in_the_whole_thread(campaign: Campaign) -> None:
    campaign.send()
    follow(campaign)
    campaign.sync()
    campaign.send("again", "--follow-up", "hello")
    ann, bob, cem, dee, eve = map(mail_of, NAMES)
    second = {one.recipient: answering.letter(one.content) for one in campaign.server.record[5:]}
    campaign.sync(
        answering.mail(ann, "Yes.", to=second[ann]),
        answering.mail(bob, STOP, to=second[bob]),
        answering.bounce(cem, str(second[cem]["Message-ID"])),
    )
    campaign.project.run("replies", "mark", dee, "done")
    campaign.project.write("templates/third/en.md", "Subject: Unused\n\nDear {{ name }}, please.\n")
    campaign.send("third", "--follow-up", "hello")
    assert campaign.server.recipients[10:] == [eve]


def test_a_follow_up_reaches_the_address_that_lives(campaign: Campaign) -> None:
    alternates(campaign)
    campaign.send()
    ann, home = "ann@ann.example.org", "ann@home.example.org"
    follow(campaign)
    campaign.sync()
    campaign.server.rcpt_replies[ann] = ["550 5.1.1 no such user"]
    campaign.send("again", "--follow-up", "hello", "--only", "name=Ann", code=None)
    assert campaign.server.recipients[2:] == [home]
    assert answering.letter(campaign.server.record[2].content)["Subject"] == "Re: Stand by us, Ann"
    campaign.send("again", "--revise", code=None)
    assert campaign.server.recipients[3:] == ["bob@bob.example.org"]
    campaign.project.run("replies", "mark", ann, "done")
    (row,) = campaign.project.json("deliveries", "list", "hello", "--answer", "done", "--json")
    assert row["email"] == ann  # whose letter that was; the person is not silent any more
    campaign.project.write("templates/third/en.md", "Subject: Unused\n\nDear {{ name }}, please.\n")
    campaign.send("third", "--follow-up", "hello")
    assert campaign.server.recipients[4:] == ["bob@bob.example.org"]


def test_who_goes_away_while_a_follow_up_runs_is_waited_for(campaign: Campaign) -> None:
    campaign.send()
    follow(campaign)
    campaign.sync()
    campaign.send("again", "--follow-up", "hello", "--limit", "1", code=75)
    bob = mail_of("bob")
    back = datetime.date.today() + datetime.timedelta(days=9)
    words = f"I am out of the office until {back.day} {back:%B %Y}."
    campaign.sync(answering.mail(bob, words, to=campaign.letters[bob], Auto_Submitted=AUTO))
    campaign.send("again", "--no-wait", code=75)
    assert bob not in campaign.server.recipients[5:]
    waiting = campaign.send("again", code=75)  # and does not stay until then
    assert f"{bob} is away until {back}" in waiting.stderr
    assert campaign.project.json("status", "again", "--json")["counts"]["planned"] == 1
    campaign.project.run("replies", "dismiss", "1")
    campaign.send("again")
    assert bob in campaign.server.recipients[5:]


def test_only_the_mailbox_where_answers_arrive_counts_as_read(campaign: Campaign) -> None:
    campaign.send()
    follow(campaign)
    ann = mail_of("ann")
    campaign.project.env["OUTREACH_IMAP_URL"] = "maildir:answers"
    answering.drop(campaign.box, answering.mail(ann, "Yes", to=campaign.letters[ann]))
    (campaign.project.folder / "one.eml").write_bytes(answering.mail("x@y.example.org", "Hi"))
    campaign.project.run("replies", "sync", "--source", "eml:one.eml")
    campaign.send("again", "--follow-up", "hello", "--no-replies", code=75)
    campaign.project.run("replies", "sync")
    campaign.send("again", "--follow-up", "hello", "--no-replies")
    assert ann not in campaign.server.recipients[5:]


def test_a_dismissed_answer_is_none(campaign: Campaign) -> None:
    campaign.send()
    follow(campaign)
    ann = mail_of("ann")
    campaign.sync(answering.mail(ann, "Yes", subject="Re: Stand by us, Ann"))
    campaign.project.run("replies", "dismiss", "1")
    assert campaign.status()["inbound"]["reply"] == 0
    campaign.send("again", "--follow-up", "hello")
    assert ann in campaign.server.recipients[5:]


# Reading -------------------------------------------------------------------------------------------


def test_two_readings_at_once_count_each_mail_once(campaign: Campaign) -> None:
    campaign.send()
    mails = [
        answering.mail(mail_of(name), f"Number {number}.", to=campaign.letters[mail_of(name)])
        for number in range(40)
        for name in NAMES
    ]
    answering.drop(campaign.box, *mails)
    running = [campaign.project.start("replies", "sync", "--source", "maildir:answers") for _ in range(2)]
    assert [one.wait(60) for one in running] == [0, 0]
    for one in running:
        one.communicate()
    assert campaign.status()["inbound"]["reply"] == 200


def test_what_cannot_be_read_is_said_with_the_next_step(campaign: Campaign) -> None:
    run = campaign.project.run
    assert "OUTREACH_IMAP_URL" in run("replies", "sync", code=78).stderr
    assert "missing" in run("replies", "sync", "--source", "maildir:missing", code=65).stderr
    assert "no IMAP URL" in run("replies", "sync", "--source", "http://x.example", code=78).stderr
    run("replies", "list", code=None)
    campaign.send()
    run("replies", "show", "7", code=2)
    run("replies", "sync", "--watch", "--json", "--source", "maildir:answers", code=2)
    run("replies", "mark", mail_of("ann"), "done", "--on", "0001-01-01", code=2)
    assert json.loads(run("replies", "list", "--json").stdout) == []
    assert "never read" in run("replies", "list").stderr
