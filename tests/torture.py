"""Torture: the real command is killed, starved, interrupted and cut off from power, and then judged.

The promise is that nobody is mailed twice and nobody is forgotten, whatever crashes. `judge()` is the one
place that says what this means: it compares the recorder's own record (recorder.py) with what
`outreach report` says. Everything here uses the command line, the record and, for power cuts, the bytes
that the command wrote, as strace saw them; it knows nothing of the program's insides.

`make torture` runs the long version: `python tests/torture.py [--kills N] [--only PART] [--seed S]`.
tests/test_torture.py runs a short one. A violation is a `Violation` with the address, its row and the seed.
A seed repeats what is drawn here, not the timing of the machine: repeat it a few times.

Known limits: Linux with strace for all but kills, faults, signals and several processes; the power cut
knows the order of writes and syncs, and pages torn between sectors, but no disk that lies about a sync.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forked
import postfix
import recorder
from conftest import COMMAND, ENVIRONMENT, Project
from recorder import Running

UNLIMITED = ("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
SENDER = "Solidarity Committee <press@outreach.example>"
OPEN = ("planned", "deferred", "sending")
IN_DOUBT = ("sending", "unknown")
# How a run may end: done, some failed, unreachable, stopped, refused.
ENDS = (0, 1, 69, 75, 77)
# What the command says when it was killed before it wrote anything down.
_NOTHING_YET = ("there is no ledger", "nothing was sent yet", "is empty")
_PATIENCE = 120.0  # no run here takes that long; one that does hangs
_TRIES = 60
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Violation(AssertionError):
    """The promise was broken."""


# The judge -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What the judge found."""

    states: Counter[str]

    @property
    def doubt(self) -> int:
        """How many may have arrived and are never mailed again."""
        return sum(self.states[state] for state in IN_DOUBT)

    @property
    def left(self) -> int:
        """How many are still to be mailed."""
        return sum(self.states[state] for state in ("planned", "deferred"))


def rows(project: Project) -> dict[str, dict[str, Any]]:
    """Return the delivery report by address; nothing when nothing was ever written down."""
    done = project.run("report", "--format", "json", code=None, timeout=_PATIENCE)
    if done.returncode == 0:
        return {row["email"]: row for row in json.loads(done.stdout)["deliveries"]}
    if any(words in done.stderr for words in _NOTHING_YET):
        return {}
    raise Violation(f"the ledger cannot be reported: exit {done.returncode}\n{done.stderr}")


def judge(project: Project, running: Running, mails: list[str], final: bool) -> Verdict:
    """Compare the ledger with the record. No run may be alive; `final`: and none is to come.

    Between runs, `sending` is how a dead run leaves a mail in doubt. The next run makes it `unknown`.
    """
    running.settle()
    found = rows(project)
    check(found, running.recipients, mails, final)
    return Verdict(Counter(row["state"] for row in found.values()))


def check(found: dict[str, dict[str, Any]], taken: list[str], mails: list[str], final: bool) -> None:
    """Say what the promise is. `taken`: everybody who was mailed, as often as that happened."""
    wrong = []
    times = Counter(taken)
    doubtful = ("unknown",) if final else IN_DOUBT
    for mail in sorted({*mails, *found, *times}, key=lambda one: (len(one), one)):
        row = found.get(mail)
        state = row["state"] if row else None
        if times[mail] > 1:
            wrong.append((mail, f"mailed {times[mail]} times", row))
        if mail not in mails:
            wrong.append((mail, "not a contact", row))
        if state == "sent" and not times[mail]:
            wrong.append((mail, "sent, and no server has it", row))
        if times[mail] and state not in ("sent", *doubtful):
            wrong.append((mail, f"the server has it, and it is {state}", row))
        if final and (state is None or state in OPEN):
            wrong.append((mail, f"forgotten: {state}", row))
    if wrong:
        lines = [f"  {mail}: {words}\n    {json.dumps(row)}" for mail, words, row in wrong]
        raise Violation("\n".join([f"{len(wrong)} violations", *lines[:20]]))


@contextlib.contextmanager
def repeatable(part: str, seed: object) -> Iterator[None]:
    """Add to any failure inside how to repeat it."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"part {part}, seed {seed}")
        raise


# Running the command -------------------------------------------------------------------------------


def prepare(project: Project, running: Running, contacts: int) -> list[str]:
    """Make the project send a short letter to so many contacts at the recorder."""
    project.letter()
    project.env |= {"OUTREACH_SMTP_URL": running.url, "OUTREACH_RETRY": "1s", "OUTREACH_FROM": SENDER}
    return project.contacts(contacts)


def sending(connections: int = 4) -> tuple[str, ...]:
    """Return the command that sends as fast as it can."""
    return (*UNLIMITED, "--connections", str(connections))


def finish(project: Project, running: Running, arguments: tuple[str, ...]) -> list[int]:
    """Run the command until it says that nothing is left; return the exit codes."""
    codes = []
    for _ in range(_TRIES):
        done = forked.run(arguments, project.folder, ENVIRONMENT | project.env, _PATIENCE)
        codes.append(_judged(done.returncode, done.stderr)[0])
        if codes[-1] in (0, 1):
            running.settle()
            return codes
    raise Violation(f"after {_TRIES} runs it is not done: exit codes {codes}")


def end(
    process: subprocess.Popen[str],
    expected: tuple[int, ...] = ENDS,
    says_why: bool = True,
    may_trace: bool = False,
) -> tuple[int, str]:
    """Wait for a run; return exit code and error text. It ends in one of the known ways and says why."""
    try:
        _, err = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        if os.getpgid(process.pid) == process.pid:  # strace and what it traces
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        _, err = process.communicate()
        raise Violation(f"the run did not end in {_PATIENCE:.0f} s\n{err}") from None
    return _judged(process.returncode, err, expected, says_why, may_trace)


def _judged(
    code: int, err: str, expected: tuple[int, ...] = ENDS, says_why: bool = True, may_trace: bool = False
) -> tuple[int, str]:
    unforeseen = "error of the program" in err or ("Traceback" in err and not may_trace)
    if code not in expected or unforeseen:
        raise Violation(f"the run ended with {code}, not one of {expected}\n{err}")
    if says_why and code > 1 and code != 130 and len(re.findall(r"^outreach: ", err, re.MULTILINE)) != 1:
        raise Violation(f"exit {code} without one message\n{err}")
    return code, err


def wait_for(running: Running, count: int, process: subprocess.Popen[str]) -> bool:
    """Wait until so many mails are in the record; False when the run ended before."""
    while running.count() < count:
        if process.poll() is not None:
            return False
        time.sleep(0.0003)
    return True


def moments(choose: random.Random, contacts: int, count: int) -> list[int]:
    """Draw so many moments of a mailing, as numbers of mails; 0 (one in ten) is a moment before the first."""
    return sorted(0 if choose.random() < 0.1 else choose.randrange(1, contacts) for _ in range(count))


def _hear_signals() -> None:
    """Forget what is ignored under nohup or in a shell's background: the command would inherit it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def strike(
    project: Project,
    running: Running,
    arguments: tuple[str, ...],
    moment: int,
    choose: random.Random,
    blows: Callable[[subprocess.Popen[str]], None],
) -> subprocess.Popen[str]:
    """Start the command and hit it at a moment of the mailing, or a little later."""
    process = project.start(*arguments, preexec_fn=_hear_signals)
    if moment == 0:
        time.sleep(choose.uniform(0, 0.8))
    elif wait_for(running, max(moment, running.count() + 1), process):
        time.sleep(choose.uniform(0, 0.006))  # anywhere in a turn, not only where the server just answered
    blows(process)
    return process


# The parts -----------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What a part did."""

    rounds: int = 0  # kills, signals, errors, cuts …
    runs: int = 0
    unknown: list[int] = field(default_factory=list)  # added by each round
    mails: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        self.rounds += other.rounds
        self.runs += other.runs
        self.unknown += other.unknown
        self.mails += other.mails
        self.notes += other.notes

    def __str__(self) -> str:
        average = sum(self.unknown) / len(self.unknown) if self.unknown else 0.0
        notes = "".join(f", {name} {count}" for name, count in sorted(self.notes.items()))
        return (
            f"{self.rounds} rounds, {self.runs} runs, {self.mails} mails, "
            f"unknown per round {average:.2f} on average, {max(self.unknown, default=0)} at most{notes}"
        )


def kill_at_random(
    project: Project, running: Running, contacts: int, kills: int, connections: int, seed: int
) -> Figures:
    """SIGKILL the run at random moments of one mailing; each puts at most one mail a connection in doubt."""
    with repeatable("kills", seed):
        mails = prepare(project, running, contacts)
        choose, arguments, figures = random.Random(seed), sending(connections), Figures()
        doubt = 0
        for moment in moments(choose, contacts, kills):
            process = strike(project, running, arguments, moment, choose, subprocess.Popen.kill)
            process.communicate()
            figures.runs += 1
            if process.returncode != -signal.SIGKILL:
                figures.notes["ended before the kill"] += 1
                continue
            verdict = judge(project, running, mails, final=False)
            figures.rounds += 1
            figures.unknown.append(verdict.doubt - doubt)
            doubt = verdict.doubt
            if not 0 <= figures.unknown[-1] <= connections:
                raise Violation(
                    f"one kill put {figures.unknown[-1]} mails in doubt, {connections} connections"
                )
        figures.runs += len(finish(project, running, arguments))
        verdict = judge(project, running, mails, final=True)
        if verdict.states["unknown"] != doubt:
            raise Violation(f"{doubt} were in doubt, now {verdict.states}")
        figures.mails = running.count()
        return figures


def traced(
    project: Project, options: list[str], arguments: tuple[str, ...], log: str = os.devnull, fast: bool = True
) -> subprocess.Popen[str]:
    """Start the command under strace. Threads have counters of their own; the main one opens no session.

    `fast` stops at the calls that are traced only; strace 6.1 injects errors then, but no signals.
    """
    strace = ["strace", *(["--seccomp-bpf"] if fast else []), "-f", "-qq", "-o", log, *options]
    return subprocess.Popen(
        [*strace, *COMMAND, *arguments],
        cwd=project.folder,
        env=ENVIRONMENT | project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill_at_syscall(
    project: Project,
    running: Running,
    syscall: str,
    n: int,
    contacts: int = 60,
    connections: int = 4,
    begun: bool = False,
) -> Figures:
    """SIGKILL the run at the entry of the n-th call of one kind; then let it finish.

    The ledger is written with pwrite64 and made durable with fdatasync (the WAL's mapped index is neither);
    mails leave by sendto on a plain socket, by write under TLS. The first hundred or so writes make the
    ledger and the plan; `begun` lets a run before do that.
    """
    with repeatable("syscalls", f"{syscall} {n}{' of a mailing that was begun' if begun else ''}"):
        mails = prepare(project, running, contacts)
        arguments = sending(connections)
        if begun:
            end(project.start(*arguments, "--limit", "1"), (75,), says_why=False)
        inject = ["-e", f"trace={syscall}", "-e", f"inject={syscall}:signal=SIGKILL:when={n}"]
        code, _ = end(traced(project, inject, arguments, fast=False), (*ENDS, -signal.SIGKILL))
        figures = Figures(runs=1)
        if code == -signal.SIGKILL:
            verdict = judge(project, running, mails, final=False)
            figures.rounds += 1
            figures.unknown.append(verdict.doubt)
            if verdict.doubt > connections:
                raise Violation(f"{verdict.doubt} mails in doubt, {connections} connections")
        else:
            figures.notes["not reached"] += 1
        figures.runs += len(finish(project, running, arguments))
        judge(project, running, mails, final=True)
        figures.mails = running.count()
        return figures


# What may fail: call, error, which ones (strace's when=), and the file that it concerns.
ERRORS = [
    *(("pwrite64", "ENOSPC", when, None) for when in ("1", "20", "60", "61", "100", "200", "333", "150+")),
    *(("pwrite64", "EIO", when, None) for when in ("7", "80", "151", "222", "90+")),
    *(("fdatasync", "EIO", when, None) for when in ("1", "2", "4", "8", "9", "15", "20+")),
    *(("fdatasync", "ENOSPC", when, None) for when in ("3", "12", "17+")),
    *(("pread64", "EIO", when, "outreach.db") for when in ("2", "9", "30+")),
    *(("pread64", "EIO", when, "outreach.db-wal") for when in ("1", "2+")),
    *(("fcntl", "ENOLCK", when, "outreach.db") for when in ("3", "20", "40+")),
    *(("ftruncate", "ENOSPC", when, None) for when in ("1", "2")),
    *(("flock", "ENOLCK", when, None) for when in ("1",)),
    *(("socket", "EMFILE", when, None) for when in ("1", "2", "1+", "2+")),
    *(("openat", "EROFS", "1+", name) for name in ("outreach.db", "outreach.db-wal", "outreach.db-shm")),
    *(("openat", "EMFILE", when, "outreach.db") for when in ("1", "2", "3+")),
    *(("openat", "EMFILE", when, "outreach.db-wal") for when in ("1", "2")),
    *(("openat", "EIO", "1+", name) for name in ("contacts.csv", "templates/hello/en.md")),
    *(("unlink", "EROFS", when, None) for when in ("1", "2+")),
]


def fail_syscall(
    project: Project,
    running: Running,
    syscall: str,
    error: str,
    when: str,
    file: str | None = None,
    contacts: int = 60,
) -> Figures:
    """Let a call fail; the run says so in one message, or copes. Then everybody gets it all the same."""
    with repeatable("errors", f"{syscall} {error} {when} {file or ''}"):
        mails = prepare(project, running, contacts)
        arguments = sending()
        options = ["-e", f"trace={syscall}", "-e", f"inject={syscall}:error={error}:when={when}"]
        options += (
            ["-P", str(project.folder / file), "-P", file] if file else []
        )  # as sqlite and Python open it
        code, _ = end(traced(project, options, arguments), (*ENDS, 2, 65))
        figures = Figures(rounds=1, runs=1, notes=Counter({f"exit {code}": 1}))
        verdict = judge(project, running, mails, final=code in (0, 1))
        figures.unknown.append(verdict.doubt)
        figures.runs += len(finish(project, running, arguments))
        judge(project, running, mails, final=True)
        figures.mails = running.count()
        return figures


def misbehave(project: Project, running: Running, contacts: int, seed: int) -> Figures:
    """Send to a server that misbehaves, with a kill now and then, until nothing is left to do.

    The recorder that is passed decides on the faults.
    """
    with repeatable("faults", seed):
        mails = prepare(project, running, contacts)
        choose, figures = random.Random(seed), Figures(rounds=1)
        arguments = sending(choose.choice((1, 2, 4, 8)))
        for moment in moments(choose, contacts, choose.choice((0, 0, 1, 2))):
            strike(project, running, arguments, moment, choose, subprocess.Popen.kill).communicate()
            judge(project, running, mails, final=False)
            figures.runs += 1
        figures.runs += len(finish(project, running, arguments))
        verdict = judge(project, running, mails, final=True)
        figures.unknown.append(verdict.states["unknown"])
        figures.notes["failed"] += verdict.states["failed"]
        figures.mails = running.count()
        return figures


def signals(
    project: Project, running: Running, contacts: int, count: int, seed: int, connections: int = 4
) -> Figures:
    """Interrupt the run again and again, now and then twice. One signal alone puts nobody in doubt."""
    with repeatable("signals", seed):
        mails = prepare(project, running, contacts)
        choose, arguments, figures = random.Random(seed), sending(connections), Figures()
        doubt = 0
        for moment in moments(choose, contacts, count):
            kind = choose.choice(_SIGNALS)
            twice = choose.random() < 0.3
            pause = choose.uniform(0, 0.02)

            def interrupt(
                process: subprocess.Popen[str],
                kind: signal.Signals = kind,
                twice: bool = twice,
                pause: float = pause,
            ) -> None:
                process.send_signal(kind)
                if twice:
                    time.sleep(pause)
                    process.send_signal(kind)

            process = strike(project, running, arguments, moment, choose, interrupt)
            # Before it sends and when it has ended that, a signal ends it as it ends any program.
            ends = (*(-number for number in _SIGNALS), 130, 0, 1)
            code, err = end(process, ends, may_trace=twice or moment == 0)
            verdict = judge(project, running, mails, final=False)
            if code < 0 and moment and not twice and verdict.left:
                raise Violation(f"{kind.name} in the middle ended it with {code}\n{err}")
            figures.rounds += 1
            figures.runs += 1
            figures.notes[f"exit {code}"] += 1
            figures.unknown.append(verdict.doubt - doubt)
            doubt = verdict.doubt
            if not 0 <= figures.unknown[-1] <= (connections if twice else 0):
                times = "two signals" if twice else "one signal"
                raise Violation(f"{times} ({kind.name}) put {figures.unknown[-1]} mails in doubt")
        figures.runs += len(finish(project, running, arguments))
        judge(project, running, mails, final=True)
        figures.mails = running.count()
        return figures


def together(
    project: Project,
    running: Running,
    processes: int,
    contacts: int,
    seed: int,
    per_second: int | None = None,
    kills: int = 0,
    connections: int = 2,
) -> Figures:
    """Let several processes send one mailing at once; `kills` of them die on the way.

    Half of them start at once, perhaps with the mailing still to be planned, the others join later. With a
    limit, no second of the record holds more than the limit and what was under way when that second began:
    a slot is taken before MAIL, and the mail comes into the record a little later. Of each connection that
    is one mail, and one more where the next transaction begins before the last is answered.
    """
    with repeatable("together", f"{seed}, {processes} processes"):
        mails = prepare(project, running, contacts)
        choose, figures = random.Random(seed), Figures(rounds=1)
        rate = f"{per_second}/second" if per_second else "unlimited"
        arguments = (*UNLIMITED, "--rate", rate, "--connections", str(connections))
        if per_second or choose.random() < 0.5:
            end(project.start(*arguments, "--limit", "1"), (75,), says_why=False)
        alive = [project.start(*arguments) for _ in range((processes + 1) // 2)]
        deeds = ["join"] * (processes - len(alive)) + ["kill"] * kills
        choose.shuffle(deeds)
        # While enough is left for a newcomer to find work, which needs a moment to start.
        for moment, deed in zip(
            sorted(choose.sample(range(1, contacts // 4), len(deeds))), deeds, strict=True
        ):
            wait_for(running, moment, alive[0])
            if deed == "join" or len(alive) == 1:
                alive.append(project.start(*arguments))
                continue
            victim = alive.pop()
            victim.kill()
            victim.communicate()
            figures.notes["killed"] += victim.returncode == -signal.SIGKILL
        for process in alive:
            # 75: another process began the mailing while this one planned it, or has the last mails in hand.
            code, err = end(process, (0, 1, 75), says_why=False)
            if "outreach: " in err and "began to send" not in err:
                raise Violation(f"exit {code} beside other processes\n{err}")
            figures.notes[f"exit {code}"] += 1
        verdict = judge(project, running, mails, final=False)
        if verdict.doubt > kills * connections:
            raise Violation(
                f"{kills} kills put {verdict.doubt} mails in doubt, {connections} connections each"
            )
        figures.runs = processes + len(finish(project, running, arguments))
        figures.unknown.append(judge(project, running, mails, final=True).doubt)
        figures.mails = running.count()
        if per_second:
            most = busiest_second([one.at for one in running.taken])
            figures.notes[f"at {rate} {most} in the fullest second:"] += 1
            if most > per_second + 2 * connections * processes:
                raise Violation(f"{most} mails in one second, the limit is {per_second}")
        return figures


def busiest_second(times: list[float]) -> int:
    """Return how many of the times lie in the fullest sliding second."""
    most = first = 0
    times = sorted(times)
    for last, at in enumerate(times):
        while at - times[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


# Power cuts ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Write:
    """Bytes given to a file between two lines of the trace; without data: cut to `offset`."""

    begin: int
    end: int
    offset: int
    data: bytes | None


@dataclass
class Inode:
    """A file as the disk knows it."""

    writes: list[Write] = field(default_factory=list)
    syncs: list[tuple[int, int]] = field(default_factory=list)  # begin and end, in lines of the trace

    def content(self, cut: int, choose: random.Random | None) -> bytes:
        """Return what a disk could hold after a power cut at a line; without `choose`: what it must hold."""
        synced = max((begin for begin, finish in self.syncs if finish <= cut), default=-1)
        data = bytearray()
        for one in self.writes:
            if one.end <= synced:
                _apply(data, one)
            elif one.begin <= cut and choose is not None:
                _apply(data, _perhaps(one, choose))
        return bytes(data)


@dataclass
class Disk:
    """The files beside each other in one folder, and the trace's story of what was said to the server."""

    names: list[tuple[int, str, Inode | None]] = field(default_factory=list)  # line, name, made or removed
    syncs: list[tuple[int, int]] = field(default_factory=list)  # of the folder
    dots: list[tuple[int, str]] = field(
        default_factory=list
    )  # line where the final dot began to leave, to whom
    lines: int = 0
    first: int = 0

    def files(self, cut: int, choose: random.Random | None) -> dict[str, bytes]:
        """Return the files after a power cut. Of what changed in the folder unsynced, a beginning is kept."""
        synced = max((begin for begin, finish in self.syncs if finish <= cut), default=-1)
        sure = [one for one in self.names if one[0] <= synced]
        unsure = [one for one in self.names if synced < one[0] <= cut]
        kept = unsure[: choose.randint(0, len(unsure))] if choose else []
        there: dict[str, Inode] = {}
        for _, name, inode in (*sure, *kept):
            if inode is None:
                there.pop(name, None)
            else:
                there[name] = inode
        return {name: inode.content(cut, choose) for name, inode in there.items()}


def _apply(data: bytearray, one: Write | None) -> None:
    if one is None:
        return
    if len(data) < one.offset:
        data += bytes(one.offset - len(data))
    if one.data is None:
        del data[one.offset :]
    else:
        data[one.offset : one.offset + len(one.data)] = one.data


def _perhaps(one: Write, choose: random.Random) -> Write | None:
    """A write that was not synced: kept, lost, or torn between two sectors."""
    drawn = choose.random()
    if drawn < 0.4 or (one.data is None and drawn < 0.7):
        return one
    if drawn < 0.7 or one.data is None:
        return None
    first = 512 - one.offset % 512
    edges = list(range(first, len(one.data), 512))
    if not edges:
        return one
    edge = choose.choice(edges)
    if drawn < 0.85:
        return Write(one.begin, one.end, one.offset, one.data[:edge])
    return Write(one.begin, one.end, one.offset + edge, one.data[edge:])


_TRACED = "openat,close,pwrite64,write,fdatasync,fsync,ftruncate,unlink,sendto"
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_FD = r"(\d+)<((?:\\x[0-9a-f]{2})*)>"
_TEXT = r'"((?:\\x[0-9a-f]{2})*)"'
_WRITE = re.compile(rf"{_FD}, {_TEXT}, (\d+)(?:, (\d+))?")
_OPEN = re.compile(rf"[^,]*, {_TEXT}, (\S+?)(?:, \d+)?")


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def calls(trace: Path) -> Iterator[tuple[int, int, str, str, int]]:
    """Yield the calls of a trace, in the order of their ends: its lines, name, arguments, result."""
    begun: dict[str, tuple[int, str]] = {}
    with trace.open(encoding="ascii") as lines:
        for number, line in enumerate(lines):
            thread, _, text = line.rstrip("\n").split(maxsplit=2)
            begin = number
            if text.endswith("<unfinished ...>"):
                begun[thread] = number, text.removesuffix("<unfinished ...>").rstrip()
                continue
            if text.startswith("<... "):
                begin, head = begun.pop(thread)
                text = head + text.partition("resumed>")[2]
            if found := _CALL.match(text):
                yield begin, number, found[1], found[2], int(found[3])


def read_trace(trace: Path, folder: Path) -> Disk:
    """Return what a trace says about the ledger's files and the mails."""
    disk = Disk()
    there: dict[str, Inode] = {}
    said: dict[str, Dialogue] = {}

    def ours(path: bytes) -> str | None:
        name = Path(os.fsdecode(path))
        known = name.parent in (folder, Path()) and name.name.startswith("outreach.db")
        return name.name if known and not name.name.endswith("-shm") and ".run-" not in name.name else None

    for begin, finish, call, arguments, result in calls(trace):
        disk.lines = finish
        if result < 0:
            continue
        if call in ("pwrite64", "sendto", "write"):
            found = _WRITE.match(arguments)
            if found is None:
                continue
            data = _plain(found[2 + 1])[:result]
            path = _plain(found[2])
            if call == "sendto" and path.startswith(b"socket:"):
                disk.dots += [(begin, mail) for mail in said.setdefault(found[1], Dialogue()).hear(data)]
            elif call == "pwrite64" and (name := ours(path)):
                disk.first = disk.first or begin
                there[name].writes.append(Write(begin, finish, int(found[5]), data))
            elif call == "write" and ours(path):
                raise RuntimeError("the ledger is written in a way that this harness does not know")
        elif call == "close":
            said.pop(arguments.partition("<")[0], None)
        elif call in ("fdatasync", "fsync"):
            found = re.match(_FD, arguments)
            path = _plain(found[2]) if found else b""
            if name := ours(path):
                there[name].syncs.append((begin, finish))
            elif Path(os.fsdecode(path)) == folder:
                disk.syncs.append((begin, finish))
        elif call == "ftruncate":
            found = re.match(rf"{_FD}, (\d+)", arguments)
            if found and (name := ours(_plain(found[2]))):
                there[name].writes.append(Write(begin, finish, int(found[3]), None))
        elif call == "openat":
            found = _OPEN.fullmatch(arguments)
            if found and "O_CREAT" in found[2] and (name := ours(_plain(found[1]))) and name not in there:
                there[name] = Inode()
                disk.names.append((finish, name, there[name]))
        elif call == "unlink":
            found = re.match(_TEXT, arguments)
            if found and (name := ours(_plain(found[1]))):
                del there[name]
                disk.names.append((finish, name, None))
    return disk


class Dialogue:
    """What a client says in one session, as far as the final dots go."""

    def __init__(self) -> None:
        self._rest = b""
        self._recipient = ""
        self._in_body = False

    def hear(self, data: bytes) -> list[str]:
        """Take bytes; return whose final dot was completed by them."""
        done: list[str] = []
        self._rest += data
        while True:
            if self._in_body:
                _, dot, rest = self._rest.partition(b"\r\n.\r\n")
                if not dot:
                    return done
                self._in_body, self._rest = False, rest
                done.append(self._recipient)
                continue
            line, newline, rest = self._rest.partition(b"\r\n")
            if not newline:
                return done
            self._rest = rest
            if line[:4].upper() == b"RCPT":
                self._recipient = line.partition(b"<")[2].partition(b">")[0].decode()
            self._in_body = line.upper() == b"DATA"


def power_cut(
    project: Project,
    running: Running,
    seed: int,
    cuts: int = 5,
    contacts: int = 40,
    connections: int = 4,
    inject: str = "",
) -> Figures:
    """Cut the power at random moments of one run, as far as the ledger's disk is concerned.

    Whose final dot was given to the socket before is `sending`, `sent` or `unknown` afterwards; who was
    `sent` when a sync last ended is so still; and a run on what is left mails nobody twice, and everybody.
    `inject` (strace's -e inject=) lets something go wrong that the run copes with before.
    """
    with repeatable("power", seed):
        mails = prepare(project, running, contacts)
        arguments, choose, figures = sending(connections), random.Random(seed), Figures(runs=1)
        trace = project.folder / "trace"
        options = ["-ttt", "-xx", "-y", "-s", "10000000", "-e", f"trace={_TRACED}"]
        options += ["-e", f"inject={inject}"] if inject else []
        end(traced(project, options, arguments, str(trace)), (0,))
        judge(project, running, mails, final=True)
        disk = read_trace(trace, project.folder)
        trace.unlink()
        if sorted(mail for _, mail in disk.dots) != sorted(mails):
            raise RuntimeError(
                f"the trace shows {len(disk.dots)} final dots of {contacts}: is the harness right?"
            )
        for number in range(cuts):
            cut = choose.randint(disk.first, disk.lines)
            with repeatable("power", f"{seed}, cut {number} at line {cut} of {disk.lines}"):
                one = _after_the_cut(project, running, disk, mails, cut, choose, arguments, number)
            figures.add(one)
        return figures


def _after_the_cut(
    project: Project,
    running: Running,
    disk: Disk,
    mails: list[str],
    cut: int,
    choose: random.Random,
    arguments: tuple[str, ...],
    number: int,
) -> Figures:
    gone = [mail for line, mail in disk.dots if line <= cut]
    before = rows(_restored(project, f"synced-{number}", disk.files(cut, None)))
    torn = _restored(project, f"cut-{number}", disk.files(cut, choose))
    found = rows(torn)
    for mail in mails:
        state = found.get(mail, {}).get("state")
        if mail in gone and state not in ("sent", *IN_DOUBT):
            raise Violation(
                f"{mail}: its final dot had left, and the ledger has it as {state}\n{found.get(mail)}"
            )
        if before.get(mail, {}).get("state") == "sent" and state != "sent":
            raise Violation(f"{mail}: it was sent before the power was cut, now {state}\n{found.get(mail)}")
        if state == "sent" and mail not in gone:
            raise Violation(f"{mail}: sent, and its final dot never left\n{found.get(mail)}")
    already = running.count()
    figures = Figures(rounds=1, runs=len(finish(torn, running, arguments)))
    found = rows(torn)
    check(found, gone + running.recipients[already:], mails, final=True)
    figures.mails = running.count() - already
    figures.unknown.append(sum(row["state"] == "unknown" for row in found.values()))
    return figures


def _restored(project: Project, name: str, files: dict[str, bytes]) -> Project:
    """Make a project like this one, with the ledger's files as they are given."""
    folder = project.folder / name
    folder.mkdir()
    shutil.copy(project.folder / "contacts.csv", folder)
    shutil.copytree(project.folder / "templates", folder / "templates")
    for file, data in files.items():
        (folder / file).write_bytes(data)
        (folder / file).chmod(0o600)
    return Project(folder, dict(project.env))


# What is needed ------------------------------------------------------------------------------------


def available() -> str | None:
    """Say what is missing for the parts that need strace, or None."""
    if not sys.platform.startswith("linux") or shutil.which("strace") is None:
        return "strace is missing: apt-get install strace"
    works = ["strace", "--seccomp-bpf", "-f", "-o", os.devnull, "-e", "trace=sendto", "true"]
    done = subprocess.run(works, capture_output=True, text=True, check=False)
    return f"strace may not trace here: {done.stderr.strip()}" if done.returncode else None


def require() -> None:
    """Skip the running test without strace; fail it under REQUIRE_SERVERS=1."""
    postfix.skip_without(available())


def certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Make a certificate for 127.0.0.1: certificate, key, and its authority."""
    import trustme

    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    files[0].write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    files[1].write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(files[2]))
    return files


@contextlib.contextmanager
def scene(folder: Path, **options: Any) -> Iterator[tuple[Project, Running]]:
    """Yield a fresh project in the folder, with a recorder of its own."""
    place = folder / "project"
    place.mkdir(parents=True)
    with recorder.serve(folder / "recorder", **options) as running:
        yield Project(place), running


def faults_of(seed: int, folder: Path) -> dict[str, Any]:
    """Return the recorder's options for a fault seed: every third with TLS, liars and talkers among them."""
    kinds = ("random", "random", "random,extra", "random,lie", "lie", "extra")
    options: dict[str, Any] = {"seed": seed, "faults": kinds[seed % len(kinds)]}
    options["probability"] = 0.02 if options["faults"] == "extra" else 0.006
    options["pipelining"] = seed % 5 != 4
    if seed % 3 == 1:
        options["tls"] = certificate(folder / "certificate")
    return options


# The long version ----------------------------------------------------------------------------------

Task = Callable[[Path], Figures]


def _kills(seed: int, kills: int) -> Iterator[Task]:
    for number in range(0, kills, 10):
        count = min(10, kills - number)

        def task(folder: Path, seed: int = seed + number, count: int = count) -> Figures:
            # Half of them with a server that takes its time, so that mails are under way longer.
            with scene(folder, seed=seed, delay_ms=(0, 3)[seed // 10 % 2]) as (project, running):
                return kill_at_random(project, running, 3000, count, 4, seed)

        yield task


def _syscalls(seed: int) -> Iterator[Task]:
    cases = [(syscall, n, False) for syscall in ("fdatasync", "pwrite64", "sendto") for n in range(1, 101)]
    # Of the writes, those hundred only make ledger and plan; the last ones are the checkpoint at the end.
    cases += [("pwrite64", n, True) for n in (*range(1, 101), *range(110, 1000, 37))]
    for case in cases:

        def task(folder: Path, case: tuple[str, int, bool] = case) -> Figures:
            syscall, n, begun = case
            with scene(folder) as (project, running):
                return kill_at_syscall(project, running, syscall, n, begun=begun)

        yield task


def _errors(seed: int) -> Iterator[Task]:
    for case in ERRORS:

        def task(folder: Path, case: tuple[str, str, str, str | None] = case) -> Figures:
            with scene(folder) as (project, running):
                return fail_syscall(project, running, *case)

        yield task


def _faults(seed: int) -> Iterator[Task]:
    for number in range(seed, seed + 50):

        def task(folder: Path, number: int = number) -> Figures:
            with scene(folder, **faults_of(number, folder)) as (project, running):
                return misbehave(project, running, 80, number)

        yield task


def _signals(seed: int) -> Iterator[Task]:
    for number in range(seed, seed + 10):

        def task(folder: Path, number: int = number) -> Figures:
            with scene(folder, seed=number, delay_ms=(0, 5, 20)[number % 3]) as (project, running):
                return signals(project, running, 1000, 8, number)

        yield task


def _together(seed: int) -> Iterator[Task]:
    for number in range(seed, seed + 10):
        for processes, rate, kills in ((2, None, 0), (4, None, 2), (2, 40, 0), (4, 40, 1)):

            def task(
                folder: Path,
                number: int = number,
                processes: int = processes,
                rate: int | None = rate,
                kills: int = kills,
            ) -> Figures:
                with scene(folder, seed=number, delay_ms=5 * (number % 3)) as (project, running):
                    contacts, connections = (200, 1) if rate else (600, 4)
                    return together(project, running, processes, contacts, number, rate, kills, connections)

            yield task


def _power(seed: int) -> Iterator[Task]:
    for number in range(seed, seed + 20):

        def task(folder: Path, number: int = number) -> Figures:
            with scene(folder) as (project, running):
                # Now and then long enough for a checkpoint.
                return power_cut(project, running, number, contacts=(40, 40, 40, 150)[number % 4])

        yield task


# By name: tasks, and whether two may run at once (not where the moment of a kill counts).
PARTS: dict[str, tuple[Callable[[int, int], Iterator[Task]], int]] = {
    "kills": (_kills, 1),
    "syscalls": (lambda seed, kills: _syscalls(seed), 2),
    "errors": (lambda seed, kills: _errors(seed), 2),
    "faults": (lambda seed, kills: _faults(seed), 2),
    "signals": (lambda seed, kills: _signals(seed), 1),
    "together": (lambda seed, kills: _together(seed), 1),
    "power": (lambda seed, kills: _power(seed), 2),
}


def run_part(name: str, seed: int, kills: int, home: Path) -> tuple[Figures, list[BaseException]]:
    """Run all tasks of a part; keep the folders of those that failed."""
    make, workers = PARTS[name]

    def attempt(numbered: tuple[int, Task]) -> Figures | BaseException:
        folder = home / f"{name}-{numbered[0]}"
        try:
            figures = numbered[1](folder)
        except Exception as error:
            error.add_note(f"its folder: {folder}")
            return error
        shutil.rmtree(folder)
        return figures

    total, failures = Figures(), []
    with ThreadPoolExecutor(workers) as pool:
        for result in pool.map(attempt, enumerate(make(seed, kills))):
            if isinstance(result, BaseException):
                failures.append(result)
            else:
                total.add(result)
    return total, failures


def main() -> int:
    """Run the long version; say what each part did."""
    parser = argparse.ArgumentParser(description="The long torture of the sending.")
    parser.add_argument("--kills", type=int, default=300, help="how many at random moments")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if reason := available():
        sys.stderr.write(f"torture: {reason}\n")
        return 2
    home = Path(tempfile.mkdtemp(prefix="torture-")).resolve()
    violations = 0
    for name in given.only or PARTS:
        begun = time.monotonic()
        total, failures = run_part(name, given.seed, given.kills, home)
        seconds = time.monotonic() - begun
        violations += len(failures)
        words = "nobody twice, nobody forgotten" if not failures else f"{len(failures)} VIOLATIONS"
        sys.stdout.write(f"{name:9} {words}: {total}; {seconds:.0f} s\n")
        for error in failures:
            sys.stdout.write("".join(traceback.format_exception(error)))
        sys.stdout.flush()
    if not violations:
        shutil.rmtree(home)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
