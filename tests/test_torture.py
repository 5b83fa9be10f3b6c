"""Nobody is mailed twice and nobody is forgotten, whatever crashes: the short torture (tests/torture.py).

Each test prints its seed; `make torture` runs the long version. Without strace the tests that need it are
skipped, or fail under REQUIRE_SERVERS=1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import recorder
import torture
from conftest import Project
from recorder import Running


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server that keeps its record and behaves."""
    with recorder.serve(tmp_path / "recorder") as server:
        yield server


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Running]:
    """A server that takes 2 ms for each mail, so that more of them are under way."""
    with recorder.serve(tmp_path / "recorder", delay_ms=2) as server:
        yield server


# The judge sees what it should ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "taken", "final", "words"),
    [
        ("sent", 2, False, "mailed 2 times"),
        ("unknown", 2, True, "mailed 2 times"),
        ("sent", 0, False, "no server has it"),
        ("planned", 1, False, "it is planned"),
        ("deferred", 1, False, "it is deferred"),
        ("failed", 1, True, "it is failed"),
        ("suppressed", 1, True, "it is suppressed"),
        ("sending", 1, True, "it is sending"),
        (None, 1, False, "it is None"),
        (None, 0, True, "forgotten"),
        ("planned", 0, True, "forgotten"),
        ("deferred", 0, True, "forgotten"),
        ("sending", 0, True, "forgotten"),
    ],
)
def test_the_judge_says_who_was_mailed_twice_or_forgotten(
    state: str | None, taken: int, final: bool, words: str
) -> None:
    mail = "person1@d1.example.org"
    found = {mail: {"email": mail, "state": state}} if state else {}
    with pytest.raises(torture.Violation, match=f"(?s){mail}.*{words}"):
        torture.check(found, [mail] * taken, [mail], final)


@pytest.mark.parametrize(
    ("state", "taken", "final"),
    [
        ("sent", 1, True),
        ("unknown", 1, True),
        ("unknown", 0, True),
        ("failed", 0, True),
        ("sending", 1, False),
        ("sending", 0, False),
        ("planned", 0, False),
        (None, 0, False),
    ],
)
def test_the_judge_accepts_what_is_promised(state: str | None, taken: int, final: bool) -> None:
    mail = "person1@d1.example.org"
    found = {mail: {"email": mail, "state": state}} if state else {}
    torture.check(found, [mail] * taken, [mail], final)


def test_the_recorder_answers_grouped_commands_in_order_and_records_before_it_says_250(
    tmp_path: Path,
) -> None:
    import hashlib
    import socket

    with recorder.serve(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), 10) as peer, peer.makefile("rb") as lines:
            group = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<%s>\r\nDATA\r\n"
            peer.sendall(b"EHLO me\r\n" + group % b"one@d.example")
            replies = [lines.readline() for _ in range(10)]
            assert b"250-PIPELINING\r\n" in replies or b"250 PIPELINING\r\n" in replies
            assert [reply[:4] for reply in replies[-3:]] == [b"250 ", b"250 ", b"354 "]
            peer.sendall(b"Subject: x\r\n\r\n..\r\n.\r\nRSET\r\nRCPT TO:<x@d.example>\r\nDATA\r\n")
            assert lines.readline().startswith(b"250 ")
            assert server.recipients == ["one@d.example"]
            assert server.taken[0].digest == hashlib.sha256(b"Subject: x\r\n\r\n.\r\n").hexdigest()
            assert [lines.readline()[:3] for _ in range(3)] == [b"250", b"503", b"503"]
            peer.sendall(group % b"two@d.example" + b"half of a le")
        server.settle()
        assert server.recipients == ["one@d.example"]


# Crashes -------------------------------------------------------------------------------------------


def test_kills_at_random_moments_mail_nobody_twice_and_forget_nobody(project: Project, slow: Running) -> None:
    print("seed 11")  # noqa: T201
    torture.kill_at_random(project, slow, contacts=240, kills=4, connections=4, seed=11)


@pytest.mark.parametrize(
    ("syscall", "n", "begun"),
    [
        ("fdatasync", 2, False),
        ("fdatasync", 20, True),
        ("pwrite64", 61, True),
        ("sendto", 3, False),
        ("sendto", 40, True),
    ],
)
def test_a_kill_at_a_write_or_a_sync_mails_nobody_twice_and_forgets_nobody(
    project: Project, running: Running, syscall: str, n: int, begun: bool
) -> None:
    torture.require()
    torture.kill_at_syscall(project, running, syscall, n, contacts=40, begun=begun)


def test_a_power_cut_loses_nothing_that_was_sent(project: Project, running: Running) -> None:
    torture.require()
    print("seed 21")  # noqa: T201
    torture.power_cut(project, running, seed=21, cuts=4)


def test_a_power_cut_loses_nothing_either_where_the_ledger_cannot_have_its_log(
    project: Project, running: Running
) -> None:
    """A failed sync keeps SQLite from WAL, as some file systems do: then it has a rollback journal."""
    torture.require()
    print("seed 1")  # noqa: T201
    torture.power_cut(project, running, seed=1, cuts=4, inject="fdatasync:error=EIO:when=1")


# Errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syscall", "error", "when", "file", "codes"),
    [
        ("pwrite64", "ENOSPC", "61", None, {75}),
        ("fdatasync", "EIO", "16", None, {75}),
        ("socket", "EMFILE", "1+", None, {69}),
        ("openat", "EROFS", "1+", "outreach.db", {75}),
        ("unlink", "EROFS", "2+", None, {0, 75}),
    ],
)
def test_a_call_that_fails_ends_the_run_with_one_message_and_costs_nobody_a_letter(
    project: Project,
    running: Running,
    syscall: str,
    error: str,
    when: str,
    file: str | None,
    codes: set[int],
) -> None:
    torture.require()
    figures = torture.fail_syscall(project, running, syscall, error, when, file, contacts=40)
    assert {int(note.removeprefix("exit ")) for note in figures.notes} <= codes


def test_a_server_that_misbehaves_at_every_turn_gets_nobody_mailed_twice_or_forgotten(
    project: Project, tmp_path: Path
) -> None:
    print("seed 2")  # noqa: T201
    options = torture.faults_of(2, tmp_path)
    with recorder.serve(tmp_path / "recorder", **options) as server:
        torture.misbehave(project, server, contacts=40, seed=2)


# Signals and neighbours ----------------------------------------------------------------------------


def test_signals_at_random_moments_put_nobody_in_doubt(project: Project, tmp_path: Path) -> None:
    print("seed 31")  # noqa: T201
    with recorder.serve(tmp_path / "recorder", delay_ms=15) as server:
        torture.signals(project, server, contacts=200, count=3, seed=31)


def test_processes_that_send_at_once_share_the_work(project: Project, tmp_path: Path) -> None:
    print("seed 42")  # noqa: T201
    with recorder.serve(tmp_path / "recorder", delay_ms=10) as server:
        torture.together(project, server, 4, contacts=400, seed=42, kills=1, connections=4)


def test_processes_that_send_at_once_keep_the_limit_together(project: Project, running: Running) -> None:
    torture.together(project, running, processes=3, contacts=160, seed=51, per_second=40, connections=1)
