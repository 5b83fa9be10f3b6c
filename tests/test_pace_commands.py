"""The pace as people meet it: options, what is said, exit codes; and in real time, by the server's record."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
import sink
from conftest import Project

from outreach.ledger import Ledger
from outreach.pace import Slowed

UNLIMITED = ("--rate", "unlimited", "--rate-per-domain", "unlimited")
DAY = 86400


@pytest.fixture
def ready(project: Project) -> Project:
    project.letter()
    return project


def write_list(project: Project, *countries: str) -> None:
    rows = "".join(f"person{n}@d{n}.example.org,{code},en\n" for n, code in enumerate(countries))
    project.write("contacts.csv", f"email,country,language\n{rows}")


def closed_now() -> str:
    """Return sending hours, in UTC, that begin in about six hours."""
    hour = (datetime.datetime.now(datetime.UTC).hour + 6) % 24
    return f"{hour:02}:00-{hour:02}:30"


# In real time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_the_server_never_sees_more_than_the_limits_in_any_second(ready: Project, processes: int) -> None:
    """The sink's record, without any tolerance: however late a mail is, and however many runs there are."""
    mails = ready.contacts(45, domains=3)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        rates = ("--rate", "15/second, 600/minute", "--rate-per-domain", "6/second")
        runs = [ready.start("send", "--yes", *rates) for _ in range(processes)]
        ended = [process.communicate(timeout=120) for process in runs]
        # Whoever comes second while the first is planning is told to run again.
        assert {process.returncode for process in runs} <= {0, 75}, ended
        if any(process.returncode for process in runs):
            ready.run("send", "--yes", *rates)
    assert sorted(server.recipients) == sorted(mails)
    for count, ending in ((15, ".org"), *((6, f"@d{n}.example.org") for n in range(3))):
        times = [one.at for one in server.record if one.recipient.endswith(ending)]
        assert all(too_many - first >= 1 for first, too_many in zip(times, times[count:], strict=False))


def test_a_slow_server_cannot_squeeze_a_window(ready: Project) -> None:
    """It takes longer than the limit's period: what it has not answered counts as of now."""
    ready.contacts(3)
    with sink.run() as server:
        server.delay = 1.5
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes", "--rate", "1/second", "--rate-per-domain", "unlimited")
        times = [one.at for one in server.record]
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))


# Grammar --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["second", "minute", "hour", "day"])
def test_every_unit_is_understood(ready: Project, unit: str) -> None:
    ready.contacts(2)
    plan = ready.json("plan", "--rate", f"1/{unit}", "--rate-per-domain", "unlimited", "--json")
    assert plan["limit"] == f"1/{unit}"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--rate", "100", "OUTREACH_RATE: '100' is no limit; write like 100/hour, 400/day"),
        ("--rate", "100/week", "OUTREACH_RATE: '100/week' is no limit; write like 100/hour"),
        ("--rate", "0/hour", "OUTREACH_RATE: '0/hour' is no limit"),
        ("--rate", "-5/hour", "OUTREACH_RATE: '-5/hour' is no limit"),
        ("--rate", "1.5/hour", "OUTREACH_RATE: '1.5/hour' is no limit"),
        ("--rate", "100/hour, unlimited", "OUTREACH_RATE: 'unlimited' is no limit"),
        ("--rate", "100/hour,", "OUTREACH_RATE: '' is no limit"),
        ("--rate-per-domain", "many", "OUTREACH_RATE_PER_DOMAIN: 'many' is no limit"),
        ("--window", "montag 9-18", "OUTREACH_WINDOW: 'montag' is no day; days are mon, tue"),
        ("--window", "mon-fri", "OUTREACH_WINDOW: 'mon-fri' has no hours; write like mon-fri 09:00-18:00"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "send"])
def test_bad_grammar_gets_one_clear_message(
    ready: Project, command: str, option: str, value: str, message: str
) -> None:
    ready.contacts(2)
    done = ready.run(command, option, value, code=78)
    assert f"option: {message}" in " ".join(done.stderr.split())
    assert done.stderr.count(" is no ") + done.stderr.count(" has no ") == 1


def test_a_moment_that_nobody_understands_is_a_usage_error(ready: Project) -> None:
    ready.contacts(2)
    done = ready.run("send", "--yes", "--not-before", "soon", code=2)
    assert "--not-before: 'soon' is no time; write like '2026-12-01 09:00'" in " ".join(done.stderr.split())


# Hours and embargoes --------------------------------------------------------------------------------


def test_outside_the_hours_a_run_that_does_not_wait_ends_without_a_word_to_the_server(ready: Project) -> None:
    ready.contacts(3)
    ready.env["OUTREACH_WINDOW"] = closed_now()
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        done = ready.json("send", "--yes", "--no-wait", *UNLIMITED, "--json", code=75)
        assert (done["counts"]["planned"], server.sessions) == (3, 0)
        assert ready.json("send", "--yes", "--no-wait", "--window", "always", *UNLIMITED, "--json")
        assert len(server.record) == 3


def test_a_run_that_waits_for_the_hours_says_so_once(ready: Project) -> None:
    write_list(ready, "IS", "IS")
    window = closed_now()  # Iceland has UTC all year
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        process = ready.start("send", "--yes", "--window", window, *UNLIMITED)
        assert process.stderr is not None
        heard = ""
        while "outside the sending hours" not in heard and (line := process.stderr.readline()):
            heard += line
        time.sleep(1.5)  # long enough to say it again
        process.terminate()
        err = heard + process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert not server.record
    assert len(re.findall(r"outside the sending hours", err)) == 1
    assert re.search(rf"going on .*, \w\w\w {window[:5]} in Atlantic/Reykjavik", err)
    assert "Closing the lid only pauses" in err


def test_plan_says_the_hours_the_days_and_what_binds(ready: Project) -> None:
    write_list(ready, *["SA"] * 3, *["DE"] * 2, "")
    window = "mon-fri 09:00-18:00"
    plan = ready.json("plan", "--window", window, *UNLIMITED, "--json")
    assert plan["window_days"] == {"Sun-Thu": ["SA"], "Mon-Fri": ["", "DE"]}
    assert plan["own_clock"] == 1
    said = ready.run("plan", "--window", window, "--rate", "1/hour").stdout
    assert re.search(
        r"^At 1/hour, 60/hour per mail domain, mon-fri 09:00-18:00 it .*ends ", said, re.MULTILINE
    )
    assert "\nLetters leave Sun-Thu to SA; Mon-Fri to all others.\n1 go by your own clock: " in said
    closed = closed_now()
    limited = ready.json("plan", "--window", closed, *UNLIMITED, "--json")
    assert limited["limit"] == f"window {closed}"
    assert limited["ends_without"] < limited["ends"]
    assert ready.json("plan", "--window", "daily 0-24", *UNLIMITED, "--json")["window_days"] == {}


def test_the_embargo_is_in_plan_question_status_and_exit_code(ready: Project) -> None:
    ready.contacts(3)
    soon = datetime.datetime.now() + datetime.timedelta(days=2)
    when = f"{soon:%Y-%m-%d} 09:00"
    stamp = f"{soon:%Y-%m-%d}T09:00:00Z"  # the tests' own zone is UTC
    assert ready.json("plan", "--not-before", when, "--json")["starts"] == stamp
    assert (
        f"Nothing leaves before {soon:%a} 09:00."
        in ready.run("send", "--dry-run", "--not-before", when).stdout
    )
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        sent = ready.json("send", "--yes", "--no-wait", "--not-before", when, "--json", code=75)
        assert sent["not_before"] == stamp
        again = ready.run("send", "--yes", "--no-wait", "--not-before", when, code=75)
        assert f"nothing leaves before {soon:%a} 09:00: the mailing has an embargo" in again.stderr
        assert f"Nothing leaves before {soon:%a} 09:00." in again.stdout
        assert "that is past" in ready.run("send", "--yes", "--not-before", "2025-01-01", code=2).stderr
        assert ready.json("plan", "--json")["not_before"] == stamp
        assert f"nothing leaves before {soon:%a} 09:00" in ready.run("status").stdout
        assert f"planned; nothing leaves before {soon:%a} 09:00" in ready.run().stdout
        ready.run("send", "--yes", "--no-wait", *UNLIMITED, code=75)
        assert not server.record, "the embargo belongs to the mailing"
        ready.run("send", "--yes", "--no-wait", "--not-before", "now", *UNLIMITED)
        assert len(server.record) == 3
    assert ready.json("status", "--json")["not_before"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "60/hour"), True),
        (("--rate", "60/hour", "--no-wait"), False),
        (("--rate", "60/hour", "--limit", "1"), True),
    ],
)
def test_send_says_on_start_that_closing_the_lid_only_pauses(
    ready: Project, arguments: Sequence[str], said: bool
) -> None:
    ready.contacts(1)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        done = ready.run("send", "--yes", *arguments)
        assert ("Closing the lid only pauses" in done.stderr) is said
        assert "Closing the lid" not in ready.run("send", "--yes", *arguments).stderr, (
            "nothing is left to send"
        )


def test_status_says_what_a_server_asked_for(ready: Project) -> None:
    ready.contacts(3)
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes", "--limit", "1", "--rate", "60/hour", code=75)
        assert ready.json("status", "--json")["slowed"] is None
        now = time.time()
        with Ledger(ready.folder / "outreach.db", create=True) as ledger:
            slowed = Slowed(432.0, now - 60, now + 3600, "450 too fast")
            ledger.slow_down("@127.0.0.1", slowed)
        found = ready.json("status", "--json")["slowed"]
        assert (found["seconds_between"], found["reply"]) == (432, "450 too fast")
        assert found["asked_at"] < found["resume_at"]
        assert "(450 too fast): going on " in ready.run("status").stdout
        assert ", a mail every 7.2 minutes at most" in ready.run("status").stdout
        plan = ready.json("plan", "--json")
        assert (plan["starts"], plan["limit"]) == (found["resume_at"], "what the server asked for")
        assert plan["ends_without"] < plan["ends"]
        done = ready.run("send", "--yes", "--no-wait", *UNLIMITED, code=75)
        assert "asked for less" in done.stderr
        assert len(server.record) == 1


def test_plan_says_how_much_sooner_and_when_nothing_is_left(ready: Project) -> None:
    ready.contacts(3)
    ready.env["OUTREACH_PER_INSTITUTION"] = "unlimited, parl.example=6/day, d0.example.org=100/second"
    said = ready.run("plan", "--rate", "20/minute", "--rate-per-domain", "unlimited").stdout
    sooner = r"without it, it would end (less than a minute sooner|\d\d:\d\d)\."
    assert re.search(rf"20/minute of the account binds; {sooner}", said)
    assert "OUTREACH_PER_INSTITUTION names parl.example, where nobody of these is." in said
    assert "d0.example.org, where" not in said
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes", *UNLIMITED)
    done = ready.run("plan").stdout
    assert "Nothing is left to send." in done
    assert "it ends" not in done


def test_a_rehearsal_keeps_no_hours_and_tells_how_long_the_real_one_would_take(ready: Project) -> None:
    write_list(ready, *["JP"] * 3)
    closed = closed_now()
    ready.env |= {"OUTREACH_WINDOW": closed, "OUTREACH_RATE": "1/day"}
    said = ready.json("rehearse", "--json")
    assert said["messages"] == 3
    assert 2 * DAY <= said["real_seconds"] <= 4 * DAY
    assert f"at 1/day, 60/hour per mail domain, {closed}." in ready.run("rehearse").stdout


def test_a_wrong_window_is_told_by_every_command_that_would_keep_it(ready: Project) -> None:
    ready.contacts(1)
    ready.write(".env", "OUTREACH_WINDOW=office hours\nOUTREACH_RATE=fast\n")
    for command in ("plan", "send", "rehearse", "status", "settings"):
        done = ready.run(command, code=78)
        assert ".env:1: OUTREACH_WINDOW: 'office hours' is no day" in done.stderr
        assert ".env:2: OUTREACH_RATE: 'fast' is no limit" in done.stderr
