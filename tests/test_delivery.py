"""The sending loop against servers that misbehave: nobody twice, nobody forgotten, one clear message."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import threading
import time

import pytest
import sink
from conftest import Project

UNLIMITED = ("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")


@pytest.fixture
def ready(project: Project) -> Project:
    project.letter()
    return project


def states(project: Project) -> dict[str, str]:
    return {mail: row["state"] for mail, row in project.report().items()}


def test_a_server_that_closes_idle_sessions_costs_nobody_a_letter(ready: Project) -> None:
    mails = ready.contacts(4)
    with sink.run(timeout=0.3) as server:
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
        threading.Thread(target=break_off, args=(listener, command, reply), daemon=True).start()
        ready.env["OUTREACH_SMTP_URL"] = f"smtp://127.0.0.1:{listener.getsockname()[1]}"
        process = ready.start(*UNLIMITED)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert "error of the program" not in err
    # Behind a 354 the body may be on its way before the end of the connection is seen: then it is in doubt.
    in_doubt = {"unknown"} if reply == b"354 go\r\n" else set()
    assert set(states(ready).values()) <= {"planned", "deferred"} | in_doubt


def break_off(listener: socket.socket, command: str, reply: bytes) -> None:
    """Serve sessions that answer one command with `reply` and close."""
    with contextlib.suppress(OSError):
        while True:
            session = listener.accept()[0]
            with session, session.makefile("rb") as lines:
                session.sendall(b"220 hello\r\n")
                for line in lines:
                    if line.decode().startswith(command):
                        session.sendall(reply)
                        break
                    session.sendall(b"354 go\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")


def test_421_on_every_mail_stops_the_run_with_one_message_and_charges_nobody(ready: Project) -> None:
    mails = ready.contacts(3)
    with sink.run() as server:
        server.rcpt_replies = {mail: ["421 4.7.0 too many connections"] * 99 for mail in mails}
        ready.env["OUTREACH_SMTP_URL"] = server.url
        process = ready.start(*UNLIMITED)
        time.sleep(4)
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
