"""May the next mail begin? The rules of throttle.py over the slots of the ledger, for one run.

Every run on a ledger has one, and all of them count together. A slot is taken with the claim, and counts from
the server's answer on; until then it counts as of now, so that a slow server cannot squeeze a window. Call
`take`, `close` and `slow_down` inside the transaction of the turn. Known limit: what another run is handing
over counts from its claim, so with a server that is slower than a limit's period, two runs may exceed it.
"""

from __future__ import annotations

from dataclasses import replace

from outreach import throttle
from outreach.ledger import Ledger
from outreach.pace import Pace, Slowed
from outreach.throttle import History, Slot

_LOOK = 1.0  # seconds after which the ledger is asked again what the server bears: another run may know more


class Turnstile:
    """What one run asks before each mail, and tells after it."""

    def __init__(self, ledger: Ledger, pace: Pace, account: str) -> None:
        """Let mails of an account through at a pace."""
        self.pace = pace
        self._ledger, self._wanted, self._account = ledger, pace, account
        self._under_way: set[int] = set()  # slots that the server has not answered yet
        self._looked_at: float | None = None

    def look(self, now: float) -> None:
        """Keep to what the server has asked for, whichever run it told."""
        if self._looked_at is None or not 0 <= now - self._looked_at < _LOOK:
            self._looked_at = now
            self.pace = self._ledger.slowed(self._account).applied(self._wanted, now)

    def account_free_at(self, now: float) -> float:
        """Return when the account may begin its next mail; 0 when nothing holds it."""
        if not (self.pace.rate or self.pace.least):
            return 0.0
        history = self._counted(self._ledger.history(account=self._account), now)
        return throttle.earliest(self.pace.rate, history, self.pace.gap)

    def domain_free_at(self, domain: str, now: float) -> float:
        """Return when the next mail to a recipient domain may begin; 0 when nothing holds it."""
        limits = self.pace.domains.of(domain)
        if not limits:
            return 0.0
        history = self._counted(self._ledger.history(domain=domain), now)
        return throttle.earliest(limits, history, self.pace.gap_of(domain))

    def take(self, domain: str, now: float) -> int:
        """Count a mail that begins now; return the number of its slot."""
        pace, ledger = self.pace, self._ledger
        ideal = domain_ideal = now
        if gap := pace.gap:
            ideal = throttle.ideal(pace.rate, ledger.history(account=self._account), now, gap)
        if gap := pace.gap_of(domain):
            domain_ideal = throttle.ideal(pace.domains.of(domain), ledger.history(domain=domain), now, gap)
        slot = ledger.take_slot(self._account, domain, now, ideal, domain_ideal)
        if pace.counts:
            self._under_way.add(slot)
        return slot

    def close(self, slot: int, now: float, counts: bool) -> None:
        """Hear that the server has answered; it does not count when the recipient was never named."""
        self._under_way.discard(slot)
        if not counts:
            self._ledger.release_slot(slot)
        elif self.pace.counts:
            self._ledger.close_slot(slot, now)

    def slow_down(self, now: float, resume_at: float, words: str) -> float:
        """Send at half the pace from now on, in all runs; return the seconds between two mails."""
        gap = throttle.halved(self._wanted.gap, self.pace.least, self._ledger.history(account=self._account))
        self._ledger.slow_down(self._account, Slowed(gap, now, resume_at, words))
        self._looked_at = None
        return gap

    def _counted(self, history: History, now: float) -> History:
        def nth(n: int) -> Slot | None:
            slot = history(n)
            return replace(slot, at=now) if slot is not None and slot.seed in self._under_way else slot

        return nth
