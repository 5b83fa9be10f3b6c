"""The ledger's file: made whole, never written when it is gone, never taken for another."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sink
from conftest import Project

from outreach.errors import LedgerError
from outreach.ledger import Ledger, NewDelivery
from outreach.model import Contact, Identity, Outcome, Scope, State, Verdict
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
        as_version_1(project.folder / "outreach.db")
        assert project.json("status", "--json")["counts"]["sent"] == 1
        project.run("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
        assert len(server.record) == 2


# Contacts ----------------------------------------------------------------------------------------

ANN = Contact(
    "desk@party.example",
    "Ann Lee",
    gender="f",
    title="Dr",
    fields={"family_name": "Lee"},
    alternates=("ann@party.example",),
    line=2,
    file="a.csv",
)
BOB = Contact("desk@party.example", "Bob Ray", audience="deputy", fields={"family_name": ""}, line=7)


@pytest.mark.parametrize(
    "contact",
    [
        Contact("desk@party.example"),
        ANN,
        Contact("desk@party.example", "Ann Lee, Bob Ray", gender="group", people=(ANN, BOB)),
    ],
    ids=["bare", "one person", "a shared inbox"],
)
def test_a_contact_comes_back_from_the_ledger_as_it_was_planned(tmp_path: Path, contact: Contact) -> None:
    me = Identity("Committee", "me@outreach.example")
    with Ledger(tmp_path / "outreach.db", create=True) as ledger:
        with ledger.transaction():
            mailing = ledger.create_mailing("m", "l", "2012-05-14", 1.0)
            version = ledger.add_version(mailing, "f", {}, {}, "en", me, me, "", 1.0)
            ledger.add_deliveries(mailing, version, [NewDelivery(contact, "en", "h", "<1@outreach.example>")])
        (planned,) = ledger.deliveries(mailing)
        assert planned.contact == contact
        assert isinstance(planned.contact.people, tuple)
        other = replace(contact, name="Ann", people=(BOB, ANN))
        with ledger.transaction():
            assert ledger.revise(mailing, version, [NewDelivery(other, "en", "h", "<1@outreach.example>")])
        (revised,) = ledger.deliveries(mailing)
        assert revised.contact == other


def test_a_contact_planned_before_inboxes_were_shared_is_still_read(tmp_path: Path) -> None:
    """As version 2 of the ledger wrote it: without the people."""
    me = Identity("Committee", "me@outreach.example")
    with Ledger(tmp_path / "outreach.db", create=True) as ledger, ledger.transaction():
        mailing = ledger.create_mailing("m", "l", "2012-05-14", 1.0)
        version = ledger.add_version(mailing, "f", {}, {}, "en", me, me, "", 1.0)
        ledger.add_deliveries(mailing, version, [NewDelivery(ANN, "en", "h", "<1@outreach.example>")])
    before = {
        "email": "desk@party.example",
        "name": "Ann Lee",
        "audience": "",
        "organisation": "",
        "country": "",
        "language": "",
        "gender": "f",
        "title": "Dr",
        "fields": {"family_name": "Lee"},
        "alternates": ["ann@party.example"],
        "line": 2,
        "file": "a.csv",
    }
    with contextlib.closing(sqlite3.connect(tmp_path / "outreach.db")) as raw:
        (written,) = raw.execute("SELECT contact FROM delivery").fetchone()
        assert json.loads(written) == before, "who shares an inbox with nobody is written as before"
        raw.execute("UPDATE delivery SET contact = ?", [json.dumps(before)])
        raw.commit()
    with Ledger(tmp_path / "outreach.db", create=True) as ledger:
        (planned,) = ledger.deliveries(ledger.mailings()[0])
        assert planned.contact == ANN


# Versions ----------------------------------------------------------------------------------------

UNLIMITED = ("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")


BEFORE_ANSWERS = (  # what version 5 brought
    "DROP TABLE match; DROP TABLE mark; DROP TABLE hold; DROP TABLE inbound; DROP TABLE written;"
    "DROP TABLE bookmark; DROP TABLE reading; DROP INDEX delivery_domain;"
    "DROP INDEX delivery_follows; DROP INDEX delivery_instead;"
    "ALTER TABLE mailing DROP COLUMN follows_id; ALTER TABLE delivery DROP COLUMN follows_id;"
    "ALTER TABLE delivery DROP COLUMN instead_of_id;"
)


def as_version_1(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(
            "DROP TABLE file; ALTER TABLE suppression DROP COLUMN dead; DROP TABLE slowed;"
            "ALTER TABLE mailing DROP COLUMN not_before; ALTER TABLE mailing DROP COLUMN not_before_said;"
            "ALTER TABLE slot DROP COLUMN domain_ideal;"
            f"{BEFORE_ANSWERS}"
            "UPDATE about SET value = '1' WHERE name = 'schema'"
        )


@pytest.fixture
def begun(project: Project) -> Iterator[tuple[Project, sink.Sink]]:
    """A mailing of four of which one has left."""
    project.contacts(4)
    project.letter()
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        project.run(*UNLIMITED, "--limit", "1", code=75)
        yield project, server


def test_an_older_ledger_is_copied_before_it_is_brought_up_to_date(
    begun: tuple[Project, sink.Sink],
) -> None:
    project, server = begun
    path = project.folder / "outreach.db"
    as_version_1(path)
    project.run("status")
    copy = path.with_name("outreach.db.version-1")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with contextlib.closing(sqlite3.connect(copy)) as raw:
        assert raw.execute("SELECT value FROM about WHERE name = 'schema'").fetchone() == ("1",)
        assert raw.execute("SELECT count(*) FROM delivery").fetchone() == (4,)
        assert not raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'file'").fetchone()
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    project.run(*UNLIMITED)
    assert len(server.record) == len(set(server.recipients)) == 4
    assert sorted(one.name for one in path.parent.glob("outreach.db*")) == [path.name, copy.name]


def test_a_ledger_that_an_older_program_is_using_is_left_alone(begun: tuple[Project, sink.Sink]) -> None:
    project, _ = begun
    path = project.folder / "outreach.db"
    with Ledger(path, create=True) as running:
        running.begin_run(0.0)
        as_version_1(path)
        done = project.run("status", code=75)
        assert "older version" in done.stderr
        assert not path.with_name("outreach.db.version-1").exists()
    project.run("status")


def test_several_at_once_bring_it_up_to_date_once(begun: tuple[Project, sink.Sink]) -> None:
    project, _ = begun
    as_version_1(project.folder / "outreach.db")
    processes = [project.start("status") for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4


def test_no_room_for_the_copy_means_no_change(
    begun: tuple[Project, sink.Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = begun
    path = project.folder / "outreach.db"
    as_version_1(path)
    before = path.stat().st_size
    limit = before // 2
    process = project.start(
        "status",
        preexec_fn=lambda: (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        ),
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert err.startswith("outreach: ")
    assert "Traceback" not in err
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT value FROM about WHERE name = 'schema'").fetchone() == ("1",)
    assert [one.name for one in path.parent.glob("outreach.db.version*")] == []


@pytest.mark.parametrize("version", ["6", "99", "0", "-1", "x", ""])
def test_a_ledger_of_another_program_version_is_not_touched(
    begun: tuple[Project, sink.Sink], version: str
) -> None:
    project, server = begun
    path = project.folder / "outreach.db"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE about SET value = ? WHERE name = 'schema'", [version.encode()])
        raw.commit()
    content = path.read_bytes()
    for command in (UNLIMITED, ("status",), ("report",), ("resolve", "--all", "--sent")):
        done = project.run(*command, code=65)
        assert "version" in done.stderr
        assert "update outreach" in done.stderr
    assert path.read_bytes() == content
    assert len(server.record) == 1


# Damage and refusal --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["start", "middle", "end", "cut", "text"])
def test_a_damaged_ledger_sends_nothing(begun: tuple[Project, sink.Sink], where: str) -> None:
    project, server = begun
    path = project.folder / "outreach.db"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'delivery_due'").fetchone()[0]
        page = raw.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(path.read_bytes())
    match where:
        case "start":
            data[:100] = b"\0" * 100
        case "middle":
            data[(root - 1) * page : root * page] = bytes(range(256)) * (page // 256)
        case "end":
            data[-3 * page :] = b"\xa5" * 3 * page
        case "cut":
            del data[-3 * page :]
        case "text":
            data[:] = b"Dear ledger,\n" * 500
    path.write_bytes(data)
    done = project.run(*UNLIMITED, code=None)
    assert done.returncode in (65, 75), done
    assert "ledger" in done.stderr or "outreach.db" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("outreach: ")]) == 1
    assert len(server.record) == 1


def test_a_read_only_ledger_sends_nothing_and_says_so(begun: tuple[Project, sink.Sink]) -> None:
    project, server = begun
    path = project.folder / "outreach.db"
    path.chmod(0o400)
    # As root, without root's right to write everywhere.
    under = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    process = project.start(*UNLIMITED, under=under)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "read-only" in err
    assert "Traceback" not in err
    assert len(server.record) == 1


# The clock -----------------------------------------------------------------------------------------


def test_a_clock_that_was_ahead_holds_up_nobody_and_lifts_no_limit(tmp_path: Path) -> None:
    ahead, now = 2_000_000_000.0, 1_900_000_000.0
    with Ledger(tmp_path / "outreach.db", create=True) as ledger:
        with ledger.transaction():
            for number in range(10):
                ledger.take_slot(
                    "me", "d.example.org", ahead + 60 * number, ahead + 60 * number, ahead + 60 * number
                )
            ledger.take_slot("me", "d.example.org", now - 100, now - 100, now - 100)
        assert ledger.mend_times(now, 1000.0)
        history = ledger.history(account="me")
        found = [slot.at for number in range(1, 12) if (slot := history(number))]
        assert found == sorted([now - 60 * number for number in range(10)] + [now - 100], reverse=True)
        assert not ledger.mend_times(now, 1000.0)
        assert not ledger.mend_times(now - 4, 1000.0)  # what clocks differ by anyway


@pytest.mark.parametrize(
    ("set_by", "elapsed", "boot", "moved"),
    [
        (3600.0, 60.0, "b", 3600.0),
        (-3600.0, 60.0, "b", -3600.0),
        (4.0, 60.0, "b", 0.0),  # what clocks differ by anyway
        (0.0, 8 * 3600.0, "b", 0.0),  # the lid was closed
        (14 * 3600.0, 60.0, "b", 14 * 3600.0),
        (86400.0, 60.0, "b", 0.0),  # a day is more than a mistake about zones: time has passed
        (3600.0, 60.0, "another start", 0.0),
        (3600.0, 60.0, "", 0.0),
        (-3600.0, 60.0, "another start", -3540.0),  # slots of the future end now
        (-3600.0, 60.0, "", -3540.0),
        (-57 * 365 * 86400.0, 60.0, "b", -57 * 365 * 86400.0 + 60.0),
    ],
)
def test_a_clock_that_is_set_takes_the_times_of_the_ledger_along(
    tmp_path: Path, set_by: float, elapsed: float, boot: str, moved: float
) -> None:
    began, steady = 1.9e9, 1000.0
    with Ledger(tmp_path / "outreach.db", create=True) as ledger:
        assert ledger.mend_times(began, 1000.0, "b", steady) == 0.0
        with ledger.transaction():
            ledger.take_slot("me", "d.example.org", began, began - 1, began - 2)
        now = began + set_by + elapsed
        assert ledger.mend_times(now, 1000.0, boot, steady + elapsed) == pytest.approx(moved)
        slot, domain = ledger.history(account="me")(1), ledger.history(domain="d.example.org")(1)
        assert slot is not None
        assert domain is not None
        assert (slot.at, slot.ideal, domain.ideal) == pytest.approx(
            (began + moved, began + moved - 1, began + moved - 2)
        )
        assert ledger.mend_times(now, 1000.0, boot, steady + elapsed) == 0.0, "once, whoever asks"


def test_steady_seconds_of_another_clock_are_not_believed(tmp_path: Path) -> None:
    """A container, or a program that fakes the time: the start is the same, its seconds are not."""
    with Ledger(tmp_path / "outreach.db", create=True) as ledger:
        ledger.mend_times(1.9e9, 1000.0, "b", 1000.0)
        with ledger.transaction():
            ledger.take_slot("me", "d.example.org", 1.9e9, 1.9e9, 1.9e9)
        assert ledger.mend_times(1.9e9 + 3600, 1000.0, "b", 1.9e9 + 3600) == 0.0
        assert ledger.mend_times(1.9e9 + 60, 1000.0, "b", 1060.0) == 0.0
        slot = ledger.history(account="me")(1)
        assert slot is not None
        assert slot.at == 1.9e9


# Runs that died ------------------------------------------------------------------------------------


def test_whoever_looks_settles_what_a_dead_run_left(begun: tuple[Project, sink.Sink]) -> None:
    project, server = begun
    path = project.folder / "outreach.db"
    with Ledger(path, create=True) as ledger:
        ledger.begin_run(1.0)
        first, second = [one.id for one in ledger.deliveries(ledger.mailings()[0])][1:3]
        with ledger.transaction():
            claimed = ledger.claim(first, 1e10)
            assert claimed is not None
            assert ledger.claim(second, 1e10) is not None
            assert ledger.claim(second, 1e10) is None  # once is enough
            assert ledger.intend(claimed, 1e10)
        living = project.json("status", "--json")["counts"]
        assert (living["planned"], living["sending"], living["unknown"]) == (2, 1, 0)
        assert "being sent right now" in project.run("cancel", "--all").stderr
    for counts in (
        project.json("status", "--json")["counts"],
        project.json("report", "--format", "json")["totals"],
    ):
        assert (counts["sending"], counts["unknown"]) == (0, 1)
    assert len(server.record) == 1


def test_an_intent_of_a_lost_lease_sends_nothing(begun: tuple[Project, sink.Sink]) -> None:
    project, _ = begun
    with Ledger(project.folder / "outreach.db", create=True) as ledger:
        ledger.begin_run(1.0)
        number = ledger.deliveries(ledger.mailings()[0])[1].id
        with ledger.transaction():
            claimed = ledger.claim(number, 1e10)
        assert claimed is not None
        with contextlib.closing(sqlite3.connect(ledger.path)) as other:
            other.execute("UPDATE delivery SET lease = 'somebody' WHERE id = ?", [number])
            other.commit()
        with pytest.raises(LedgerError, match="not ours any more"), ledger.transaction():
            ledger.intend(claimed, 1e10)


def test_lock_files_of_dead_runs_are_removed_and_those_of_living_ones_stay(
    begun: tuple[Project, sink.Sink],
) -> None:
    project, _ = begun
    path = project.folder / "outreach.db"
    for name in ("0123456789abcdef", "fedcba9876543210"):
        (project.folder / f"outreach.db.run-{name}").touch()
    foreign = [project.folder / f"outreach.db.run-{name}" for name in ("2", "0123456789abcdee")]
    for one in foreign:  # whatever it is, it is not ours
        one.write_text("somebody's data")
    with Ledger(path, create=True) as living, Ledger(path, create=True) as other:
        living.begin_run(1.0)
        other.begin_run(1.0)
        project.run(*UNLIMITED)
        assert len(list(project.folder.glob("outreach.db.run-*"))) == 2 + len(foreign)
    assert sorted(project.folder.glob("outreach.db.run-*")) == sorted(foreign)


def test_a_ledger_by_another_name_has_the_same_locks(begun: tuple[Project, sink.Sink]) -> None:
    project, _ = begun
    path = project.folder / "outreach.db"
    (project.folder / "elsewhere").mkdir()
    (project.folder / "elsewhere" / "link.db").symlink_to(path)
    with Ledger(path, create=True) as living:
        living.begin_run(1.0)
        with living.transaction():
            claimed = living.claim(living.deliveries(living.mailings()[0])[1].id, 1e10)
            assert claimed is not None
            living.intend(claimed, 1e10)
        counts = project.json("--ledger", "sqlite:///elsewhere/link.db", "status", "--json")["counts"]
        assert (counts["sending"], counts["unknown"]) == (1, 0)
        with pytest.raises(LedgerError, match="lock file"):
            next(project.folder.glob("outreach.db.run-*")).unlink()
            with living.transaction():
                raise AssertionError("nothing runs inside")
    (project.folder / "hard.db").hardlink_to(path)
    assert "second name" in project.run("status", code=65).stderr


def test_giving_up_counts_from_an_attempt_that_was_charged(begun: tuple[Project, sink.Sink]) -> None:
    project, _ = begun
    with Ledger(project.folder / "outreach.db", create=True) as ledger:
        ledger.begin_run(1.0)
        number = ledger.deliveries(ledger.mailings()[0])[1].id
        lost = Outcome(Verdict.DEFERRED, Scope.SESSION, reason="gone", lost=True)
        later = Outcome(Verdict.DEFERRED, Scope.RECIPIENT, 451, reply="later")
        for outcome, counts, began, first in (
            (lost, False, 10.0, None),
            (later, True, 20.0, 20.0),
            (later, True, 30.0, 20.0),
        ):
            with ledger.transaction():
                assert ledger.claim(number, 1e10) is not None
                state = State.DEFERRED if counts else State.PLANNED
                ledger.record(number, outcome, state, began, began, "", counts=counts)
            assert ledger.delivery(number).first_attempt_at == first
            with ledger.transaction():
                assert ledger.claim(number, 1e10) is not None
                ledger.release(number)


def test_a_clock_that_is_ahead_once_does_not_forget_what_was_sent(tmp_path: Path) -> None:
    with Ledger(tmp_path / "outreach.db", create=True) as ledger:
        with ledger.transaction():
            for number in range(10):
                ledger.take_slot("me", "d.example.org", 1e9 + number, 1e9 + number, 1e9 + number)
        ledger.begin_run(1e9 + 30 * 86400)
        assert ledger.recent("me")(10) is not None
        with ledger.transaction():
            ledger.take_slot("me", "d.example.org", 1e9 + 30 * 86400, 1e9, 1e9 + 30 * 86400)
        ledger.forget_old_slots(1e9 + 30 * 86400)
        assert ledger.recent("me")(2) is None  # but they do not stay for ever
