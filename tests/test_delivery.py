"""The sending loop against servers that misbehave: nobody twice, nobody forgotten, one clear message."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import recorder
import sink
import trustme
from conftest import Project

from outreach import contacts, delivery, links, mailing, plan, settings
from outreach import project as project_of
from outreach.clocks import Clock
from outreach.connection import Opened
from outreach.errors import StoppedError
from outreach.ledger import Ledger
from outreach.model import Security, Server
from outreach.pace import Pace

UNLIMITED = ("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")


@pytest.fixture
def ready(project: Project) -> Project:
    project.letter()
    return project


def states(project: Project) -> dict[str, str]:
    return {mail: row["state"] for mail, row in project.report().items()}


def test_a_server_that_closes_idle_sessions_costs_nobody_a_letter(ready: Project) -> None:
    mails = ready.contacts(4)
    with sink.run(timeout=0.6) as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes", "--rate", "1/second", "--rate-per-domain", "unlimited")
        assert server.recipients == mails
        assert server.sessions == 4


def test_a_server_that_goes_away_in_the_middle_and_comes_back(ready: Project) -> None:
    mails = ready.contacts(30)
    with sink.run() as server:
        port, url = server.port, server.url
        ready.env["OUTREACH_SMTP_URL"] = url
        process = ready.start("send", "--yes", "--rate", "20/second", "--rate-per-domain", "unlimited")
        while len(server.record) < 5:
            time.sleep(0.01)
        first = server.record
    time.sleep(0.5)
    with sink.run(port) as server:
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 1), err
        taken = [one.recipient for one in first] + server.recipients
    assert len(taken) == len(set(taken))
    for mail, state in states(ready).items():
        assert state in ("sent", "unknown")
        assert state == "unknown" or mail in taken
    assert set(states(ready)) == set(mails)


def test_a_mail_that_always_breaks_the_session_does_not_hold_up_the_others(ready: Project) -> None:
    mails = ready.contacts(6)
    ready.env |= {"OUTREACH_RETRY": "1s", "OUTREACH_GIVE_UP": "1s"}
    with sink.run() as server:
        server.rcpt_replies = {mails[2]: ["421 4.3.0 closing"] * 50}
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--no-wait", code=None)
        others = [mail for mail in mails if mail != mails[2]]
        assert set(server.recipients) <= set(others)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("DATA", b"354 go\r\n421 4.3.0 closing\r\n"),
        ("DATA", b"354 go\r\n"),
        ("RCPT", b"250 ok\r\n"),
        ("MAIL", b"nonsense\r\n"),
        ("MAIL", b"250 \x1b[31mred\xff\r\n"),
    ],
)
def test_a_server_that_breaks_off_at_any_moment_costs_nobody_a_letter(
    ready: Project, command: str, reply: bytes
) -> None:
    ready.contacts(2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        broken = threading.Semaphore(0)
        threading.Thread(target=break_off, args=(listener, command, reply, broken), daemon=True).start()
        ready.env["OUTREACH_SMTP_URL"] = f"smtp://127.0.0.1:{listener.getsockname()[1]}"
        process = ready.start(*UNLIMITED)
        assert broken.acquire(timeout=60), "no session was broken off"
        broken.acquire(timeout=1)  # a second one, unless the run has ended or waits
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        # Where both are in doubt, the run may be over before the signal.
        assert process.returncode in ({1, 130} if reply == b"354 go\r\n" else {130}), err
        assert "Traceback" not in err
        assert "error of the program" not in err
    # Behind a 354 the body may be on its way before the end of the connection is seen: then it is in doubt.
    in_doubt = {"unknown"} if reply == b"354 go\r\n" else set()
    assert set(states(ready).values()) <= {"planned", "deferred"} | in_doubt


def break_off(listener: socket.socket, command: str, reply: bytes, broken: threading.Semaphore) -> None:
    """Serve sessions that answer one command with `reply` and close, and count them."""
    with contextlib.suppress(OSError):
        while True:
            session = listener.accept()[0]
            with session, session.makefile("rb") as lines:
                session.sendall(b"220 hello\r\n")
                for line in lines:
                    if line.decode().startswith(command):
                        session.sendall(reply)
                        broken.release()
                        break
                    session.sendall(b"354 go\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")


def test_421_on_every_mail_stops_the_run_with_one_message_and_charges_nobody(ready: Project) -> None:
    mails = ready.contacts(3)
    with sink.run() as server:
        server.rcpt_replies = {mail: ["421 4.7.0 too many connections"] * 99 for mail in mails}
        ready.env["OUTREACH_SMTP_URL"] = server.url
        process = ready.start(*UNLIMITED)
        while server.sessions < 3 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130
        assert set(states(ready).values()) == {"planned"}


def test_a_server_that_refuses_us_stops_the_run_and_fails_nobody(ready: Project) -> None:
    ready.contacts(5)
    with sink.run() as server:
        server.rcpt_replies = {mail: ["554 5.7.1 Relay access denied"] * 9 for mail in states_before(ready)}
        ready.env["OUTREACH_SMTP_URL"] = server.url
        done = ready.run(*UNLIMITED, code=77)
        assert "Relay access denied" in done.stderr
        assert set(states(ready).values()) == {"planned"}
        server.rcpt_replies = {}
        ready.run(*UNLIMITED)
        assert len(server.record) == 5


def test_one_recipient_whose_refusal_sounds_like_ours_does_not_stop_the_others(ready: Project) -> None:
    mails = ready.contacts(8)
    with sink.run() as server:
        server.rcpt_replies = {mails[2]: ["550 5.7.1 You are not authorized to mail this group"] * 9}
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--connections", "1", code=1)
        assert sorted(server.recipients) == sorted(set(mails) - {mails[2]})
        assert states(ready)[mails[2]] == "failed"


def states_before(project: Project) -> list[str]:
    return [line.split(",")[0] for line in (project.folder / "contacts.csv").read_text().splitlines()[1:]]


def test_equal_refusals_of_the_message_trip_the_breaker(ready: Project) -> None:
    ready.contacts(30)
    with sink.run() as server:
        server.after_data = lambda mail: "554 5.7.1 looks like spam"
        ready.env["OUTREACH_SMTP_URL"] = server.url
        done = ready.run(*UNLIMITED, "--connections", "1", code=75)
        assert "looks like spam" in done.stderr
        found = list(states(ready).values())
        assert found.count("failed") == 5
        assert found.count("planned") == 25


def test_a_second_interrupt_leaves_at_once_and_says_what_is_in_doubt(ready: Project) -> None:
    mails = ready.contacts(3)
    with sink.run() as server:
        server.delay = 60
        ready.env["OUTREACH_SMTP_URL"] = server.url
        process = ready.start(*UNLIMITED, "--connections", "1")
        while not server.sessions:
            time.sleep(0.02)
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None, "the first one waits for the mail in flight"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 130
        assert "1 in doubt" in out
    found = states(ready)
    assert found[mails[0]] == "unknown"
    assert found[mails[1]] == found[mails[2]] == "planned"


def test_sigterm_ends_like_ctrl_c(ready: Project) -> None:
    ready.contacts(50)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        process = ready.start("send", "--yes", "--rate", "20/second", "--rate-per-domain", "unlimited")
        while len(server.record) < 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 130
        found = list(states(ready).values())
        assert found.count("sent") == len(server.record)
        assert set(found) == {"sent", "planned"}


def test_a_full_disk_stops_before_the_next_mail_leaves(ready: Project) -> None:
    ready.contacts(400)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        # Writing any file beyond this size fails, as on a full disk.
        process = ready.start(
            *UNLIMITED,
            preexec_fn=lambda: (
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000)),
            ),
        )
        _, err = process.communicate(timeout=60)
        assert process.returncode == 75, err
        assert "Traceback" not in err
        assert "the ledger" in err
        assert 0 < len(server.record) < 400
        ready.run(*UNLIMITED, code=None)
        assert len(server.recipients) == len(set(server.recipients))
        found = states(ready)
        assert set(found.values()) <= {"sent", "unknown"}
        assert all(mail in server.recipients for mail, state in found.items() if state == "sent")


def test_domain_limits_hold_and_do_not_hold_up_other_domains(ready: Project) -> None:
    ready.contacts(12, domains=2)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(
            "send", "--yes", "--rate", "unlimited", "--rate-per-domain", "2/second", "--connections", "1"
        )
        for domain in ("d0", "d1"):
            times = [one.at for one in server.record if f"@{domain}." in one.recipient]
            assert len(times) == 6
            assert min(b - a for a, b in zip(times, times[2:], strict=False)) > 0.8
        assert server.recipients[0] != server.recipients[1]
        assert {mail.partition("@")[2] for mail in server.recipients[:2]} == {
            "d0.example.org",
            "d1.example.org",
        }


def test_a_suppression_that_comes_after_the_plan_is_obeyed(ready: Project) -> None:
    mails = ready.contacts(6)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--limit", "1", code=75)
        ready.run("suppress", "add", mails[3].upper(), "@D4.example.org", "--reason", "wrote STOP")
        shown = ready.json("suppress", "list", "--json")
        assert [one["value"] for one in shown] == [mails[3], "@d4.example.org"]
        ready.run(*UNLIMITED)
        found = states(ready)
        assert found[mails[3]] == found[mails[4]] == "suppressed"
        assert set(server.recipients) == set(mails) - {mails[3], mails[4]}
        assert "wrote STOP" in ready.run("plan", "--name", "next", "--json").stdout
        ready.run("suppress", "remove", mails[3])
        assert "not suppressed" in ready.run("suppress", "remove", mails[3], code=2).stderr
        assert "no address" in ready.run("suppress", "add", "nobody", code=2).stderr


def test_an_address_with_letters_before_the_at_needs_smtputf8_and_gets_it(ready: Project) -> None:
    ready.write("contacts.csv", "email,name\nжёлтый@d.example.org,Ж\nx@grüne.example.org,G\n")
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED)
        assert sorted(server.recipients) == ["x@xn--grne-1ra.example.org", "жёлтый@d.example.org"]


# In doubt, failed, refused -------------------------------------------------------------------------


def test_what_is_in_doubt_is_settled_by_word_only(ready: Project) -> None:
    mails = ready.contacts(4)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        server.after_data = lambda mail: None if mail in mails[:3] else "250 taken"
        server.keep_when_cut = False
        ready.run(*UNLIMITED, "--connections", "1", code=1)
        assert [states(ready)[mail] for mail in mails] == ["unknown"] * 3 + ["sent"]
        ready.run(*UNLIMITED, code=1)
        assert len(server.record) == 1

        shown = ready.run("resolve", code=1).stdout
        assert all(mail in shown for mail in mails[:3])
        assert ready.report()[mails[0]]["message_id"] in shown
        assert "which ones" in ready.run("resolve", "--sent", code=2).stderr
        assert "not both" in ready.run("resolve", "--all", "--sent", "--resend", code=2).stderr
        wrong = ready.run("resolve", mails[0], "persn1@d1.example.org", "--sent", code=2)
        assert mails[1] in wrong.stderr
        assert states(ready)[mails[0]] == "unknown"  # nothing is settled then

        assert "1 settled" in ready.run("resolve", mails[0].upper(), "--sent").stdout
        assert "not in doubt, but sent" in ready.run("resolve", mails[3], "--resend").stderr
        ready.run("suppress", "add", mails[1])
        done = ready.run("resolve", "--all", "--resend")
        assert "is suppressed" in done.stderr
        assert "1 to be sent once more" in done.stdout
        assert [states(ready)[mail] for mail in mails] == ["sent", "unknown", "planned", "sent"]
        server.after_data = lambda mail: "250 taken"
        ready.run(*UNLIMITED, code=1)
        assert server.recipients == [mails[3], mails[2]]
        row = ready.report()[mails[2]]
        assert (row["state"], row["attempts"]) == ("sent", 2)  # what was tried stays on record
        assert "nothing is in doubt" not in ready.run("resolve", code=1).stdout
        ready.run("resolve", "--all", "--sent")
        assert "nothing is in doubt" in ready.run("resolve").stdout


def test_failed_ones_get_another_try_only_when_told_and_never_suppressed_ones(ready: Project) -> None:
    mails = ready.contacts(5)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        server.rcpt_replies = {
            mails[0]: ["550 5.1.1 unknown"],  # suppressed by itself
            mails[1]: ["550 5.7.1 policy"],
            mails[2]: ["550 5.7.1 policy"],
            mails[3]: ["550 5.7.1 policy"],
        }
        ready.run(*UNLIMITED, code=1)
        ready.run("suppress", "add", mails[1])
        ready.run(*UNLIMITED, code=1)
        assert server.recipients == [mails[4]]
        done = ready.run(*UNLIMITED, "--retry-failed", "--only", "name=Person 2", code=1)
        assert server.recipients == [mails[4], mails[2]], done.stderr
        ready.run(*UNLIMITED, "--retry-failed", code=1)
        assert server.recipients == [mails[4], mails[2], mails[3]]
        assert [states(ready)[mail] for mail in mails] == ["failed", "failed", "sent", "sent", "sent"]
        ready.run(*UNLIMITED, "--retry-failed", code=1)
        assert len(server.record) == 3


def test_a_failed_letter_that_changed_since_is_not_mixed_in(ready: Project) -> None:
    mails = ready.contacts(2)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        server.rcpt_replies = {mails[0]: ["550 5.7.1 policy"]}
        ready.run(*UNLIMITED, code=1)
        ready.letter("Subject: New\n\nA new text.\n")
        assert "would now be different" in ready.run(*UNLIMITED, "--retry-failed", code=2).stderr
        assert states(ready)[mails[0]] == "failed"
        ready.run(*UNLIMITED, "--retry-failed", "--revise")
        assert b"A new text." in server.record[-1].content


def test_a_refusal_of_the_account_for_now_makes_everybody_wait_and_charges_nobody(ready: Project) -> None:
    mails = ready.contacts(3)
    ready.env["OUTREACH_RETRY"] = "1s"
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        server.rcpt_replies = {mails[0]: ["451 4.7.0 too many messages from you, slow down"]}
        done = ready.run(*UNLIMITED, "--connections", "1")
        assert "wants less from us" in done.stderr
        assert sorted(server.recipients) == mails
        assert {row["state"] for row in ready.report().values()} == {"sent"}


def test_a_used_up_quota_stops_with_75_and_charges_nobody(ready: Project) -> None:
    ready.contacts(5)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        server.after_data = lambda mail: "550 5.4.5 Daily user sending limit exceeded."
        done = ready.run(*UNLIMITED, "--connections", "1", code=75)
        assert "sending limit of the account" in done.stderr
        assert set(states(ready).values()) == {"planned"}


def test_too_many_dead_mailboxes_trip_the_breaker(ready: Project) -> None:
    mails = ready.contacts(120)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        server.rcpt_replies = {mail: ["550 5.1.1 unknown"] for mail in mails[::10]}
        done = ready.run(*UNLIMITED, "--connections", "1", code=75)
        assert "mailboxes do not exist" in done.stderr
        assert len(server.record) < 60


# Pipelining in the loop ----------------------------------------------------------------------------


def test_a_suppression_between_claim_and_intent_is_obeyed(ready: Project, tmp_path: Path) -> None:
    """The server has taken the recipient already and waits for the body: it gets none."""
    mails = ready.contacts(2)
    told, go_on = threading.Event(), threading.Event()

    def before_body(rcpt: bytes) -> None:
        if mails[1].encode() in rcpt:
            told.set()
            go_on.wait(30)

    with sink.by_hand("PIPELINING", before_body) as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        process = ready.start(*UNLIMITED, "--connections", "1")
        assert told.wait(30)
        ready.run("suppress", "add", mails[1], "--reason", "wrote STOP")
        go_on.set()
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert [mails[0].encode() in rcpt for rcpt, body in server.bodies if b"Subject" in body] == [True]
    assert states(ready) == {mails[0]: "sent", mails[1]: "suppressed"}


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_first_interrupt_finishes_open_dots_and_takes_back_the_rest(
    ready: Project, tmp_path: Path, pipelining: bool
) -> None:
    ready.contacts(40)
    with recorder.serve(tmp_path, pipelining=pipelining, delay_ms=150) as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        process = ready.start(*UNLIMITED, "--connections", "2")
        while len(server.recipients) < 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        found = list(states(ready).values())
        assert set(found) == {"sent", "planned"}  # nothing in doubt
        assert found.count("sent") == len(server.recipients) < 40
        ready.run(*UNLIMITED)
        assert len(server.recipients) == len(set(server.recipients)) == 40


def test_a_second_connection_is_opened_only_when_a_due_mail_finds_none_free(ready: Project) -> None:
    ready.contacts(3)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(
            "send", "--yes", "--rate", "1/second", "--rate-per-domain", "unlimited", "--connections", "4"
        )
        assert server.sessions == 1


def test_a_session_takes_a_hundred_mails(ready: Project, tmp_path: Path) -> None:
    ready.contacts(230)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--connections", "1")
        assert (len(server.record), server.sessions) == (230, 3)


def test_a_server_that_announces_pipelining_and_lies_costs_speed_only(ready: Project, tmp_path: Path) -> None:
    mails = ready.contacts(30)
    with recorder.serve(tmp_path, faults="lie", seed=3) as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        done = ready.run(*UNLIMITED, "--connections", "2")
        assert sorted(server.recipients) == sorted(mails)
        assert done.stderr.count("does not keep to it") <= 1


def test_big_mails_over_tls_go_through_a_socket_that_is_full(ready: Project, tmp_path: Path) -> None:
    """Three megabytes each, over TLS, from a server that reads slowly: no write blocks the others."""
    mails = ready.contacts(6)
    ready.write("templates/hello/big.txt", "".join(f"{number:>70}\n" for number in range(40_000)))
    ready.letter("Subject: Big\nAttach: templates/hello/big.txt\n\nDear {{ name }},\n\nplease read.\n")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with sink.run(tls=context, data_size_limit=50_000_000) as server:
        ready.env["OUTREACH_SMTP_URL"] = f"smtps://localhost:{server.port}?ca={tmp_path / 'ca.pem'}"
        ready.run(*UNLIMITED, "--connections", "3")
        assert sorted(server.recipients) == sorted(mails)
        assert all(len(one.content) > 3_000_000 for one in server.record)


def test_an_unlimited_run_foresees_its_end_by_how_fast_it_goes(ready: Project) -> None:
    ready.contacts(40)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--limit", "1", code=75)
        server.delay = 0.02
        ends: list[float] = []
        orders = delivery.Orders(
            Server("127.0.0.1", server.port, Security.OFF), "", None, "[127.0.0.1]", Pace(), 1, (1,), 60
        )
        with Ledger(ready.folder / "outreach.db", create=True) as ledger:
            first = ledger.mailings()[0]
            chosen = [one.id for one in ledger.deliveries(first)]
            delivery.run(
                ledger, first, chosen, orders, lambda progress, note: ends.append(progress.ends_at or 0.0)
            )
        assert any(ends), "the progress bar says until when"


# The clock -----------------------------------------------------------------------------------------


class Jumping(Clock):
    """A clock that is set by hours while the loop runs."""

    def __init__(self, after: int, by: float) -> None:
        self.asked, self.after, self.by = 0, after, by

    def now(self) -> float:
        self.asked += 1
        return time.time() + (self.by if self.asked > self.after else 0.0)


@pytest.mark.parametrize("by", [3 * 3600.0, -3 * 3600.0, 40 * 86400.0, -40 * 86400.0])
@pytest.mark.parametrize("after", [60, 150, 400])
def test_a_clock_that_jumps_loses_nobody_and_mails_nobody_twice(
    ready: Project, after: int, by: float
) -> None:
    mails = ready.contacts(40)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--limit", "1", code=75)
        notes: list[str] = []
        target = Server("127.0.0.1", server.port, Security.OFF)
        orders = delivery.Orders(target, "", None, "[127.0.0.1]", Pace(), 2, (1,), 60)
        with Ledger(ready.folder / "outreach.db", create=True) as ledger:
            first = ledger.mailings()[0]
            chosen = [one.id for one in ledger.deliveries(first)]
            result = delivery.run(
                ledger, first, chosen, orders, lambda progress, note: notes.append(note), Jumping(after, by)
            )
        assert result.error is None
        assert sorted(server.recipients) == sorted(mails)
        assert set(states(ready).values()) == {"sent"}
        assert any("clock" in note for note in notes)


def test_under_nohup_a_closed_terminal_does_not_end_the_run(ready: Project) -> None:
    ready.contacts(30)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        process = ready.start(
            "send",
            "--yes",
            "--rate",
            "30/second",
            "--rate-per-domain",
            "unlimited",
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )
        while len(server.record) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert len(server.record) == 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_anything_left_is_one_line(ready: Project, number: signal.Signals) -> None:
    ready.contacts(3000)
    process = ready.start(*UNLIMITED)
    time.sleep(0.7)  # it is planning
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (130, 78)  # 78: it was quicker, and found that there is no server set
    assert "Traceback" not in err
    assert out == ""


# What a hostile reader found -----------------------------------------------------------------------


def test_nobody_listening_to_stderr_does_not_end_a_mailing(ready: Project) -> None:
    mails = ready.contacts(20)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        server.rcpt_replies = {mail: ["550 5.7.1 policy"] for mail in mails[::5]}
        process = ready.start(*UNLIMITED)
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(60) == 1
        assert len(server.record) == 16
    found = list(states(ready).values())
    assert (found.count("sent"), found.count("failed")) == (16, 4)


@pytest.mark.parametrize(("size", "code"), [("9" * 5000, 0), ("100", 75)])
def test_an_absurd_size_limit_fails_nobody_in_masses(ready: Project, size: str, code: int) -> None:
    mails = ready.contacts(30)
    with sink.by_hand(f"SIZE {size}") as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--connections", "1", code=code)
    found = list(states(ready).values())
    assert found.count("failed") == (5 if code else 0)
    assert len(mails) == len(found)


def test_the_last_recipient_who_refuses_us_fails_alone(ready: Project) -> None:
    mails = ready.contacts(4)
    with sink.run() as server:
        server.rcpt_replies = {mails[3]: ["550 5.7.1 You are not authorized to mail this group"] * 9}
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--connections", "1", code=1)
        assert [states(ready)[mail] for mail in mails] == ["sent"] * 3 + ["failed"]


def test_a_limit_chooses_those_who_can_leave(ready: Project) -> None:
    mails = ready.contacts(9)
    with sink.run() as server:
        server.rcpt_replies = {mail: ["451 4.7.1 greylisted"] * 9 for mail in mails[:3]}
        ready.env["OUTREACH_SMTP_URL"] = server.url
        for _ in range(3):
            ready.run(*UNLIMITED, "--limit", "3", "--no-wait", code=75)
        assert sorted(server.recipients) == mails[3:]


def test_a_failed_letter_that_another_mailing_sends_meanwhile_is_not_sent_again(ready: Project) -> None:
    mails = ready.contacts(2)
    with sink.run() as server:
        server.rcpt_replies = {mails[0]: ["550 5.7.1 policy"]}
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run(*UNLIMITED, "--name", "first", code=1)
        loaded = settings.load(ready.folder, {**os.environ, **ready.env}, {"LEDGER": None})
        people = contacts.read([ready.folder / "contacts.csv"])
        letter = project_of.open_letter(loaded, ready.folder / "templates", "hello", [])
        with Ledger(ready.folder / "outreach.db", create=True) as ledger:
            made = plan.make("first", letter, people, loaded, ledger, time.time(), False)
            changes = mailing.compare(made, ledger, retry_failed=True)
            assert [one.contact.email for one in changes.failed] == [mails[0]]
            ready.run(*UNLIMITED, "--name", "second")  # while the question waits for its answer
            with pytest.raises(StoppedError, match="another process"):
                mailing.record(made, changes, False, ledger, time.time())
        assert server.recipients == [mails[1], mails[0]]


def test_a_limit_of_millions_costs_no_time(ready: Project) -> None:
    ready.contacts(3)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes", "--rate", "1000000000/day", "--rate-per-domain", "unlimited")
        assert len(server.record) == 3


def test_a_process_that_was_stopped_for_long_takes_the_answers_that_came() -> None:
    """The deadline belongs to the answer, and the answer is there."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs, selectors.DefaultSelector() as selector:
        link = links.Link(Opened(ours, {}), False, selector)
        link.session.begin("press@mail.example", "ann@party.example", b"x\r\n")
        link.write()
        deadline = link.deadline
        assert deadline is not None
        assert link.overdue(deadline - 1) == []
        theirs.sendall(b"250 ok\r\n")
        assert link.read() == []
        assert link.overdue(deadline + 1) == []
        link.write()  # RCPT, with a deadline of its own
        assert link.deadline is not None
        assert link.overdue(link.deadline + 1) != []
        link.close()
