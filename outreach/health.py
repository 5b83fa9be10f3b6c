"""How a run is doing with its server: go on, pause, slow down, or stop.

One recipient's trouble is retry.py's matter; this is about what concerns all. A lost session pauses the run,
"too much from you" slows it down, a refusal of the account stops it, and so does the breaker. Whatever is
accepted in between makes it forget the trouble before. Pure: the time is an argument, nothing here sleeps.
Table: docs/architecture.md, "When a mail fails".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from outreach import retry
from outreach.breaker import Breaker
from outreach.errors import Exit, OutreachError, ServerError, StoppedError
from outreach.model import Kind, Outcome, Scope, Verdict
from outreach.retry import Decision, Run
from outreach.times import clock

_TROUBLES = 12  # failed sessions in a row before the run stops: about twenty minutes
_LONGEST_PAUSE = 300.0  # seconds
_REFUSED_ALONE = 2  # runs in which the last recipient was refused as if it were our fault
_SLOWED = 8  # times in a row


def one_too_many(outcome: Outcome, others: int) -> bool:
    """Tell whether a session was closed only because there are several: `others` go on."""
    return outcome.kind is Kind.CROWDED and outcome.code == 421 and others > 0


class Health:
    """What the answers of one run mean for the run. `stop` is why it must end, once it must."""

    def __init__(self, server: str, steps: Sequence[int], breaker: bool = True) -> None:
        """`steps` are the back-off seconds, as for a deferred recipient."""
        self.stop: OutreachError | None = None
        self.resume_at = 0.0  # nothing leaves before
        self.asked_at = 0.0  # when the server last asked for less
        self._server, self._steps = server, steps
        self._breaker = Breaker() if breaker else None
        self._troubles = self._slowed = 0
        self._sent = 0
        self._refusals = 0  # of us, in a row
        self._accused: dict[int, int] = {}  # delivery → how many were accepted when it first was refused so

    def weigh(self, number: int, outcome: Outcome, left: int, before: Callable[[], int]) -> Outcome:
        """Reconsider a refusal at RCPT or later that sounds as if it were about us.

        It is about its recipient if others were accepted since this delivery was first refused so; if it is
        the last one and others were accepted in this run; or if it was refused so in two runs `before`.
        A used-up quota is nobody's fault but ours.
        """
        if (outcome.verdict, outcome.scope) != (Verdict.FAILED, Scope.SESSION) or not outcome.reached_rcpt:
            return outcome
        accepted = self._accused.setdefault(number, self._sent)
        alone = (
            left == 0 and outcome.kind is not Kind.QUOTA and (self._sent > 0 or before() >= _REFUSED_ALONE)
        )
        return replace(outcome, scope=Scope.RECIPIENT) if self._sent > accepted or alone else outcome

    def saw(self, outcome: Outcome, decision: Decision, now: float, left: int, others: int) -> str:
        """Take an outcome; return what people should be told, or an empty string.

        `left` deliveries wait; `others` sessions live beside the one that this came from.
        """
        words = f"{outcome.code} {outcome.reply}" if outcome.code else outcome.reason
        note = ""
        if outcome.verdict is Verdict.SENT:
            self._sent += 1
            self._troubles = self._slowed = self._refusals = 0
        match decision.run:
            case Run.STOP:
                self._refusals += 1
                if outcome.kind is Kind.QUOTA and self._refusals == 1:
                    self.asked_at = now
                if not outcome.reached_rcpt or self._refusals > 1 or left < 2:
                    self._stop(self._refused(outcome, words))
            case Run.SLOW_DOWN if not one_too_many(outcome, others):
                note = self.slow_down(now, words, outcome.kind)
            case Run.PAUSE | Run.SLOW_DOWN:
                self.had_trouble(now, words)
        if self._breaker and (why := self._breaker.saw(outcome)):
            hint = "change what it is about, or ask the provider; the next run counts anew"
            self._stop(StoppedError(why, hint))
        return note

    def complained(self, complaints: int, sent: int) -> None:
        """Take how many people complained since the run began, and how many have got the letter."""
        if self._breaker and (why := self._breaker.complained(complaints, sent)):
            self._stop(
                StoppedError(
                    why,
                    "read the complaints before anything else leaves: outreach replies list --kind complaint",
                )
            )

    def had_trouble(self, now: float, words: str) -> None:
        """Pause after a session that failed, longer each time."""
        if now < self.resume_at:
            return  # several sessions broke at once: one trouble
        self._troubles += 1
        self.resume_at = now + min(2.0 ** (self._troubles - 1) - 0.5, _LONGEST_PAUSE)
        if self._troubles >= _TROUBLES:
            message = f"{self._server} broke off {self._troubles} sessions in a row: {words}"
            self._stop(ServerError(message, "nothing is lost; run the same command again later"))

    def slow_down(self, now: float, words: str, kind: Kind) -> str:
        """Pause as long as a recipient would wait, longer each time; return what people should be told."""
        if now < self.resume_at:
            return ""
        self._slowed += 1
        if kind is not Kind.CROWDED:
            self.asked_at = now
        self.resume_at = now + retry.step(self._slowed, self._steps)
        if self._slowed < _SLOWED:
            return f"the server wants less from us ({words}); going on {clock(self.resume_at)}"
        message = f"{self._server} wants less from us, {self._slowed} times in a row: {words}"
        self._stop(StoppedError(message, "lower OUTREACH_RATE; run the same command again later"))
        return ""

    def _stop(self, error: OutreachError) -> None:
        self.stop = self.stop or error

    def _refused(self, outcome: Outcome, words: str) -> OutreachError:
        if outcome.kind is Kind.QUOTA:
            return StoppedError(
                f"the sending limit of the account at {self._server} is used up: {words}",
                "nobody was charged; wait (often a day), lower OUTREACH_RATE, run the same command again",
            )
        return ServerError(
            f"{self._server} refuses us, not the recipient: {words}",
            "check OUTREACH_FROM and the login; nobody was charged for it, run again after that",
            exit_code=Exit.REFUSED,
        )
