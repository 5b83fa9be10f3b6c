"""The sending loop: one thread, one selector, one commit per turn.

A turn: wait for sockets or for the clock → read → outcomes, one claim, one intent → one commit → write.
A claim is a lease on a delivery that is about to be named to the server; the intent is committed before the
first byte of its body can leave, so at most one mail per connection is ever in doubt. A server that answers
at once is waited for before anything else is done: then it is one mail, for as long as the answer takes.
What is due lives in a small queue in memory, by recipient domain; the ledger decides, by conditional
updates, so several processes can share a mailing. Nothing is ever sent after a commit has failed.
Where the server allows it, the next mail follows in the same write (smtp.py), but only when it is due now.
Known limits: messages are built one by one in the loop.
"""

from __future__ import annotations

import contextlib
import datetime
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from outreach import address, alternates, forecast, message, places, retry, times
from outreach.agenda import Agenda, Entry
from outreach.archive import Archive
from outreach.clocks import Clock
from outreach.connection import Opened, Opening
from outreach.errors import Exit, LedgerError, OutreachError, ServerError, printable
from outreach.forecast import Past
from outreach.health import Health, one_too_many
from outreach.ledger import Delivery, Ledger, Mailing, Suppression, is_held
from outreach.links import Link
from outreach.model import ANSWERS, OPEN_STATES, Kind, Outcome, Scope, Server, State, Verdict
from outreach.pace import Pace
from outreach.received import Received
from outreach.smtp import Closed, Event, Finished, Phase
from outreach.times import lasts
from outreach.turnstile import Turnstile

_MAILS_PER_SESSION = 100
_IDLE_SECONDS = 60  # a session is closed when the next mail is due later than this
_GRACE_SECONDS = 30  # how long mails in flight may finish after the first signal
_QUICK = 0.01  # seconds: a server that answers the dot within this keeps one mail at a time in doubt
_SLOW_OPENING = 5.0  # seconds after which people are told what is waited for
_FRESH = 5.0  # seconds; a session that was idle for longer may be dead, and is asked carefully
_JUMP = 30.0  # seconds that the clock was set, or the machine slept, before sessions are given up
_FORESEE_SECONDS = 60.0  # how often the end is worked out anew from the limits
_ANSWERS_SECONDS = 2.0  # how often the ledger is asked for what came back
_FORESEE_MAILS = 20_000  # above this it would hold up the loop


@dataclass(frozen=True, slots=True)
class Orders:
    """How a run is to send."""

    server: Server
    user: str
    password: str | None
    ehlo_name: str
    pace: Pace
    connections: int
    retry: tuple[int, ...]
    give_up: int
    wait: bool = True
    breaker: bool = True
    account: str = ""  # what the account's limits are counted by
    rest: int = 0  # seconds that somebody is left in peace after another mailing


@dataclass(slots=True)
class Progress:
    """Where the run stands; shown while it goes on."""

    counts: dict[State, int]
    done: int = 0  # attempts of this run that came to an end
    sent: int = 0
    total: int = 0  # deliveries this run is to handle
    started_at: float = 0.0
    next_at: float | None = None  # when the next mail may leave, if not now
    ends_at: float | None = None
    note: str = ""


@dataclass(slots=True)
class Result:
    """How a run ended."""

    progress: Progress
    interrupted: bool = False
    in_doubt: int = 0
    freed: int = 0
    error: OutreachError | None = None


Observer = Callable[[Progress, str], None]


@dataclass(slots=True, eq=False)
class _Work:
    """A claimed delivery with its message."""

    delivery: Delivery
    slot: int
    started_at: float
    data: bytes = b""


class _Lane(Link):
    """A connection, and the mails that are under way on it."""

    def __init__(self, opened: Opened, pipelining: bool, selector: selectors.BaseSelector) -> None:
        super().__init__(opened, pipelining, selector)
        self.works: deque[_Work] = deque()  # told to the session, in its order
        self.ready: _Work | None = None  # claimed, to follow
        self.mails = 0
        self.permitted_at = 0.0  # monotonic, of the last body

    @property
    def busy(self) -> bool:
        return bool(self.works) or self.ready is not None

    @property
    def in_flight(self) -> bool:
        """Tell whether a body is leaving, or has left."""
        return self.session.phase in (Phase.BODY, Phase.DOT)


def run(
    ledger: Ledger,
    mailing: Mailing,
    selection: Iterable[int],
    orders: Orders,
    observe: Observer = lambda progress, note: None,
    clock: Clock | None = None,
) -> Result:
    """Send the selected deliveries of a mailing, as far as they are open, until done, told or forced to stop.

    Raises LedgerError when the ledger fails; everything else that stops a run is in the result.
    """
    loop = _Loop(ledger, mailing, set(selection), orders, observe, clock or Clock())
    with loop.signals():
        try:
            return loop.run()
        except LedgerError as error:
            loop.own_up(error)
            raise
        finally:
            loop.close()


class _Loop:
    def __init__(
        self,
        ledger: Ledger,
        mailing: Mailing,
        selection: set[int],
        orders: Orders,
        observe: Observer,
        clock: Clock,
    ) -> None:
        self.ledger, self.mailing, self.selection, self.orders = ledger, mailing, selection, orders
        self.observe, self.clocks, self.clock = observe, clock, clock.now
        self.window = orders.pace.window
        self.turnstile = Turnstile(ledger, orders.pace, orders.account)
        self.archive = Archive(ledger)
        self.away: set[int] = set()  # whose follow-up waits for their return
        self.queue = Agenda(orders.pace)
        self.waits_for: float | None = None  # the opening of a window that people were told of
        self.lanes: list[_Lane] = []
        self.opening: Opening | None = None
        self.opening_since = 0.0  # monotonic; 0 once people were told
        self.connections = orders.connections
        self.pipelining = True
        self.quick = True  # the server answers so soon that it is waited for before anything else is done
        self.account_free_at = 0.0
        self.opened = 0
        self.losses: dict[int, int] = {}
        self.health = Health(str(orders.server), orders.retry, orders.breaker)
        self.interrupts = 0
        self.grace_until = 0.0
        self.in_doubt = 0
        self.selector = selectors.DefaultSelector()
        self.wake_reader, self.wake_writer = socket.socketpair()
        for end in (self.wake_reader, self.wake_writer):
            end.setblocking(False)
        self.selector.register(self.wake_reader, selectors.EVENT_READ)
        self.progress = Progress(ledger.counts(mailing), started_at=clock.now())
        self.wall, self.steady, self.awake = clock.now(), clock.steady(), clock.awake()
        self.shown_at = 0.0
        self.foreseen_at, self.limits_end = -_FORESEE_SECONDS, 0.0
        self.received = Received(ledger)
        self.answers_seen, self.answers_at, self.reading_failed = self.received.last(), 0.0, ""

    # The run -----------------------------------------------------------------------------------

    def run(self) -> Result:
        now = self.clock()
        freed, unknown = self.ledger.begin_run(now)
        if self._mend_times(now) < 0:
            self.observe(self.progress, "the clock of this machine was ahead when the last mails were sent")
        self._account_free()
        self._tell_slowed(now)
        if self.mailing.not_before > now and self.selection:
            words = f"nothing leaves before {times.when(self.mailing.not_before)}: the mailing has an embargo"
            self.observe(self.progress, f"{words} (--not-before now lifts it)")
        self.progress.counts = self.ledger.counts(self.mailing)
        self._refill()
        self.progress.total = len(self.queue)
        if unknown:
            self.observe(
                self.progress,
                f"{unknown} mail{'s' if unknown > 1 else ''} of a run that died may or may not have arrived; "
                "they stay `unknown` and are not sent again (outreach resolve)",
            )
        while not self._finished():
            self._turn()
        self._say_goodbye()
        self._look_at_answers(force=True)
        self.progress.counts = self.ledger.counts(self.mailing)  # others may have worked on it too
        self._show(force=True)
        return Result(
            self.progress,
            interrupted=self.interrupts > 0,
            in_doubt=self.in_doubt + unknown,
            freed=freed,
            error=self.health.stop,
        )

    @property
    def _longest_wait(self) -> float:
        """Return how many seconds a delivery can have to wait at most: longer, and a clock was wrong."""
        return max(float(self.orders.give_up), self.orders.retry[-1] * 1.1)

    @property
    def stopping(self) -> bool:
        """Tell whether nothing new may leave."""
        return self.health.stop is not None or self.interrupts > 0

    def _mend_times(self, now: float) -> float:
        return self.ledger.mend_times(now, self._longest_wait, self.clocks.boot, self.clocks.steady())

    def _finished(self) -> bool:
        if any(lane.busy for lane in self.lanes):
            return False
        if self.stopping:
            return True
        now = self.clock()
        if len(self.queue) == 0:
            return not self._refill(settle=True)
        if not self.orders.wait:
            self._account_free()
            return not (self._is_due(now) and self.queue.is_due(now, self._domain_free))
        return False

    def _refill(self, settle: bool = False) -> bool:
        """Queue what the ledger has open and nobody holds; tell whether anything was found."""
        if settle:  # another run may have died meanwhile
            self.ledger.settle_dead_runs(self.clock())
        found = False
        self.mailing = self.ledger.mailing(self.mailing.name) or self.mailing  # an embargo may be new
        held = self.ledger.held()
        for one in self.ledger.deliveries(self.mailing, OPEN_STATES):
            if one.instead_of_id in self.selection:  # another address of somebody who was selected
                self.selection.add(one.id)
            free = one.lease is None and one.id not in self.away and not (held and is_held(one, held))
            if free and one.id in self.selection and one.id not in self.queue:
                self._line_up(one, one.next_attempt_at)
                found = True
        return found

    def _line_up(self, one: Delivery, due: float, tried: bool = False) -> None:
        """Let a delivery wait for its turn."""
        due = max(due, self.mailing.not_before)
        place = places.of(one.contact) if self.window else None
        self.queue.add(Entry(one.id, one.domain, due, place, tried or one.attempts > 0))

    def _turn(self) -> None:
        self._watch_clock()
        self._look_at_answers()
        arrived = self._listen()
        arrived += self._overdue()
        self._take_opening()
        permitted: _Lane | None = None
        claimed: tuple[_Lane, _Work] | None = None
        if arrived or self._has_to_decide():
            with self.ledger.transaction():
                for lane, event in arrived:
                    if isinstance(event, Finished):
                        if lane.permitted_at:
                            self.quick = time.monotonic() < lane.permitted_at + _QUICK
                            lane.permitted_at = 0.0
                        self._settle(lane.works.popleft(), event.outcome)
                    elif isinstance(event, Closed) and lane.ready:
                        self._give_back(lane)
                if self.stopping:
                    self._stand_down()
                elif not self._held():
                    claimed = self._claim()
                    # Building takes time: where the server is quick, no mail is in doubt meanwhile.
                    permitted = None if claimed and self.quick else self._permit()
        # Only now, with everything committed, may bytes leave.
        for lane in list(self.lanes):
            if lane.session.phase is Phase.CLOSED:
                self._drop(lane)
        if permitted:
            permitted.session.permit()
            permitted.permitted_at = time.monotonic()
        for lane in self.lanes:
            self._retire(lane)
            self._follow(lane)
            lane.write()
        if claimed:
            self._build(*claimed)
        self._open_more()
        self._show()

    def _look_at_answers(self, force: bool = False) -> None:
        """Tell what came back meanwhile, whoever read it; too many complaints stop the run."""
        tick = time.monotonic()
        if not force and tick < self.answers_at + _ANSWERS_SECONDS:
            return
        self.answers_at = tick
        tried = self.received.tried_last()
        wrong = tried.error if tried and tried.tried_at >= self.progress.started_at else ""
        if wrong and wrong != self.reading_failed:
            self.observe(self.progress, f"answers cannot be read: {wrong}")
        self.reading_failed = wrong
        if self.received.last() == self.answers_seen:
            return
        for mail in self.received.mails(ANSWERS, since=self.answers_seen):
            if mail.delivery_id is not None or mail.pending:
                so = f" ({mail.acted})" if mail.acted else ""
                self.observe(self.progress, f"{mail.kind} from {printable(mail.sender)}{printable(so)}")
        self.answers_seen = self.received.last()
        self.progress.counts = self.ledger.counts(self.mailing)
        complaints = self.received.complaints(self.mailing, self.progress.started_at)
        self.health.complained(complaints, self.progress.counts[State.SENT])

    def _has_to_decide(self) -> bool:
        if self.stopping:
            return any(lane.busy and not lane.in_flight for lane in self.lanes)
        if self._held():
            return False
        intent = any(lane.session.phase is Phase.INTENT for lane in self.lanes)
        return intent or (self._is_due(self.clock()) and self._roomiest() is not None)

    def _patience(self) -> float:
        """How many seconds nothing can happen by itself."""
        if self._has_to_decide():
            return 0.0
        now, tick = self.clock(), time.monotonic()
        until = [self.clocks.longest_wait]
        until += [lane.deadline - tick for lane in self.lanes if lane.deadline is not None]
        if (held := self._held()) and not self.stopping:
            return held
        if not self.stopping and self.opening is None and (due := self._next_at()) is not None:
            until += [due - now] if self._roomiest() or not self.lanes else []
        return max(min(until), 0.0)

    def _held(self) -> float:
        """Return for how many seconds nothing else is begun: a quick server is about to answer a dot."""
        if not self.quick:
            return 0.0
        tick = time.monotonic()
        left = [lane.permitted_at + _QUICK - tick for lane in self.lanes if lane.in_flight]
        if left and max(left) <= 0:
            self.quick = False  # until it answers quickly again
        return max(0.0, *left) if left else 0.0

    # Outcomes ----------------------------------------------------------------------------------

    def _settle(self, work: _Work, outcome: Outcome) -> None:
        """Write down what became of a mail. Runs inside the turn's transaction."""
        one, now = work.delivery, self.clock()
        outcome = self.health.weigh(
            one.id, outcome, len(self.queue), lambda: self.ledger.refusals_of_us(one.id)
        )
        losses = self.losses.get(one.id, 0)
        if outcome.lost:
            self.losses[one.id] = losses + 1
        decision = retry.decide(
            outcome,
            attempts=one.attempts + 1,
            losses=losses,
            first_attempt_at=one.first_attempt_at or work.started_at,
            now=now,
            steps=self.orders.retry,
            give_up=self.orders.give_up,
        )
        due = decision.next_attempt_at
        self.ledger.record(
            one.id,
            outcome,
            decision.state,
            work.started_at,
            now,
            str(self.orders.server),
            counts=decision.counts,
            next_attempt_at=due,
            reason=decision.reason,
        )
        if decision.suppress:
            words = f"bad mailbox: {outcome.code} {outcome.reply}"[:300]
            source = f"mailing {self.mailing.name}"
            self.ledger.suppress([Suppression(one.address, words, source, now, dead=True)], now)
            self._try_another(one, words, now)
        self.turnstile.close(work.slot, now, outcome.reached_rcpt)
        state = decision.state
        if state is State.PLANNED:
            state = State.DEFERRED if one.attempts else State.PLANNED
            self._line_up(one, now)
        elif state is State.DEFERRED and due is not None:
            self._line_up(one, due, tried=True)
        self._count(one, state)
        others = self._others()
        if one_too_many(outcome, others):
            self.connections = others
        asked_before = self.health.asked_at
        note = self.health.saw(outcome, decision, now, len(self.queue), others)
        if self.health.asked_at > asked_before:
            note = self._slow_down(now, f"{outcome.code} {outcome.reply}", note)
        if note:
            self.observe(self.progress, note)
        self._tell(one, state, outcome, decision)

    def _try_another(self, dead: Delivery, words: str, now: float) -> None:
        """Plan the letter of a dead mailbox for another address of the same person."""
        other = alternates.bury(self.ledger, self.archive, dead, words, now)
        if other is not None:
            self.selection.add(other.id)
            self._line_up(other, now)
            self.progress.total += 1
            self.progress.counts[State.PLANNED] += 1
            self.observe(self.progress, f"{dead.contact.email} is dead; next: {other.contact.email}")

    def _slow_down(self, now: float, words: str, note: str) -> str:
        """Halve the pace, as the server asked; return what people are told. Runs inside a transaction."""
        resume_at = now if self.health.stop else self.health.resume_at
        gap = self.turnstile.slow_down(now, resume_at, words[:300])
        return f"{note}, at half the pace: a mail every {times.gap(gap)}" if note else ""

    def _count(self, one: Delivery, state: State) -> None:
        self.progress.counts[one.state] -= 1
        self.progress.counts[state] += 1
        if state not in OPEN_STATES:
            self.progress.done += 1
        if state is State.SENT:
            self.progress.sent += 1
        if state is State.UNKNOWN:
            self.in_doubt += 1

    def _others(self) -> int:
        """Return how many sessions live beside one that the server has just closed."""
        return sum(lane.session.phase is not Phase.CLOSED for lane in self.lanes)

    def _stop(self, error: OutreachError) -> None:
        self.health.stop = self.health.stop or error

    def _tell(self, one: Delivery, state: State, outcome: Outcome, decision: retry.Decision) -> None:
        if state in (State.SENT, State.PLANNED):
            return
        words = f"{outcome.code} {outcome.reply}" if outcome.code else outcome.reason
        about = f"{outcome.kind.replace('-', ' ')}: " if outcome.kind else ""
        again = ""
        if decision.next_attempt_at is not None:
            local = datetime.datetime.fromtimestamp(decision.next_attempt_at)
            again = f" (again at {local:%H:%M:%S})"
        self.observe(self.progress, f"{state}: {one.contact.email}: {about}{words}{again}")

    # What goes next ----------------------------------------------------------------------------

    def _is_due(self, now: float) -> bool:
        """Tell whether a mail may leave now, as far as is known without asking the ledger."""
        due = self._next_at()
        return due is not None and due <= now

    def _next_at(self) -> float | None:
        """Return when the next mail may leave; None when nothing is queued."""
        due = self.queue.next_at()
        return None if due is None else max(due, self.account_free_at, self.health.resume_at)

    def _account_free(self) -> float:
        now = self.clock()
        self.turnstile.look(now)
        self.health.resume_at = max(self.health.resume_at, self.turnstile.pace.resume_at)
        self.account_free_at = self.turnstile.account_free_at(now)
        return self.account_free_at

    def _domain_free(self, domain: str) -> float:
        return self.turnstile.domain_free_at(domain, self.clock())

    def _roomiest(self) -> _Lane | None:
        """Return the lane that a due mail is given to: an idle one, else one with room behind its mail."""
        found = None
        limited = bool(self.turnstile.pace)
        for lane in self.lanes:
            session = lane.session
            if lane.ready or lane.mails >= _MAILS_PER_SESSION:
                continue
            if not lane.works and session.phase is Phase.READY:
                return lane
            # Without limits a mail may be claimed and built ahead; with limits only when it can be named now.
            if session.takes if limited else session.pipelining and session.busy:
                found = found or lane
        return found

    def _claim(self) -> tuple[_Lane, _Work] | None:
        """Claim the next mail that may leave, if a lane has room. Runs inside the turn's transaction."""
        now = self.clock()
        lane = self._roomiest()
        if lane is None or self.health.resume_at > now or self._account_free() > now:
            return None
        passed_over = False
        while (number := self.queue.pop(now, self._domain_free)) is not None:
            one = self.ledger.claim(number, now, self.orders.rest)
            if one is None:  # suppressed, cancelled, at rest, held, away, or somebody else's
                passed_over = True
                self._passed(number, now)
                continue
            if passed_over:
                self.progress.counts = self.ledger.counts(self.mailing)
            lane.ready = _Work(one, self.turnstile.take(one.domain, now), now)
            self._account_free()
            lane.mails += 1
            return lane, lane.ready
        return None

    def _passed(self, number: int, now: float) -> None:
        """See why a letter may not leave: somebody is away, or the mailbox turned out to be dead."""
        one = self.ledger.delivery(number)
        if one.state in OPEN_STATES and one.lease is None and (until := self.ledger.away_until(one, now)):
            self.away.add(one.id)
            words = f"{one.contact.email} is away until {times.day(until)}: left for a later run"
            self.observe(self.progress, words)
        elif one.state is State.SUPPRESSED and self.ledger.is_dead(one.address, now):
            other = alternates.plan(self.ledger, self.archive, one, now)
            if other is not None:
                self.selection.add(other.id)
                self._line_up(other, now)

    def _build(self, lane: _Lane, work: _Work) -> None:
        """Build the message of a claimed delivery, and begin it if the session takes it now."""
        one = work.delivery
        refusal: Outcome | None = None
        try:
            work.data = self._message(one)
            refusal = lane.session.refusal(work.data, address.needs_smtputf8(one.contact.email))
        except message.MessageError as error:
            refusal = Outcome(Verdict.FAILED, Scope.RECIPIENT, reason=str(error))
        except LedgerError:
            raise
        except OutreachError as error:
            self._stop(error)  # the next turn gives the claim back
            return
        if refusal:
            with self.ledger.transaction():
                lane.ready = None
                self._settle(work, refusal)
            return
        self._follow(lane)
        lane.write()

    def _follow(self, lane: _Lane) -> None:
        """Tell the session of the mail that is claimed for it, once it takes it."""
        work = lane.ready
        if work is None or not work.data or not lane.session.takes or self.stopping:
            return
        lane.ready = None
        lane.works.append(work)
        mail = work.delivery.contact.email
        sender = address.wire(self.archive.version(work.delivery.version_id).sender.address)
        smtputf8, fresh = address.needs_smtputf8(mail), lane.idle_seconds < _FRESH
        lane.session.begin(sender, address.wire(mail), work.data, smtputf8, fresh)

    def _permit(self) -> _Lane | None:
        """Write down the intent for one mail whose body the server waits for; the longest waiting first.

        Who refused since the claim, or got another mailing, gets none: a DATA cannot be taken back, so the
        socket is dropped. Runs inside the turn's transaction.
        """
        for lane in self.lanes:
            if lane.session.phase is not Phase.INTENT:
                continue
            self.lanes.remove(lane)
            self.lanes.append(lane)
            if self.ledger.intend(lane.works[0].delivery, self.clock(), self.orders.rest):
                return lane
            self._passed(lane.works.popleft().delivery.id, self.clock())
            self._withdraw(lane)
            self.progress.counts = self.ledger.counts(self.mailing)
            return None
        return None

    def _stand_down(self) -> None:
        """Take back what is under way on the lanes whose body has not begun to leave."""
        for lane in self.lanes:
            if lane.busy and not lane.in_flight:
                self._withdraw(lane)

    def _withdraw(self, lane: _Lane) -> None:
        """Give back everything that a lane has, and leave its session."""
        named = lane.session.named
        while lane.works:
            self._put_back(lane.works.popleft(), named)
            named = True  # what follows travels with its RCPT
        self._give_back(lane)
        lane.session.abandon()

    def _give_back(self, lane: _Lane) -> None:
        """Give back the mail that is claimed for a lane and was not begun."""
        if lane.ready:
            self._put_back(lane.ready, named=False)
            lane.ready = None

    def _put_back(self, work: _Work, named: bool) -> None:
        """Release a claim; it keeps counting against the limits if the server was told the recipient."""
        one = work.delivery
        self.ledger.release(one.id)
        self.turnstile.close(work.slot, self.clock(), named)
        self._line_up(one, one.next_attempt_at)

    def _message(self, one: Delivery) -> bytes:
        return self.archive.build(one, datetime.datetime.fromtimestamp(self.clock(), datetime.UTC))

    # Connections -------------------------------------------------------------------------------

    def _open_more(self) -> None:
        """Open a session when a due mail finds none free."""
        if self.opening or self.stopping or len(self.lanes) >= self.connections:
            return
        if self._roomiest() or any(lane.session.phase is Phase.RESET for lane in self.lanes):
            return
        now = self.clock()
        if self._is_due(now) and self._account_free() <= now and self.queue.is_due(now, self._domain_free):
            self.opening = Opening(
                self.orders.server, self.orders.user, self.orders.password, self.orders.ehlo_name, self._wake
            )
            self.opening_since = time.monotonic()

    def _take_opening(self) -> None:
        if self.opening is None:
            return
        result = self.opening.result()
        if result is None:
            if self.opening_since and time.monotonic() > self.opening_since + _SLOW_OPENING:
                self.opening_since = 0.0
                self.observe(self.progress, f"waiting for {self.orders.server} to let us in …")
            return
        self.opening = None
        if isinstance(result, Opened):
            self.lanes.append(_Lane(result, self.pipelining, self.selector))
            self.opened += 1
        elif self.lanes:
            self.connections = len(self.lanes)  # the server allows no more at once
        elif not self.opened or result.exit_code == Exit.REFUSED:
            self._stop(result)
        elif isinstance(result, ServerError) and result.kind in (Kind.SLOW_DOWN, Kind.QUOTA):
            now = self.clock()
            if note := self.health.slow_down(now, result.message, Kind(result.kind)):
                with self.ledger.transaction():
                    self.observe(self.progress, self._slow_down(now, result.message, note))
        else:
            self.health.had_trouble(self.clock(), result.message)
            self.observe(self.progress, f"{result.message}; trying again")

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self.wake_writer.send(b"\0")

    def _listen(self) -> list[tuple[_Lane, Event]]:
        """Wait until something can happen; return what the sessions make of it."""
        events: list[tuple[_Lane, Event]] = []
        idle = self.opening is None and not any(
            lane.busy or lane.session.phase is not Phase.READY for lane in self.lanes
        )
        for key, _ in self.clocks.select(self.selector, self._patience(), idle):
            if isinstance(key.data, _Lane):
                events += [(key.data, event) for event in key.data.read()]
                self._check_step(key.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    self.wake_reader.recv(4096)
        return events

    def _check_step(self, lane: _Lane) -> None:
        """Send commands one by one for the rest of the run, once a server's answers did not fit."""
        if lane.session.out_of_step and self.pipelining:
            self.pipelining = False
            for other in self.lanes:
                other.session.pipelining = False
            note = "the server announces PIPELINING and does not keep to it; going on without"
            self.observe(self.progress, note)

    def _overdue(self) -> list[tuple[_Lane, Event]]:
        """Return what happens to sessions whose time is over."""
        tick = time.monotonic()
        leave = self.interrupts > 1 or (self.interrupts > 0 and tick > self.grace_until)
        found: list[tuple[_Lane, Event]] = []
        for lane in self.lanes:
            lost = lane.session.lost("the run was interrupted") if leave and lane.busy else lane.overdue(tick)
            found += [(lane, event) for event in lost]
            self._check_step(lane)
        return found

    def _retire(self, lane: _Lane) -> None:
        """Close a session that has done its share, or that would idle for long."""
        if lane.session.phase is not Phase.READY or lane.busy:
            return
        due = self._next_at()
        idle = due is None or due > self.clock() + _IDLE_SECONDS
        if idle or lane.mails >= _MAILS_PER_SESSION:
            lane.session.quit()

    def _drop(self, lane: _Lane) -> None:
        if lane in self.lanes:
            self.lanes.remove(lane)
            lane.close()

    def _say_goodbye(self) -> None:
        until = time.monotonic() + 2.0
        while self.lanes and time.monotonic() < until:
            for lane in self.lanes:
                lane.session.quit()  # as soon as it is ready: a refused mail may still be reset
                lane.write()
            for key, _ in self.selector.select(0.2):
                if isinstance(key.data, _Lane) and Closed() in key.data.read():
                    self._drop(key.data)

    def own_up(self, error: LedgerError) -> None:
        """Say in an error how many mails were on their way when the ledger failed."""
        if count := sum(lane.in_flight for lane in self.lanes):
            many = "1 mail was" if count == 1 else f"{count} mails were"
            error.hint += f"; {many} being handed over, and will count as in doubt"

    def close(self) -> None:
        """Let go of everything. A session cut here is settled by the next run."""
        if self.opening:
            self.opening.cancel()
        for lane in list(self.lanes):
            self._drop(lane)
        self.selector.close()
        self.wake_reader.close()
        self.wake_writer.close()
        self.ledger.end_run()

    # Clock, signals and display ----------------------------------------------------------------

    def _watch_clock(self) -> None:
        """Notice that the clock was set, or that the machine slept: no session lives through that."""
        wall, steady, awake = self.clocks.now(), self.clocks.steady(), self.clocks.awake()
        moved = (wall - self.wall) - (steady - self.steady)
        slept = (steady - self.steady) - (awake - self.awake)
        self.wall, self.steady, self.awake = wall, steady, awake
        if max(abs(moved), slept) < _JUMP:
            return
        what = []
        if slept >= _JUMP:
            what.append(f"this machine slept for {lasts(slept)}")
        if abs(moved) >= _JUMP:
            way = "back" if moved < 0 else "forward"
            what.append(f"the clock was set {way} by {lasts(abs(moved))}")
        self.observe(self.progress, f"{'; '.join(what)}; going on with new sessions")
        self.foreseen_at = -_FORESEE_SECONDS
        self.health.resume_at = min(self.health.resume_at, wall)
        with self.ledger.transaction():
            for lane in self.lanes:
                if not lane.in_flight:
                    self._withdraw(lane)
        self._mend_times(wall)
        self.queue = Agenda(self.orders.pace)
        self._refill()
        self._account_free()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let the first signal finish what is open, and the second leave at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
        before = {number: signal.signal(number, self._interrupted) for number in wanted}
        wake = signal.set_wakeup_fd(self.wake_writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wake)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupted(self, number: int, frame: object) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            self.grace_until = time.monotonic() + _GRACE_SECONDS
            self.progress.note = "finishing what is under way; once more leaves at once"

    def _limits_end(self, now: float) -> float:
        """Return when the queue would be empty if only the pace counted; 0 when nothing holds it back."""
        if not self.turnstile.pace or not 0 < len(self.queue) <= _FORESEE_MAILS:
            return 0.0
        past = Past(
            self.ledger.recent(self.orders.account),
            lambda name: self.ledger.history(domain=name),
            self.ledger.last_slot(),
        )
        return forecast.simulate(self.queue, self.turnstile.pace, now, past).last

    def _tell_slowed(self, now: float) -> None:
        """Say what a server asked an earlier run for, as long as it holds."""
        pace, asked = self.turnstile.pace, self.orders.pace
        if pace.resume_at > now or pace.gap > asked.gap:
            known = self.ledger.slowed(self.orders.account)
            again = f"going on {times.clock(pace.resume_at)}, " if pace.resume_at > now else ""
            self.observe(
                self.progress,
                f"{self.orders.server} asked for less {times.when(known.asked_at)} ({known.words}); "
                f"{again}a mail every {times.gap(pace.gap)}",
            )

    def _tell_hours(self, now: float, next_at: float | None) -> None:
        """Say once that everybody who is left has other hours now."""
        place = self.queue.waits_at() if self.window else None
        if place is None or next_at is None or next_at < now + _IDLE_SECONDS or next_at == self.waits_for:
            return
        if next_at == self.window.opens(now, place):
            self.waits_for = next_at
            there = "" if not place.zone else f", {times.there(next_at, places.zone(place.zone))} in {place}"
            hours = f"outside the sending hours ({self.window}) of everybody who is left"
            self.observe(self.progress, f"{hours}; going on {times.when(next_at)}{there}")

    def _show(self, force: bool = False) -> None:
        tick = time.monotonic()
        if not force and tick < self.shown_at + 0.1:
            return
        self.shown_at = tick
        now, progress = self.clock(), self.progress
        next_at = self._next_at()
        progress.next_at = next_at if next_at is not None and next_at > now else None
        self._tell_hours(now, next_at)
        left = len(self.queue) + sum(lane.session.busy for lane in self.lanes)
        if tick >= self.foreseen_at + _FORESEE_SECONDS:
            self.foreseen_at, self.limits_end = tick, self._limits_end(now)
        gap = (now - progress.started_at) / progress.done if progress.done >= 3 else 0.0
        ends = max(self.limits_end or now + left * gap, next_at or 0.0)
        progress.ends_at = ends if left and ends > now else None
        self.observe(progress, "")
