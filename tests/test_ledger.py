"""The ledger's file: made whole, never written when it is gone, never taken for another."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
import sink
from conftest import Project

from outreach.errors import LedgerError
from outreach.ledger import Ledger
from outreach.model import Outcome, Scope, Verdict
from outreach.smtp import Finished, Session


def test_a_ledger_that_was_removed_or_replaced_is_not_written_any_more(tmp_path: Path) -> None:
    path = tmp_path / "outreach.db"
    with Ledger(path, create=True) as ledger:
        path.rename(tmp_path / "elsewhere.db")
        with pytest.raises(LedgerError, match="removed or replaced"), ledger.transaction():
            raise AssertionError("nothing runs inside")
        path.write_bytes(b"")
        with pytest.raises(LedgerError, match="removed or replaced"), ledger.transaction():
            raise AssertionError("nothing runs inside")


@pytest.mark.parametrize("started", [False, True])
def test_a_half_made_ledger_is_filled_not_refused(project: Project, started: bool) -> None:
    mails = project.contacts(3)
    project.letter()
    path = project.folder / "outreach.db"
    path.touch()
    if started:  # as a kill between the first page and the tables leaves it
        raw = sqlite3.connect(path)
        raw.execute("PRAGMA journal_mode = WAL")
        raw.close()
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        project.run("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
        assert sorted(server.recipients) == sorted(mails)


def test_a_used_up_quota_said_at_the_final_dot_is_about_us() -> None:
    session = Session({})
    session.begin("me@outreach.example", "ann@party.example", b"Subject: x\r\n\r\nx\r\n")
    outcome: Outcome | None = None
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        session.wrote(len(session.outgoing))
        session.receive(reply)
    session.permit()
    session.wrote(len(session.outgoing))
    for event in session.receive(b"550 5.4.5 Daily sending quota exceeded\r\n"):
        if isinstance(event, Finished):
            outcome = event.outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.scope) == (Verdict.FAILED, Scope.SESSION)


def test_a_ledger_of_the_first_version_is_brought_up_to_date(project: Project) -> None:
    project.contacts(2)
    project.letter()
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        project.run(
            "send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited", "--limit", "1", code=75
        )
        with contextlib.closing(sqlite3.connect(project.folder / "outreach.db")) as old:
            old.executescript("DROP TABLE file; UPDATE about SET value = '1' WHERE name = 'schema'")
        assert project.json("status", "--json")["counts"]["sent"] == 1
        project.run("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
        assert len(server.record) == 2
