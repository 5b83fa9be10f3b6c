"""The whole way, as a volunteer walks it: real commands, real servers on loopback."""

from __future__ import annotations

import csv
import email
import email.policy
import getpass
import io
import json
import mailbox
import os
import re
import signal
import stat
import time
from pathlib import Path

import postfix
import pytest
import sink
from conftest import Project

SLOW = "1200/minute"


def send(project: Project, server: sink.Sink, *arguments: str, code: int | None = 0) -> None:
    project.env["OUTREACH_SMTP_URL"] = server.url
    project.run(
        "send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited", *arguments, code=code
    )


def test_rehearsal_in_an_empty_folder_mails_the_shipped_list_into_a_maildir(tmp_path: Path) -> None:
    project = Project(tmp_path)
    report = project.json("rehearse", "--json")
    assert report["totals"]["deliveries"] == 60
    failed = {row["email"].partition("+")[0] for row in report["deliveries"] if row["state"] == "failed"}
    assert failed == {"gone", "full"}
    busy = [row for row in report["deliveries"] if row["email"].startswith("busy+")]
    assert [(row["state"], row["attempts"]) for row in busy] == [("sent", 2)] * 3
    box = mailbox.Maildir(tmp_path / "rehearsal" / "inbox", create=False)
    delivered = sorted(mail["Message-ID"] for mail in box)
    assert delivered == sorted(row["message_id"] for row in report["deliveries"] if row["state"] == "sent")
    assert len(report["excluded"]) == 4
    assert report["real_seconds"] > 3600
    assert report["rehearsal"] is True
    assert report["inbound"] == {
        "reply": 5, "auto-reply": 3, "bounce": 2, "opt-out": 2, "complaint": 0, "other": 0
    }  # fmt: skip
    came = {row["email"].partition("+")[0]: row["inbound"] for row in report["deliveries"] if row["inbound"]}
    assert {role: [one["kind"] for one in mails] for role, mails in came.items()} == {
        "reply": ["reply"], "away": ["auto-reply"], "bounce": ["bounce"], "stop": ["opt-out"]
    }  # fmt: skip
    ledger = ("--ledger", "sqlite:///rehearsal/rehearsal.db")
    assert project.json(*ledger, "report", "--format", "json")["rehearsal"] is True
    assert "a rehearsal" in project.run(*ledger, "status").stdout


def test_a_rehearsal_starts_afresh_and_removes_nothing_but_its_own(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.run("rehearse")
    assert project.json("rehearse", "--json")["messages"] == 57
    foreign = tmp_path / "mine" / "inbox" / "cur"
    foreign.mkdir(parents=True)
    (foreign / "1").write_text("my mail")
    project.run("rehearse", "-o", "mine", code=2)
    assert (foreign / "1").read_text() == "my mail"


def test_a_mailing_reaches_everybody_once_and_a_second_send_sends_nothing(project: Project) -> None:
    mails = project.contacts(30)
    project.letter()
    with sink.run() as server:
        send(project, server)
        assert sorted(server.recipients) == sorted(mails)
        send(project, server)
        assert len(server.record) == 30
    assert {row["state"] for row in project.report().values()} == {"sent"}
    status = project.json("status", "--json")
    assert status["counts"]["sent"] == 30
    assert set(status["counts"]) == {
        "planned", "sending", "sent", "deferred", "failed", "unknown", "suppressed", "cancelled"
    }  # fmt: skip
    assert set(status["inbound"]) == {"reply", "auto-reply", "bounce", "opt-out", "complaint", "other"}


def test_limit_and_filters_choose_the_run_and_the_whole_list_is_planned(project: Project) -> None:
    project.contacts(10)
    project.letter()
    with sink.run() as server:
        send(project, server, "--limit", "3", code=75)
        assert len(server.record) == 3
        assert project.json("status", "--json")["counts"]["planned"] == 7
        send(project, server, "--only", "name=person 9", code=75)
        assert server.recipients[3:] == ["person9@d2.example.org"]
        send(project, server, "--except", "name=Person 8", code=75)
        assert "person8@d1.example.org" not in server.recipients
        send(project, server)
        assert len(set(server.recipients)) == len(server.record) == 10


def test_new_contacts_join_only_when_asked_and_vanished_ones_stay(project: Project) -> None:
    project.contacts(4)
    project.letter()
    with sink.run() as server:
        send(project, server, "--limit", "2", code=75)
        lines = (project.folder / "contacts.csv").read_text().splitlines()
        project.write("contacts.csv", "\n".join([*lines[:4], "new@d9.example.org,New,party,DE,en"]) + "\n")
        project.env["OUTREACH_SMTP_URL"] = server.url
        done = project.run("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
        assert "new@d9.example.org" in done.stderr
        assert "person3@d3.example.org" in done.stderr  # vanished, still sent
        assert "new@d9.example.org" not in server.recipients
        assert "person3@d3.example.org" in server.recipients
        send(project, server, "--add-new")
        assert server.recipients[-1] == "new@d9.example.org"
        assert len(server.record) == 5


def test_a_letter_changed_in_the_middle_is_refused_and_never_mixed(project: Project) -> None:
    project.contacts(4)
    project.letter()
    with sink.run() as server:
        send(project, server, "--limit", "2", code=75)
        project.letter("Subject: Other\n\nOther text.\n")
        project.env["OUTREACH_SMTP_URL"] = server.url
        done = project.run("send", "--yes", code=2)
        assert "--name" in done.stderr
        assert len(server.record) == 2
        # Under another name whoever has the letter, or may still get it, is left out.
        done = project.run("send", "--yes", "--name", "second", code=65)
        assert len(server.record) == 2
        project.letter()
        send(project, server)
        assert len(server.record) == 4


def test_again_is_the_only_way_to_send_the_same_letter_twice(project: Project) -> None:
    project.contacts(2)
    project.letter()
    with sink.run() as server:
        send(project, server)
        send(project, server, "--name", "second", "--again")
        assert len(server.record) == 4


def test_temporary_refusals_come_back_and_dead_mailboxes_are_suppressed(project: Project) -> None:
    mails = project.contacts(4)
    project.letter()
    project.env |= {"OUTREACH_RETRY": "1s", "OUTREACH_GIVE_UP": "3s"}
    with sink.run() as server:
        server.rcpt_replies = {
            mails[0]: ["451 4.7.1 greylisted"],
            mails[1]: ["550 5.1.1 no such user"],
            mails[2]: ["452 4.2.2 full"] * 20,
        }
        send(project, server, code=1)
        rows = project.report()
        assert [rows[mail]["state"] for mail in mails] == ["sent", "failed", "failed", "sent"]
        assert rows[mails[0]]["attempts"] == 2
        assert rows[mails[1]]["server_reply"].startswith("550 5.1.1")
        # The dead mailbox is left out of the next mailing, the full one is not.
        project.write("templates/other/en.md", "Subject: Other\n\nOther.\n")
        plan = project.json("plan", "other", "--json")
        assert plan["total"] == 3
        assert mails[1] in [one["email"] for one in plan["excluded"]]


def test_deferred_survives_the_process_and_no_wait_ends_at_once(project: Project) -> None:
    mails = project.contacts(3)
    project.letter()
    project.env["OUTREACH_RETRY"] = "2s"
    with sink.run() as server:
        server.rcpt_replies = {mails[1]: ["451 4.7.1 later"]}
        send(project, server, "--no-wait", code=75)
        assert len(server.record) == 2
        deferred = project.json("status", "--json")["deferred"]
        assert [one["email"] for one in deferred] == [mails[1]]
        send(project, server)
        assert sorted(server.recipients) == sorted(mails)


def test_a_connection_lost_after_the_dot_is_in_doubt_and_never_repeated(project: Project) -> None:
    mails = project.contacts(5)
    project.letter()
    with sink.run() as server:
        server.after_data = lambda mail: None if mail == mails[2] else "250 ok"
        send(project, server, code=1)
        send(project, server, code=1)
        assert sorted(server.recipients) == sorted(mails)
    rows = project.report()
    assert [rows[mail]["state"] for mail in mails] == ["sent", "sent", "unknown", "sent", "sent"]


def test_an_unused_interrupt_finishes_the_mail_in_flight_and_continues_later(project: Project) -> None:
    mails = project.contacts(40)
    project.letter()
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        process = project.start("send", "--yes", "--rate", SLOW, "--rate-per-domain", "unlimited")
        while len(server.record) < 8:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "continues" in out
        counts = project.json("status", "--json")["counts"]
        assert counts["sent"] == len(server.record) < 40
        assert counts["unknown"] == counts["sending"] == 0
        send(project, server)
        assert sorted(server.recipients) == sorted(mails)


def test_pace_is_kept_within_five_percent_and_a_restart_neither_bursts_nor_loses(project: Project) -> None:
    mails = project.contacts(220, domains=220)
    project.letter()
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        arguments = ("send", "--yes", "--rate", SLOW, "--rate-per-domain", "unlimited")
        project.run(*arguments, "--limit", "110", code=75)
        half = len(server.record)
        project.run(*arguments)
        assert sorted(server.recipients) == sorted(mails)
        for part in (server.record[:half], server.record[half:]):
            pace = (len(part) - 1) / (part[-1].at - part[0].at)
            assert pace <= 20 * 1.05  # the limit is a promise, whatever the machine does
        times = [one.at for one in server.record]
        assert min(b - a for a, b in zip(times, times[20:], strict=False)) > 0.8, "no burst in any 21 mails"


@pytest.mark.parametrize("after", [0.15, 0.5, 0.85])
def test_killed_half_way_everybody_gets_it_once_or_is_in_doubt(project: Project, after: float) -> None:
    mails = project.contacts(200)
    project.letter()
    with sink.run() as server:
        server.delay = 0.002
        project.env["OUTREACH_SMTP_URL"] = server.url
        arguments = (
            "send",
            "--yes",
            "--rate",
            "unlimited",
            "--rate-per-domain",
            "unlimited",
            "--connections",
            "4",
        )
        process = project.start(*arguments)
        while len(server.record) < 200 * after:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        time.sleep(0.2)  # the sink finishes what it has
        project.run(*arguments, code=None)
        states = {mail: row["state"] for mail, row in project.report().items()}
        taken = server.recipients
        assert len(set(taken)) == len(taken), "nobody twice"
        for mail in mails:
            assert states[mail] in ("sent", "unknown")
            if states[mail] == "sent":
                assert mail in taken
        assert sum(state == "unknown" for state in states.values()) <= 4
        before = len(taken)
        project.run(*arguments, code=None)
        assert len(server.record) == before, "a second send sends nothing"


def test_two_processes_share_one_mailing(project: Project) -> None:
    mails = project.contacts(120)
    project.letter()
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        server.delay = 0.003
        arguments = ("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
        project.run(*arguments, "--limit", "1", code=75)
        both = [project.start(*arguments), project.start(*arguments)]
        for process in both:
            _, err = process.communicate(timeout=60)
            assert process.returncode in (0, 75), err
        assert sorted(server.recipients) == sorted(mails)


def test_two_first_sends_at_once_make_one_mailing(project: Project) -> None:
    mails = project.contacts(60)
    project.letter()
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        arguments = ("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
        all_at_once = [project.start(*arguments) for _ in range(3)]
        all_at_once += [project.start(*arguments, "--name", "other")]
        for process in all_at_once:
            _, err = process.communicate(timeout=60)
            assert process.returncode in (0, 65, 75), err
            assert "Traceback" not in err
            assert "constraint" not in err
        project.run(*arguments, code=None)
        assert sorted(server.recipients) == sorted(mails)


def test_what_names_people_is_readable_by_the_owner_only(project: Project) -> None:
    project.contacts(1)
    project.letter()
    with sink.run() as server:
        send(project, server)
    project.run("report", "-o", "report.csv")
    project.run("init", "fresh")
    for name in ("outreach.db", "report.csv", "fresh/.env", "fresh/contacts.csv"):
        assert stat.S_IMODE((project.folder / name).stat().st_mode) == 0o600, name


def test_report_as_csv_is_for_spreadsheets_and_disarms_formulas(project: Project) -> None:
    project.write("contacts.csv", "email,name\na@d.example.org,=cmd()\n")
    project.letter()
    with sink.run() as server:
        send(project, server)
    text = project.run("report").stdout
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert rows[0]["name"] == "'=cmd()"
    assert rows[0]["state"] == "sent"
    project.run("report", "-o", "out.json")
    assert json.loads((project.folder / "out.json").read_text())["deliveries"][0]["name"] == "=cmd()"


def test_nothing_names_this_machine(project: Project) -> None:
    project.contacts(1)
    project.letter()
    with sink.run() as server:
        send(project, server)
        mail = email.message_from_bytes(server.record[0].content, policy=email.policy.default)
        assert mail["Date"].endswith("+0000")
        assert mail["Message-ID"].endswith("@outreach.example>")
        names = {os.uname().nodename, getpass.getuser()}
        assert not names & set(re.findall(r"[\w.-]+", server.record[0].content.decode()))


def test_previews_are_what_arrives_through_a_real_postfix(project: Project) -> None:
    postfix.require()
    project.run("init", ".", "--from", "Solidarity Committee <press@outreach.example>")
    greek = 'x@d.example.org,Μαρία Παπαδοπούλου,party,"Εργατική, Ένωση",GR,el,f,,Αθήνα\n'
    with (project.folder / "contacts.csv").open("a", encoding="utf-8") as out:
        out.write(greek)
    source = project.folder / "templates" / "solidarity" / "en.md"
    source.write_text(source.read_text() + "\n" + "word" * 1250 + "\n")
    with postfix.run(project.folder) as server:
        project.env |= {
            "OUTREACH_SMTP_URL": f"smtp://localhost:{server.port}?tls=starttls&ca={server.ca_file}",
            "OUTREACH_SMTP_USER": server.user,
            "OUTREACH_SMTP_PASSWORD": server.password,
        }
        project.run("preview", "--all", "--format", "eml", "-o", "previews")
        allowed = ("--allow-fallback", "--allow-stale")  # a Greek reader, a changed source
        project.run("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited", *allowed)
        arrived = parsed_by_recipient(server.wait(61))
    previews = parsed_by_recipient([path.read_bytes() for path in (project.folder / "previews").iterdir()])
    assert len(arrived) == 61
    assert previews.keys() == arrived.keys()
    added = {"return-path", "x-original-to", "delivered-to", "received"}
    for recipient, preview in previews.items():
        mail = arrived[recipient]
        for part in ("plain", "html"):
            assert body(mail, part) == body(preview, part)
        token = mail["Message-ID"].strip("<>").partition("@")[0]  # a preview has none
        unsubscribe = str(preview["List-Unsubscribe"]).replace("preview", token)
        assert headers(mail, added) == headers(preview, set()) | {"list-unsubscribe": unsubscribe}
        assert mail["Subject"] == preview["Subject"]
    assert "Μαρία Παπαδοπούλου" in str(arrived["x@d.example.org"]["To"])
    assert "word" * 1250 in body(arrived["x@d.example.org"], "plain")


def parsed_by_recipient(mails: list[bytes]) -> dict[str, email.message.EmailMessage]:
    parsed = [email.message_from_bytes(mail, policy=email.policy.default) for mail in mails]
    return {mail["To"].addresses[0].addr_spec: mail for mail in parsed}


def body(mail: email.message.EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return part.get_content().replace("\r\n", "\n")


def headers(mail: email.message.EmailMessage, besides: set[str]) -> dict[str, str]:
    ours = {"date", "message-id"} | besides
    return {name.lower(): str(value) for name, value in mail.items() if name.lower() not in ours}
