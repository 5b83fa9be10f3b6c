"""The sending loop: one thread, one selector, one commit per turn.

A turn: wait for sockets or for the clock → read → outcomes, and what may go next (throttle; suppressions
checked again in the claim) → one commit → write. A claim is made when MAIL is written; the intent is
committed in the turn before the final dot can leave, so at most one mail per connection is ever in doubt.
What is due lives in a small queue in memory, by recipient domain; the ledger decides, by conditional
updates, so several processes can share a mailing. Nothing is ever sent after a commit has failed.
Known limits: no pipelining yet; the breaker knows only equal refusals in a row.
"""

from __future__ import annotations

import contextlib
import datetime
import selectors
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from outreach import address, message, retry, throttle
from outreach.agenda import Agenda
from outreach.connection import Opened, Opening
from outreach.errors import Exit, OutreachError, ServerError, StoppedError
from outreach.ledger import Delivery, Frozen, Ledger, Mailing
from outreach.letters import Letter
from outreach.model import OPEN_STATES, Limit, Outcome, Rendered, Scope, Server, State, Verdict
from outreach.smtp import BodyWanted, Closed, Event, Finished, Phase, Session

_MAILS_PER_SESSION = 100
_IDLE_SECONDS = 60  # a session is closed when the next mail is due later than this
_GRACE_SECONDS = 30  # how long mails in flight may finish after the first signal
_TROUBLE_LIMIT = 8  # failed sessions in a row before the run stops
_EQUAL_REFUSALS = 5  # the breaker
_FORESEE_SECONDS = 60.0  # how often the end is worked out anew from the limits
_FORESEE_MAILS = 20_000  # above this it would hold up the loop
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Orders:
    """How a run is to send."""

    server: Server
    user: str
    password: str | None
    ehlo_name: str
    rate: tuple[Limit, ...]
    rate_per_domain: tuple[Limit, ...]
    connections: int
    retry: tuple[int, ...]
    give_up: int
    wait: bool = True
    breaker: bool = True
    account: str = ""  # what the account's limits are counted by


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
class _Link:
    """One connection and the mail that is under way on it."""

    socket: socket.socket
    session: Session
    delivery: Delivery | None = None
    slot: int = 0
    started_at: float = 0.0
    deadline: float | None = None  # monotonic
    mails: int = 0
    events: int = field(default=selectors.EVENT_READ)


def run(
    ledger: Ledger,
    mailing: Mailing,
    selection: Iterable[int],
    orders: Orders,
    observe: Observer = lambda progress, note: None,
    clock: Callable[[], float] = time.time,
) -> Result:
    """Send the selected deliveries of a mailing, as far as they are open, until done, told or forced to stop.

    Raises LedgerError when the ledger fails; everything else that stops a run is in the result.
    """
    loop = _Loop(ledger, mailing, set(selection), orders, observe, clock)
    with loop.signals():
        try:
            return loop.run()
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
        clock: Callable[[], float],
    ) -> None:
        self.ledger, self.mailing, self.selection, self.orders = ledger, mailing, selection, orders
        self.observe, self.clock = observe, clock
        self.frozen = ledger.versions(mailing)
        self.letters: dict[int, Letter] = {}
        self.today = datetime.date.fromisoformat(mailing.today)
        self.queue = Agenda()
        self.links: list[_Link] = []
        self.opening: Opening | None = None
        self.connections = orders.connections
        self.account_free_at = 0.0
        self.resume_at = 0.0  # after trouble with a session, nothing leaves before
        self.trouble = 0
        self.opened = 0
        self.losses: dict[int, int] = {}
        self.refusals_of_us = 0  # in a row
        self.accused: dict[int, int] = {}  # delivery → how many were accepted when it first was refused so
        self.refusal: tuple[str, int] = ("", 0)
        self.stop_error: OutreachError | None = None
        self.interrupts = 0
        self.grace_until = 0.0
        self.in_doubt = 0
        self.selector = selectors.DefaultSelector()
        self.wake_reader, self.wake_writer = socket.socketpair()
        for end in (self.wake_reader, self.wake_writer):
            end.setblocking(False)
        self.selector.register(self.wake_reader, selectors.EVENT_READ)
        self.progress = Progress(ledger.counts(mailing), started_at=clock())
        self.shown_at = 0.0
        self.foreseen_at, self.limits_end = -_FORESEE_SECONDS, 0.0

    # The run -----------------------------------------------------------------------------------

    def run(self) -> Result:
        now = self.clock()
        freed, unknown = self.ledger.begin_run(now)
        self.progress.counts = self.ledger.counts(self.mailing)
        self._refill()
        self.progress.total = len(self.queue)
        if unknown:
            self.observe(
                self.progress,
                f"{unknown} mail{'s' if unknown > 1 else ''} of a run that died may or may not have arrived; "
                "they stay `unknown` and are not sent again",
            )
        while not self._finished():
            self._turn()
        self._say_goodbye()
        self.progress.counts = self.ledger.counts(self.mailing)  # others may have worked on it too
        self._show(force=True)
        return Result(
            self.progress,
            interrupted=self.interrupts > 0,
            in_doubt=self.in_doubt + unknown,
            freed=freed,
            error=self.stop_error,
        )

    def _finished(self) -> bool:
        if any(link.session.busy for link in self.links):
            return False
        if self.stop_error or self.interrupts:
            return True
        now = self.clock()
        if len(self.queue) == 0:
            return not self._refill()
        if not self.orders.wait:
            self._account_free(now)
            return not self._is_due(now)
        return False

    def _refill(self) -> bool:
        """Queue what the ledger has open and nobody holds; tell whether anything was found."""
        found = False
        for one in self.ledger.deliveries(self.mailing, OPEN_STATES):
            if one.id in self.selection and one.lease is None and one.id not in self.queue:
                self.queue.add(one.id, one.domain, one.next_attempt_at)
                found = True
        return found

    def _turn(self) -> None:
        events: list[tuple[_Link, Event]] = []
        for key, ready in self.selector.select(self._patience()):
            if key.fileobj is self.wake_reader:
                with contextlib.suppress(BlockingIOError):
                    self.wake_reader.recv(4096)
            elif ready & selectors.EVENT_READ or ready & selectors.EVENT_WRITE:
                events += [(key.data, event) for event in self._read(key.data)]
        events += self._overdue()
        self._take_opening()
        permitted: list[_Link] = []
        begun: list[_Link] = []
        if events or self._may_claim():
            with self.ledger.transaction():
                for link, event in events:
                    if isinstance(event, Finished):
                        self._settle(link, event.outcome)
                    elif isinstance(event, BodyWanted):
                        assert link.delivery is not None
                        self.ledger.intend(link.delivery.id)
                        permitted.append(link)
                begun = self._claim()
        # Only now, with everything committed, may bytes leave.
        for link, event in events:
            if isinstance(event, Closed):
                self._drop(link)
        for link in permitted:
            if link.session.phase is Phase.INTENT:  # the server may have gone right behind its 354
                link.session.permit()
        for link in begun:
            self._begin(link)
        for link in list(self.links):
            self._retire(link)
            self._write(link)
        self._open_more()
        self._show()

    def _patience(self) -> float:
        """How many seconds nothing can happen by itself."""
        now, tick = self.clock(), time.monotonic()
        until = [1.0]
        until += [link.deadline - tick for link in self.links if link.deadline is not None]
        if not self.interrupts and self.opening is None and (due := self._next_at()) is not None:
            free = any(link.session.phase is Phase.READY for link in self.links)
            if free or not self.links:
                until.append(due - now)
        return max(min(until), 0.0)

    # Outcomes ----------------------------------------------------------------------------------

    def _settle(self, link: _Link, outcome: Outcome) -> None:
        """Write down what became of the mail on this link. Runs inside the turn's transaction."""
        one = link.delivery
        assert one is not None
        link.delivery = None
        now = self.clock()
        if outcome.verdict is Verdict.FAILED and outcome.scope is Scope.SESSION and outcome.reached_rcpt:
            outcome = self._weigh(one, outcome)
        losses = self.losses.get(one.id, 0)
        if outcome.lost:
            self.losses[one.id] = losses + 1
        decision = retry.decide(
            outcome,
            attempts=one.attempts + 1,
            losses=losses,
            first_attempt_at=one.first_attempt_at or link.started_at,
            now=now,
            steps=self.orders.retry,
            give_up=self.orders.give_up,
        )
        due = decision.next_attempt_at
        self.ledger.record(
            one.id,
            outcome,
            decision.state,
            link.started_at,
            now,
            str(self.orders.server),
            counts=decision.counts,
            next_attempt_at=due,
            reason=decision.reason,
        )
        if decision.suppress:
            words = f"bad mailbox: {outcome.code} {outcome.reply}"[:300]
            self.ledger.suppress(one.address, words, f"mailing {self.mailing.name}", now)
        if not outcome.reached_rcpt and link.slot:
            self.ledger.release_slot(link.slot)
        state = decision.state
        if state is State.PLANNED:
            state = State.DEFERRED if one.attempts else State.PLANNED
            self.queue.add(one.id, one.domain, now)
        elif state is State.DEFERRED and due is not None:
            self.queue.add(one.id, one.domain, due)
        self._count(one, state)
        self._judge_session(outcome, decision, now)
        self._tell(one, state, outcome, decision)

    def _weigh(self, one: Delivery, outcome: Outcome) -> Outcome:
        """A refusal at RCPT that sounds as if it were about us is not, if others are accepted meanwhile."""
        accepted = self.accused.setdefault(one.id, self.progress.sent)
        if self.progress.sent > accepted:
            return replace(outcome, scope=Scope.RECIPIENT)
        return outcome

    def _count(self, one: Delivery, state: State) -> None:
        self.progress.counts[one.state] -= 1
        self.progress.counts[state] += 1
        if state not in OPEN_STATES:
            self.progress.done += 1
        if state is State.SENT:
            self.progress.sent += 1
        if state is State.UNKNOWN:
            self.in_doubt += 1

    def _judge_session(self, outcome: Outcome, decision: retry.Decision, now: float) -> None:
        words = f"{outcome.code} {outcome.reply}" if outcome.code else outcome.reason
        if decision.stop:
            self.refusals_of_us += 1
        elif outcome.verdict is Verdict.SENT:
            self.refusals_of_us = 0
        if decision.stop and (not outcome.reached_rcpt or self.refusals_of_us > 1 or len(self.queue) < 2):
            self.stop_error = ServerError(
                f"{self.orders.server} refuses us, not the recipient: {words}",
                "check OUTREACH_FROM and the login; nobody was charged for it, run again after that",
                exit_code=Exit.REFUSED,
            )
        if decision.trouble:
            self._had_trouble(now, words)
        elif outcome.verdict is Verdict.SENT:
            self.trouble = 0
        if outcome.verdict is Verdict.FAILED and outcome.scope is Scope.MESSAGE and self.orders.breaker:
            kind = f"{outcome.code} {outcome.enhanced}"
            self.refusal = (kind, self.refusal[1] + 1 if self.refusal[0] == kind else 1)
            if self.refusal[1] >= _EQUAL_REFUSALS:
                self.stop_error = StoppedError(
                    f"the server refused {self.refusal[1]} messages in a row: {words}",
                    "the letter or the sender looks like spam to it; change that, or ask the provider",
                )
        elif outcome.verdict is Verdict.SENT:
            self.refusal = ("", 0)

    def _had_trouble(self, now: float, words: str) -> None:
        if now < self.resume_at:
            return  # several sessions broke at once: one trouble
        self.trouble += 1
        self.resume_at = now + min(2.0 ** (self.trouble - 1) - 0.5, 60.0)
        if self.trouble >= _TROUBLE_LIMIT:
            self.stop_error = ServerError(
                f"{self.orders.server} broke off {self.trouble} sessions in a row: {words}",
                "nothing is lost; run the same command again later",
            )

    def _tell(self, one: Delivery, state: State, outcome: Outcome, decision: retry.Decision) -> None:
        if state in (State.SENT, State.PLANNED):
            return
        words = f"{outcome.code} {outcome.reply}" if outcome.code else outcome.reason
        again = ""
        if decision.next_attempt_at is not None:
            local = datetime.datetime.fromtimestamp(decision.next_attempt_at)
            again = f" (again at {local:%H:%M:%S})"
        self.observe(self.progress, f"{state}: {one.contact.email}: {words}{again}")

    # What goes next ----------------------------------------------------------------------------

    def _may_claim(self) -> bool:
        if self.stop_error or self.interrupts or not self._is_due(self.clock()):
            return False
        return any(link.session.phase is Phase.READY for link in self.links)

    def _is_due(self, now: float) -> bool:
        """Tell whether a mail may leave now, as far as is known without asking the ledger."""
        due = self._next_at()
        return due is not None and due <= now

    def _next_at(self) -> float | None:
        """Return when the next mail may leave; None when nothing is queued."""
        due = self.queue.next_at()
        return None if due is None else max(due, self.account_free_at, self.resume_at)

    def _account_free(self, now: float) -> float:
        history = self.ledger.history(account=self.orders.account)
        self.account_free_at = throttle.earliest(self.orders.rate, history)
        return self.account_free_at

    def _claim(self) -> list[_Link]:
        """Give each idle link the next mail that may leave. Runs inside the turn's transaction."""
        begun: list[_Link] = []
        if self.stop_error or self.interrupts:
            return begun
        now = self.clock()
        for link in self.links:
            if link.session.phase is not Phase.READY or link.delivery or link.mails >= _MAILS_PER_SESSION:
                continue
            if self._account_free(now) > now:
                break
            while (number := self.queue.pop(now, self._domain_free)) is not None:
                if self.ledger.claim(number, now):
                    one = self.ledger.delivery(number)
                    history = self.ledger.history(account=self.orders.account)
                    ideal = throttle.ideal(self.orders.rate, history, now)
                    link.slot = self.ledger.take_slot(self.orders.account, one.domain, now, ideal)
                    link.delivery, link.started_at = one, now
                    begun.append(link)
                    break
                self.progress.counts = self.ledger.counts(self.mailing)  # suppressed, or somebody else's
            if number is None:
                break
        if begun:
            self._account_free(now)
        return begun

    def _domain_free(self, domain: str) -> float:
        if not self.orders.rate_per_domain:
            return 0.0
        return throttle.earliest(self.orders.rate_per_domain, self.ledger.history(domain=domain))

    def _begin(self, link: _Link) -> None:
        one = link.delivery
        assert one is not None
        smtputf8 = address.needs_smtputf8(one.contact.email)
        try:
            data = self._message(one)
            refusal = link.session.refusal(data, smtputf8)
        except message.MessageError as error:
            data, refusal = b"", Outcome(Verdict.FAILED, Scope.RECIPIENT, reason=str(error))
        if refusal:
            with self.ledger.transaction():
                self._settle(link, refusal)
            return
        sender = self._version(one).sender
        link.session.begin(address.wire(sender.address), address.wire(one.contact.email), data, smtputf8)
        link.mails += 1

    def _version(self, one: Delivery) -> Frozen:
        if one.version_id not in self.frozen:  # revised by another process since this run began
            self.frozen = self.ledger.versions(self.mailing)
        return self.frozen[one.version_id]

    def _message(self, one: Delivery) -> bytes:
        frozen = self._version(one)
        letter = self.letters.get(one.version_id)
        if letter is None:
            letter = Letter(
                self.mailing.letter,
                frozen.sources,
                frozen.language,
                lambda name: self.ledger.file(frozen.files[name]),
            )
            self.letters[one.version_id] = letter
        rendered: Rendered = letter.render(one.contact, frozen.sender, frozen.reply_to, self.today)
        digest = message.content_hash(rendered, frozen.sender, frozen.reply_to, frozen.unsubscribe)
        if digest != one.content_hash:
            raise StoppedError(
                f"the letter to {one.contact.email} renders differently now than when it was planned",
                "another version of the program? go back to it, or say --revise to send it as it is now",
            )
        date = datetime.datetime.fromtimestamp(self.clock(), datetime.UTC)
        return message.build(
            rendered, one.contact, frozen.sender, frozen.reply_to, frozen.unsubscribe, one.message_id, date
        )

    # Connections -------------------------------------------------------------------------------

    def _open_more(self) -> None:
        """Open a session when a due mail finds none free."""
        now = self.clock()
        if self.opening or self.stop_error or self.interrupts or len(self.links) >= self.connections:
            return
        if any(link.session.phase in (Phase.READY, Phase.RESET) for link in self.links):
            return
        if self._is_due(now) and self._account_free(now) <= now:
            self.opening = Opening(
                self.orders.server, self.orders.user, self.orders.password, self.orders.ehlo_name, self._wake
            )

    def _take_opening(self) -> None:
        result = self.opening.result() if self.opening else None
        if result is None:
            return
        self.opening = None
        if isinstance(result, Opened):
            link = _Link(result.socket, Session(result.extensions))
            self.links.append(link)
            self.opened += 1
            self.selector.register(link.socket, link.events, link)
        elif self.links:
            self.connections = len(self.links)  # the server allows no more at once
        elif not self.opened or result.exit_code == Exit.REFUSED:
            self.stop_error = result
        else:
            self._had_trouble(self.clock(), result.message)
            self.observe(self.progress, f"{result.message}; trying again")

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self.wake_writer.send(b"\0")

    def _read(self, link: _Link) -> list[Event]:
        events: list[Event] = []
        while link.session.phase is not Phase.CLOSED:
            try:
                data = link.socket.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                return events + link.session.lost(f"the connection broke: {error.strerror or error}")
            if not data:
                return events + link.session.lost("the server closed the connection")
            link.deadline = None  # any answer starts the patience anew
            events += link.session.receive(data)
        return events

    def _write(self, link: _Link) -> None:
        outgoing = link.session.outgoing
        wants = selectors.EVENT_READ
        try:
            while outgoing:
                with memoryview(outgoing) as view:
                    count = link.socket.send(view[:_CHUNK])
                link.deadline = None
                link.session.wrote(count)
        except (BlockingIOError, ssl.SSLWantWriteError):
            wants |= selectors.EVENT_WRITE
        except ssl.SSLWantReadError:
            pass
        except OSError:
            pass  # reading will find the end of the connection, and what the server said before it
        if link.socket.fileno() >= 0 and wants != link.events:
            link.events = wants
            self.selector.modify(link.socket, wants, link)
        patience = link.session.patience
        if patience is None:
            link.deadline = None
        elif link.deadline is None:
            link.deadline = time.monotonic() + patience

    def _overdue(self) -> list[tuple[_Link, Event]]:
        tick = time.monotonic()
        found: list[tuple[_Link, Event]] = []
        for link in self.links:
            if link.deadline is not None and link.deadline <= tick:
                events = link.session.lost(f"the server was silent for {link.session.patience:.0f} s")
                found += [(link, event) for event in events]
            elif self.interrupts and link.session.busy and (self.interrupts > 1 or tick > self.grace_until):
                events = link.session.lost("the run was interrupted")
                found += [(link, event) for event in events]
        return found

    def _retire(self, link: _Link) -> None:
        """Close a session that has done its share, or that would idle for long."""
        if link.session.phase is not Phase.READY or link.delivery:
            return
        due = self._next_at()
        idle = due is None or due > self.clock() + _IDLE_SECONDS
        if idle or link.mails >= _MAILS_PER_SESSION:
            link.session.quit()

    def _drop(self, link: _Link) -> None:
        if link in self.links:
            self.links.remove(link)
            self.selector.unregister(link.socket)
            link.socket.close()

    def _say_goodbye(self) -> None:
        for link in self.links:
            link.session.quit()
            self._write(link)
        until = time.monotonic() + 2.0
        while self.links and time.monotonic() < until:
            for key, _ in self.selector.select(0.2):
                if isinstance(key.data, _Link) and any(
                    isinstance(event, Closed) for event in self._read(key.data)
                ):
                    self._drop(key.data)

    def close(self) -> None:
        """Let go of everything. A session cut here is settled by the next run."""
        if self.opening:
            self.opening.cancel()
        for link in list(self.links):
            self._drop(link)
        self.selector.close()
        self.wake_reader.close()
        self.wake_writer.close()
        self.ledger.end_run()

    # Signals and display -------------------------------------------------------------------------

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let the first signal finish what is open, and the second leave at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = [
            getattr(signal, name)
            for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
            if hasattr(signal, name)
        ]
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
        """Return when the queue would be empty if only the limits counted; 0 when nothing limits."""
        orders = self.orders
        if not (orders.rate or orders.rate_per_domain) or not 0 < len(self.queue) <= _FORESEE_MAILS:
            return 0.0
        history = self.ledger.history(account=orders.account)
        return throttle.simulate(self.queue.domains(), orders.rate, orders.rate_per_domain, now, history)[1]

    def _show(self, force: bool = False) -> None:
        tick = time.monotonic()
        if not force and tick < self.shown_at + 0.1:
            return
        self.shown_at = tick
        now, progress = self.clock(), self.progress
        next_at = self._next_at()
        progress.next_at = next_at if next_at is not None and next_at > now else None
        left = len(self.queue) + sum(link.session.busy for link in self.links)
        if tick >= self.foreseen_at + _FORESEE_SECONDS:
            self.foreseen_at, self.limits_end = tick, self._limits_end(now)
        gap = (now - progress.started_at) / progress.done if progress.done >= 3 else 0.0
        ends = max(self.limits_end or now + left * gap, next_at or 0.0)
        progress.ends_at = ends if left and ends > now else None
        self.observe(progress, "")
