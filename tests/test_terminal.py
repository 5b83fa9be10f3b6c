"""What a person at a terminal sees and is asked: a pseudo-terminal, read and typed at."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
import sink
from conftest import COMMAND, ENVIRONMENT, Project

from outreach import cli


class Terminal:
    """A command that believes a person is there."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=project.folder,
            env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"} | project.env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def wait_for(self, pattern: str, seconds: float = 30) -> str:
        until = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            assert time.monotonic() < until, f"never saw {pattern!r} in:\n{self.seen}"
            if not self._read(0.1) and self.process.poll() is not None and not self._read(0.1):
                assert re.search(pattern, self.seen), f"ended without {pattern!r}:\n{self.seen}"
        return self.seen

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        except OSError:
            return False
        return True

    def type(self, text: str) -> None:
        os.write(self.master, f"{text}\n".encode())

    def end(self, seconds: float = 30) -> int:
        until = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < until:
            self._read(0.1)
        while self._read(0.05):
            pass
        assert "Traceback" not in self.seen
        assert "error of the program" not in self.seen
        return self.process.wait(1)


@contextlib.contextmanager
def terminal(project: Project, *arguments: str) -> Iterator[Terminal]:
    one = Terminal(project, *arguments)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        os.close(one.master)


@pytest.fixture
def ready(project: Project) -> Project:
    project.contacts(30)
    project.letter()
    return project


def test_a_mailing_is_asked_for_shown_while_it_goes_and_stopped_by_ctrl_c(ready: Project) -> None:
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        with terminal(ready, "send", "--rate", "10/second", "--rate-per-domain", "unlimited") as person:
            person.wait_for(r"(?s)Send 30 letters in 1 language to 1 country as Solidarity.*\[y/N/t")
            person.type("p")
            person.wait_for("Dear Person 0")
            assert not server.record
            person.type("y")
            person.wait_for(r"[3-9]/30")
            person.process.send_signal(signal.SIGINT)
            assert person.end() == 130
            assert "Stopped by you" in person.seen
        with terminal(ready, "send", "--rate", "unlimited", "--rate-per-domain", "unlimited") as person:
            person.wait_for(r"Continue hello: \d+ letters")
            person.type("y")
            assert person.end() == 0
            assert "Next: outreach report" in person.seen
        assert len(set(server.recipients)) == len(server.record) == 30


def test_a_test_mail_to_oneself_comes_before_the_answer(ready: Project) -> None:
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        with terminal(ready, "send", "--rate", "unlimited", "--rate-per-domain", "unlimited") as person:
            person.wait_for(r"(?s)\[y/N/t = test.to me.*p = preview\]")
            person.type("t")
            person.wait_for(r"1 test mail to press@outreach.example, marked \[TEST\]")
            assert server.recipients == ["press@outreach.example"]
            assert b"Subject: [TEST] Hello Person 0" in server.record[0].content
            server.rcpt_replies = {"press@outreach.example": ["550 5.7.1 not you"]}
            person.type("t")
            person.wait_for("did not take the test to press@outreach.example: 550 5.7.1 not you")
            person.type("y")  # what goes wrong with a test does not end the question
            assert person.end() == 0
        assert len(server.record) == 31


@pytest.mark.parametrize("answer", ["n", "", "yse"])
def test_anything_but_yes_sends_nothing(ready: Project, answer: str) -> None:
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        with terminal(ready, "send") as person:
            person.wait_for("y/N")
            person.type(answer)
            assert person.end() == 2
        assert not server.record
        assert not (ready.folder / "outreach.db").exists()


def test_above_500_the_number_is_typed(ready: Project) -> None:
    ready.contacts(501)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        with terminal(ready, "send", "--rate", "unlimited", "--rate-per-domain", "unlimited") as person:
            person.wait_for("type 501 to send")
            person.type("y")
            assert person.end() == 2
        assert not server.record


def test_the_rehearsal_draws_a_bar_and_names_the_next_step(ready: Project) -> None:
    with terminal(ready, "rehearse") as person:
        assert person.end() == 0
        assert "30 accepted by the mail server" in person.seen
        assert "Next: outreach preview" in person.seen


def test_init_asks_and_knows_the_provider(project: Project) -> None:
    with terminal(project, "init", "campaign") as person:
        person.wait_for("organisation's name")
        person.type('Comité "Solidarité" #1')
        person.wait_for("write from")
        person.type("press@" + "gmail" + ".com")
        person.wait_for("Answers go to")
        person.type("")
        assert person.end() == 0
    env = (project.folder / "campaign" / ".env").read_text()
    assert "\nOUTREACH_SMTP_URL=smtp://smtp.gmail.com:587\n" in env
    del project.env["OUTREACH_FROM"]
    shown = project.run("-C", "campaign", "settings").stdout
    assert 'Comité "Solidarité" #1 <press@' in shown


def test_a_password_that_is_needed_is_asked_hidden(ready: Project) -> None:
    with sink.run() as server:
        ready.env |= {"OUTREACH_SMTP_URL": server.url, "OUTREACH_SMTP_USER": "press"}
        with terminal(ready, "send") as person:
            person.wait_for("y/N")
            person.type("y")
            person.wait_for("Password for press")
            person.type("secret-word")
            assert person.end() == 69  # this server offers no login
        assert "secret-word" not in person.seen


def test_the_overview_says_where_the_project_stands_and_the_next_command(ready: Project) -> None:
    assert "outreach init" in Project(ready.folder / "templates").run().stdout
    done = ready.run().stdout
    assert "30 of 30 usable" in done
    assert "hello (en)" in done
    assert "OUTREACH_SMTP_URL" in done
    assert "Next: outreach rehearse" in done


def test_the_next_step_reads_a_list_as_it_was_read_now(ready: Project) -> None:
    (ready.folder / "liste.csv").write_bytes("Wer;Courriel\nJosé;jose@d.example.org\n".encode("cp1252"))
    with terminal(
        ready, "contacts", "check", "liste.csv", "--encoding", "cp1252", "--map", "name=Wer"
    ) as person:
        assert person.end() == 0
    step = "Next: outreach contacts clean liste.csv --encoding cp1252 --map name=Wer -o clean.csv"
    assert step in person.seen


def test_a_signal_that_python_wraps_into_an_error_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 does so while it makes a class, as when a library is loaded."""

    def interrupted(**_: object) -> None:
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr(cli.cli, "main", interrupted)
    assert cli.run(["status"]) == 130
