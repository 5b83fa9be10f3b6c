"""The whole pace: what leaves when, with the real loop, ledger and server, and a clock that leaps."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import sink
from conftest import Project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaping import Leaping, Machine

from outreach import contacts, delivery, mailing, places, plan, throttle
from outreach import project as project_of
from outreach import settings as configuration
from outreach.errors import Exit, UsageError
from outreach.institutions import DomainLimits
from outreach.ledger import Ledger
from outreach.model import Limit
from outreach.pace import Pace, Slowed, spacing
from outreach.turnstile import Turnstile

MINUTE, HOUR, DAY = 60, 3600, 86400
MONDAY = datetime.datetime(2026, 11, 23, 7, 0, tzinfo=datetime.UTC).timestamp()


def assert_no_window_too_full(times: Iterable[float], limits: Sequence[Limit], slack: float = 0.0) -> None:
    """No `count + 1` of these times lie within any `seconds`."""
    ordered = sorted(times)
    for limit in limits:
        for first, too_many in zip(ordered, ordered[limit.count :], strict=False):
            assert too_many - first >= limit.seconds - slack, f"{limit}: {too_many - first:.3f} s"


# The real loop, a real server, a clock that leaps ---------------------------------------------------

COUNTRIES = ("IR", "SA", "JP", "PT", "US", "DE", "")


def write_list(project: Project, people: Sequence[tuple[str, str]]) -> dict[str, places.Place]:
    """Write a list of (domain, country); return where each address is."""
    rows = [(f"person{n}@{domain}", country) for n, (domain, country) in enumerate(people)]
    text = "".join(f"{mail},Person {n},{country},en\n" for n, (mail, country) in enumerate(rows))
    project.write("contacts.csv", "email,name,country,language\n" + text)
    return {mail: places.of(contacts.Contact(mail, country=country)) for mail, country in rows}


def open_project(
    project: Project, options: dict[str, str], ledger: Ledger | None = None, now: float = MONDAY
) -> tuple[configuration.Settings, plan.Plan]:
    """Read settings, list and letter of a project, and plan; as the commands do."""
    loaded = configuration.load(project.folder, project.env, dict(options))
    people = contacts.read([loaded.contacts])
    letter = project_of.open_letter(loaded, loaded.templates, "hello", [loaded.contacts])
    return loaded, plan.make("hello", letter, people, loaded, ledger, now)


def send(
    project: Project,
    server: sink.Sink,
    clock: Leaping,
    not_before: str | None = None,
    limit: int | None = None,
    wait: bool = True,
    notes: list[str] | None = None,
    **options: str,
) -> tuple[dict[str, object], delivery.Result]:
    """Plan and send a mailing with a clock that leaps; return what was foreseen, and how it ended."""
    server.clock = lambda: clock.start + clock.steady()  # true time, whatever the wall says
    project.env["OUTREACH_SMTP_URL"] = server.url
    said = [] if notes is None else notes
    with Ledger(project.folder / "outreach.db", create=True) as ledger:
        loaded, made = open_project(project, options, ledger, clock.now())
        changes = mailing.compare(made, ledger)
        embargo = mailing.embargo(changes.mailing, not_before, clock.now())
        begins = embargo.at if embargo else None
        foreseen = plan.document(made, loaded, ledger, (), (), limit, clock.now(), begins)
        running = mailing.record(made, changes, True, ledger, clock.now(), embargo=embargo)
        ready = mailing.select(ledger, running, lambda contact: True, limit, clock.now())
        assert loaded.server is not None
        orders = mailing.orders(loaded, loaded.server, None, wait=wait)
        chosen = [one.id for one in ready]
        return foreseen, delivery.run(
            ledger, running, chosen, orders, lambda progress, note: said.append(note), clock
        )


def written(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")


def at(text: object) -> float:
    return datetime.datetime.fromisoformat(str(text)).timestamp()


_RATES = (
    ("500/hour", "unlimited"),
    ("100/hour, 400/day", "60/hour"),
    ("30/minute, 200/hour", "20/hour"),
    ("200/hour, 60/day", "5/hour"),
    ("unlimited", "10/hour, 40/day"),
    ("1/minute", "2/hour"),
    ("2/second, 90/hour", "unlimited"),
    ("50/hour, 100/day", "7/hour"),
)
_INSTITUTIONS = ("unlimited", "unlimited", "3/hour", "6/day, d1.example.org=20/day")
_WINDOWS = ("always", "always", "mon-fri 09:00-18:00", "mon-fri 09:00-12:00, 14:00-18:00", "22:00-06:00",
            "weekend 10:00-16:00", "mon-thu 9-17, fri 9-13")  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_a_mailing_ends_when_the_plan_said_and_keeps_every_limit_and_window(
    project: Project, seed: int
) -> None:
    """The sink's record is the truth; 5 % of the whole time is how far the plan may be from it."""
    random = Random(seed)
    rate, per_domain = random.choice(_RATES)
    chosen = {
        "RATE": rate,
        "RATE_PER_DOMAIN": per_domain,
        "PER_INSTITUTION": random.choice(_INSTITUTIONS),
        "WINDOW": random.choice(_WINDOWS),
    }
    project.letter()
    people = [
        (f"d{random.choice((0, 0, 1, 2, 3, 4))}.example.org", random.choice(COUNTRIES)) for _ in range(60)
    ]
    where = write_list(project, people)
    start = MONDAY + random.random() * 7 * DAY
    not_before = start + random.random() * DAY if seed % 3 == 0 else start
    with sink.run() as server:
        text = written(not_before) if seed % 3 == 0 else None
        foreseen, result = send(project, server, Leaping(start), text, **chosen)
    assert result.error is None
    assert sorted(server.recipients) == sorted(where)
    loaded, _ = open_project(project, chosen)
    ended = max(one.at for one in server.record)
    assert abs(at(foreseen["ends"]) - ended) <= 0.05 * (ended - start) + 10, chosen
    assert_no_window_too_full((one.at for one in server.record), loaded.rate)
    for domain in {domain for domain, _ in people}:
        times = [one.at for one in server.record if one.recipient.endswith(f"@{domain}")]
        assert_no_window_too_full(times, loaded.domain_limits.of(domain))
    for one in server.record:
        assert loaded.window.opens(one.at, where[one.recipient]) == one.at
        assert one.at >= not_before - 1


@pytest.mark.parametrize(
    "rate", ["20/minute", "100/hour", "400/day", "3/hour, 400/day", "120/hour, 60/minute"]
)
def test_the_mean_pace_of_a_run_is_at_least_95_percent_of_the_tightest_limit(
    project: Project, rate: str
) -> None:
    project.letter()
    project.contacts(60)
    with sink.run() as server:
        _, result = send(project, server, Leaping(MONDAY), RATE=rate, RATE_PER_DOMAIN="unlimited")
    times = [one.at for one in server.record]
    assert (result.error, len(times)) == (None, 60)
    assert times[-1] - times[0] <= 59 * spacing(configuration.parse_limits(rate)) / 0.95


def test_a_limit_per_domain_alone_is_used_to_95_percent(project: Project) -> None:
    project.letter()
    project.contacts(80, domains=2)
    with sink.run() as server:
        send(project, server, Leaping(MONDAY), RATE="unlimited", RATE_PER_DOMAIN="60/hour")
    for domain in ("d0.example.org", "d1.example.org"):
        times = [one.at for one in server.record if one.recipient.endswith(domain)]
        assert len(times) == 40
        assert times[-1] - times[0] <= 39 * MINUTE / 0.95


def test_office_hours_use_what_a_day_allows(project: Project) -> None:
    """90 mails at 60/day take two days, also when only nine hours of each are open."""
    project.letter()
    write_list(project, [(f"d{n}.example.org", "PT") for n in range(90)])
    with sink.run() as server:
        send(project, server, Leaping(MONDAY), RATE="100/hour, 60/day", WINDOW="mon-fri 09:00-18:00")
    days = Counter(int((one.at - MONDAY) // DAY) for one in server.record)
    assert sorted(days) == [0, 1]
    assert days[0] >= 57


class Interrupting(Leaping):
    """A clock at which something happens to the machine, again and again, while a run goes on."""

    def __init__(self, start: float, every: float, happens: Sequence[float]) -> None:
        super().__init__(start)
        self.every, self.happens, self.next_at = every, list(happens), every

    def select(self, selector: object, seconds: float, idle: bool) -> list:  # type: ignore[type-arg, override]
        if idle and self.happens and self.steady() >= self.next_at:
            self.next_at += self.every
            what = self.happens.pop(0)
            if what:
                self.set += what
            else:
                self.sleep(2 * HOUR)
        return super().select(selector, min(seconds, 300.0), idle)  # type: ignore[arg-type]


def test_a_clock_that_is_set_and_a_lid_that_is_closed_change_nothing_about_the_limits(
    project: Project,
) -> None:
    """True time is what counts: the sink looks at the steady seconds, the run at the clock on the wall."""
    project.letter()
    mails = project.contacts(120)
    clock = Interrupting(MONDAY, 20 * MINUTE, [3600.0, 0.0, -3600.0, -3600.0, 0.0, 3600.0])
    with sink.run() as server:
        _, result = send(project, server, clock, RATE="60/hour, 10/minute", RATE_PER_DOMAIN="20/hour")
    assert result.error is None
    assert sorted(server.recipients) == sorted(mails)
    assert clock.happens == []
    assert_no_window_too_full((one.at for one in server.record), [Limit(60, HOUR), Limit(10, MINUTE)])
    for number in range(7):
        times = [one.at for one in server.record if one.recipient.endswith(f"@d{number}.example.org")]
        assert_no_window_too_full(times, [Limit(20, HOUR)])


def test_the_lid_may_be_closed_for_a_night(project: Project) -> None:
    project.letter()
    mails = project.contacts(40)
    clock = Interrupting(MONDAY, 10 * MINUTE, [0.0, 0.0, 0.0])
    with sink.run() as server:
        _, result = send(project, server, clock, RATE="60/hour", RATE_PER_DOMAIN="unlimited")
    assert (result.error, sorted(server.recipients)) == (None, sorted(mails))
    times = [one.at for one in server.record]
    assert_no_window_too_full(times, [Limit(60, HOUR)])
    assert times[-1] - times[0] > 6 * HOUR  # the pauses are not made up for
    assert min(third - first for first, third in zip(times, times[2:], strict=False)) > 0.6 * MINUTE


# Weeks, restarts, processes, clocks -----------------------------------------------------------------

_SIZES = (1, 2, 5, 20)
_LIMIT = st.builds(Limit, st.sampled_from(_SIZES), st.sampled_from([1, MINUTE, HOUR, DAY]))
_LIMITS = st.lists(_LIMIT, min_size=1, max_size=3, unique_by=lambda limit: limit.seconds).map(tuple)
_EVENTS = st.lists(
    st.sampled_from(["forward", "back", "sleep", "restart", "reboot", "quiet", "week", "none"]),
    min_size=3,
    max_size=8,
)


class Processes:
    """Several runs on one ledger, each with its turnstile, on a machine whose clock is not to be trusted.

    `seen` is what a server saw, in true time; a mail reaches it somewhere between its claim and its answer.
    """

    def __init__(self, path: Path, pace: Pace, random: Random, count: int) -> None:
        self.machine, self.random, self.pace = Machine(MONDAY, started=MONDAY - HOUR), random, pace
        self.seen: list[tuple[float, str]] = []
        self.was_ahead = False  # when the machine was started anew: then the ledger may believe too much
        self.ledgers = [Ledger(path, create=True) for _ in range(count)]
        for ledger in self.ledgers:
            ledger._raw.execute("PRAGMA synchronous = OFF")  # thousands of commits, and no power cut here
        self.gates = [self.begin(ledger) for ledger in self.ledgers]

    def begin(self, ledger: Ledger) -> Turnstile:
        machine = self.machine
        ledger.mend_times(machine.wall, 1e9, machine.boot, machine.steady)
        ledger.forget_old_slots(machine.wall)
        return Turnstile(ledger, self.pace, "me")

    def happen(self, what: str) -> None:
        """Let something happen to the machine; who lives notices a clock that was set, as the loop does."""
        machine = self.machine
        if what in ("forward", "back"):
            machine.set_by += HOUR if what == "forward" else -HOUR
        elif what == "reboot":  # and the clock is right again from now on, as far as it was ahead
            machine.true += MINUTE
            machine.restart()
            self.was_ahead |= machine.set_by > 0
            machine.set_by = min(machine.set_by, 0.0)
        elif what in ("sleep", "quiet", "week"):
            machine.true += {"sleep": 8 * HOUR, "quiet": 5 * MINUTE, "week": 7 * DAY}[what]
        if what in ("forward", "back", "sleep"):
            for ledger in self.random.sample(self.ledgers, len(self.ledgers)):
                ledger.mend_times(machine.wall, 1e9, machine.boot, machine.steady)
        if what in ("restart", "reboot"):
            self.gates = [self.begin(ledger) for ledger in self.ledgers]

    def send(self, domain: str) -> None:
        """Let one of the runs send as soon as it may, to a server that takes its time."""
        machine, number = self.machine, self.random.randrange(len(self.gates))
        gate, ledger = self.gates[number], self.ledgers[number]
        while True:
            now = machine.wall
            gate.look(now)
            free = max(gate.account_free_at(now), gate.domain_free_at(domain, now))
            if free <= now:
                break
            machine.true += free - now + 1e-4
        with ledger.transaction():
            slot = gate.take(domain, machine.wall)
        takes = self.random.choice((0.0, 0.01, 0.2))
        arrives = self.random.random() * takes
        self.seen.append((machine.true + arrives, domain))
        machine.true += takes
        with ledger.transaction():
            gate.close(slot, machine.wall, True)

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(_LIMITS, st.one_of(st.just(()), _LIMITS), _EVENTS, st.integers(1, 3), st.integers(0, 2**16))
def test_no_limit_is_exceeded_in_weeks_of_restarts_processes_and_wrong_clocks(
    tmp_path_factory: pytest.TempPathFactory,
    rate: tuple[Limit, ...],
    per_domain: tuple[Limit, ...],
    events: Sequence[str],
    processes: int,
    seed: int,
) -> None:
    """True time is what the provider's server counts by; the ledger's own history has to hold as well."""
    random = Random(seed)
    pace = Pace(rate, DomainLimits(per_domain))
    path = tmp_path_factory.mktemp("ledger") / "outreach.db"
    runs = Processes(path, pace, random, processes)
    try:
        for event in events:
            for _ in range(random.randint(1, 12)):
                runs.send(random.choice(("a.example", "a.example", "b.example")))
            runs.happen(event)
        slots = [] if runs.was_ahead else list(history_of(runs.ledgers[0]))
    finally:
        runs.close()
    assert_no_window_too_full((at for at, _ in runs.seen), rate, 1e-3)
    assert_no_window_too_full(slots, rate, 1e-3)
    for domain in ("a.example", "b.example"):
        assert_no_window_too_full((at for at, name in runs.seen if name == domain), per_domain, 1e-3)


def history_of(ledger: Ledger) -> Iterable[float]:
    history, n = ledger.history(account="me"), 1
    while slot := history(n):
        yield slot.at
        n += 1


# When the server asks for less ----------------------------------------------------------------------

_LESS = "450 4.2.1 Peak SMTP relay limit exceeded for this customer. This is a temporary error."


def gaps(server: sink.Sink) -> list[float]:
    times = [one.at for one in server.record]
    return [later - earlier for earlier, later in pairwise(times)]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def test_a_server_that_asks_for_less_gets_a_pause_and_half_the_pace_for_a_day(project: Project) -> None:
    project.letter()
    mails = project.contacts(60)
    notes: list[str] = []
    with sink.run() as server:
        server.rcpt_replies = {mails[10]: [_LESS]}
        _, result = send(
            project,
            server,
            Leaping(MONDAY),
            notes=notes,
            RATE="60/hour",
            RATE_PER_DOMAIN="unlimited",
            RETRY="20m",
        )
    assert result.error is None
    assert sorted(server.recipients) == sorted(mails), "nobody was charged for it"
    found = gaps(server)
    assert 20 * MINUTE <= found[9] <= 24 * MINUTE  # the pause that OUTREACH_RETRY gives
    assert 0.9 * MINUTE < mean(found[:9]) < 1.1 * MINUTE
    assert 1.9 * MINUTE < mean(found[11:]) < 2.1 * MINUTE
    (note,) = [one for one in notes if "wants less" in one]
    assert "at half the pace: a mail every 2 minutes" in note


def test_what_a_server_asked_for_holds_for_the_next_runs_and_is_forgotten_with_the_days(
    project: Project,
) -> None:
    project.letter()
    mails = project.contacts(90)
    options = {"RATE": "60/hour", "RATE_PER_DOMAIN": "unlimited", "RETRY": "20m"}
    clock = Leaping(MONDAY)
    with sink.run() as server:
        server.rcpt_replies = {mails[5]: [_LESS]}
        send(project, server, clock, limit=10, **options)
        clock.leapt += HOUR
        first = len(server.record)
        notes: list[str] = []
        _, again = send(project, server, clock, limit=10, notes=notes, **options)
        assert any("asked for less" in note and "a mail every 2 minutes" in note for note in notes)
        second = len(server.record)
        clock.leapt += DAY
        send(project, server, clock, **options)
    assert again.error is None
    assert sorted(server.recipients) == sorted(mails)
    found = gaps(server)
    assert 1.8 * MINUTE < mean(found[first : second - 1]) < 2.2 * MINUTE
    assert 0.9 * MINUTE < mean(found[second:]) < 1.1 * MINUTE


def test_an_unlimited_run_that_is_asked_for_less_goes_at_half_of_what_it_did(project: Project) -> None:
    project.letter()
    mails = project.contacts(60)
    with sink.run() as server:
        server.rcpt_replies = {mails[40]: [_LESS]}
        _, result = send(
            project, server, Leaping(MONDAY), RATE="unlimited", RATE_PER_DOMAIN="unlimited", RETRY="1s"
        )
        with Ledger(project.folder / "outreach.db") as ledger:
            slowed = ledger.slowed("@127.0.0.1")
    assert (result.error, len(server.record)) == (None, 60)
    assert 0 < slowed.gap <= 60
    times = [one.at for one in server.record]
    assert mean(gaps(server)[42:]) >= 0.75 * slowed.gap, times


def test_a_used_up_quota_stops_the_run_and_halves_the_next_ones(project: Project) -> None:
    project.letter()
    mails = project.contacts(12)
    options = {"RATE": "60/hour", "RATE_PER_DOMAIN": "unlimited"}
    clock = Leaping(MONDAY)
    with sink.run() as server:
        server.rcpt_replies = {mail: ["550 5.4.5 Daily user sending limit exceeded."] for mail in mails[4:6]}
        _, result = send(project, server, clock, **options)
        assert result.error is not None
        assert result.error.exit_code == Exit.STOPPED
        assert len(server.record) == 4
        _, result = send(project, server, clock, **options)
    assert result.error is None
    assert sorted(server.recipients) == sorted(mails)
    assert 1.8 * MINUTE < mean(gaps(server)[5:]) < 2.2 * MINUTE


@pytest.mark.parametrize(
    ("usual", "least", "expected"),
    [
        (60, 0, 120),
        (60, 120, 240),
        (60, 480, 480),
        (60, 30, 120),
        (0, 0.2, 0.4),
        (0, 50, 60),
        (0.25, 50, 60),
        (0, 600, 600),
    ],
)
def test_half_the_pace_again_and_again_has_an_end(usual: float, least: float, expected: float) -> None:
    assert throttle.halved(usual, least, throttle.nothing) == expected


@pytest.mark.parametrize(
    ("after", "left"), [(0, 64), (DAY - 1, 64), (DAY, 32), (3 * DAY, 8), (10 * DAY, 0), (-HOUR, 64)]
)
def test_half_of_what_was_asked_for_is_forgotten_every_day(after: float, left: float) -> None:
    assert Slowed(64.0, MONDAY, MONDAY, "").least(MONDAY + after) == left


# An embargo -----------------------------------------------------------------------------------------


def test_nothing_leaves_before_and_the_embargo_outlives_the_run(project: Project) -> None:
    project.letter()
    mails = project.contacts(6)
    clock, options = Leaping(MONDAY), {"RATE": "60/hour", "RATE_PER_DOMAIN": "unlimited"}
    with sink.run() as server:
        foreseen, result = send(project, server, clock, written(MONDAY + 5 * DAY), wait=False, **options)
        assert at(foreseen["starts"]) == MONDAY + 5 * DAY
        assert foreseen["not_before"] == foreseen["starts"]
        assert not server.record
        assert server.sessions == 0, "nobody knocks before"
        assert mailing.exit_code(result) == Exit.STOPPED
        # Another command, which says nothing about it; the clock that jumps must not lift it either.
        foreseen, _ = send(project, server, clock, **options)
    assert sorted(server.recipients) == sorted(mails)
    assert min(one.at for one in server.record) >= MONDAY + 5 * DAY


def test_an_embargo_can_be_moved_and_lifted(project: Project) -> None:
    project.letter()
    project.contacts(4)
    options = {"RATE": "unlimited", "RATE_PER_DOMAIN": "unlimited"}
    with sink.run() as server:
        clock = Leaping(MONDAY)
        send(project, server, clock, written(MONDAY + 5 * DAY), wait=False, **options)
        send(project, server, clock, written(MONDAY + DAY), limit=2, **options)
        assert clock.now() - MONDAY == pytest.approx(DAY, abs=60)
        send(project, server, clock, written(MONDAY + 9 * DAY), wait=False, **options)
        assert len(server.record) == 2
        send(project, server, clock, "now", **options)
        assert len(server.record) == 4
    assert clock.now() - MONDAY == pytest.approx(DAY, abs=60)


def test_the_same_words_keep_the_embargo_that_they_set(project: Project) -> None:
    """Monday at nine is this Monday, also for the command that is given again on Monday at ten."""
    project.letter()
    mails = project.contacts(3)
    options = {"RATE": "unlimited", "RATE_PER_DOMAIN": "unlimited"}
    clock = Leaping(MONDAY)
    with sink.run() as server:
        _, result = send(project, server, clock, "tue 09:00", wait=False, **options)
        assert (len(server.record), mailing.exit_code(result)) == (0, Exit.STOPPED)
        clock.leapt += DAY + 3 * HOUR
        _, result = send(project, server, clock, "  Tue  09:00", wait=False, **options)
        assert mailing.exit_code(result) == Exit.OK
    assert sorted(server.recipients) == sorted(mails)


@pytest.mark.parametrize("text", ["2025-11-30 09:00", "today 00:00"])
def test_a_moment_that_is_past_is_refused_and_lifts_nothing(project: Project, text: str) -> None:
    project.letter()
    project.contacts(3)
    clock = Leaping(MONDAY)
    with sink.run() as server:
        for _ in "ab":  # before the mailing has begun, and when it has an embargo
            with pytest.raises(UsageError, match="that is past"):
                send(project, server, clock, text)
            send(project, server, clock, "2026-12-20 09:00", wait=False)
        assert not server.record


def test_an_embargo_that_comes_while_a_run_goes_on_is_obeyed_by_the_claim(project: Project) -> None:
    project.letter()
    project.contacts(3)
    clock = Leaping(MONDAY)
    with sink.run() as server:
        send(project, server, clock, limit=1, RATE="unlimited", RATE_PER_DOMAIN="unlimited")
    with Ledger(project.folder / "outreach.db", create=True) as ledger:
        running = ledger.mailings()[0]
        left = [one.id for one in ledger.deliveries(running) if one.state == "planned"]
        ledger.set_not_before(running, MONDAY + DAY)
        with ledger.transaction():
            assert ledger.claim(left[0], MONDAY + DAY - 1) is None
            assert ledger.claim(left[0], MONDAY + DAY) is not None


# Called again and again -------------------------------------------------------------------------------


def test_a_call_every_three_minutes_keeps_the_pace_of_the_default_limits(project: Project) -> None:
    """As cron would: `send --yes --no-wait`, which ends when nothing is due now."""
    project.letter()
    mails = project.contacts(16)
    clock = Leaping(MONDAY)
    with sink.run() as server:
        while len(server.record) < len(mails):
            began = clock.now()
            _, result = send(project, server, clock, wait=False)
            assert result.error is None
            assert clock.now() - began < 3 * MINUTE, "it ends when nothing is due"
            clock.leapt += max(0.0, began + 3 * MINUTE - clock.now())
    times = [one.at for one in server.record]
    assert_no_window_too_full(times, [Limit(100, HOUR), Limit(400, DAY)])
    assert times[-1] - times[0] <= 15 * DAY / 400 / 0.95 + 3 * MINUTE
