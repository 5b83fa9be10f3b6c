"""Decide what happens after an attempt: again, stop, suppress, or hold the run.

Takes the Outcome that smtp.py made and answers with a Decision; delivery.py obeys it.
The time is an argument, nothing here sleeps; only the jitter is drawn here. Doubt counts as temporary.
Table: docs/architecture.md, "When a mail fails".
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from outreach.model import Outcome, Scope, State, Verdict

# RFC 3463: bad mailbox, bad system, bad syntax, moved, null MX (RFC 7505), disabled mailbox.
_DEAD = ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1")
_DEAD_WORDS = re.compile(
    r"user unknown|unknown (user|recipient)|no such (user|recipient|mailbox)|mailbox not found"
    r"|(user|recipient|mailbox|account|address) (does not|doesn't) exist|invalid (recipient|mailbox)",
    re.IGNORECASE,
)
_FREE_TRIES = 3  # a connection lost before the dot costs nothing, but not for ever


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the delivery, and of the run."""

    state: State
    next_attempt_at: float | None = None
    counts: bool = True  # whether the recipient is charged with this attempt
    suppress: bool = False
    stop: bool = False  # the whole run stops: the server refuses us, not the recipient
    trouble: bool = False  # the session failed: open the next one later
    reason: str = ""


def decide(
    outcome: Outcome,
    attempts: int,
    losses: int,
    first_attempt_at: float,
    now: float,
    steps: Sequence[int],
    give_up: int,
) -> Decision:
    """Return the decision.

    `attempts` counts this one; `losses` counts lost connections for this recipient in this run;
    `steps` are the back-off seconds, the last one repeats until `give_up` seconds after the first attempt.
    """
    match outcome.verdict, outcome.scope:
        case Verdict.SENT, _:
            return Decision(State.SENT)
        case Verdict.UNKNOWN, _:
            return Decision(State.UNKNOWN, reason=outcome.reason, trouble=True)
        case Verdict.FAILED, Scope.SESSION:
            return Decision(State.PLANNED, counts=False, stop=True, reason="the server refuses the sender")
        case Verdict.DEFERRED, Scope.SESSION if not outcome.lost or losses < _FREE_TRIES:
            return Decision(State.PLANNED, counts=False, trouble=True)
        case Verdict.FAILED, _:
            return Decision(
                State.FAILED, suppress=is_dead(outcome), reason=outcome.reason or "refused for good"
            )
    step = steps[min(attempts, len(steps)) - 1]
    # Jitter upwards only: a greylisting server wants at least its time.
    when = now + step * random.uniform(1.0, 1.1)
    if when > first_attempt_at + give_up:
        return Decision(State.FAILED, reason=f"gave up after {attempts} attempt{'s' if attempts > 1 else ''}")
    return Decision(State.DEFERRED, when, trouble=outcome.scope is Scope.SESSION)


def is_dead(outcome: Outcome) -> bool:
    """Tell whether a refusal says that the mailbox does not exist, so that it is never tried again."""
    if outcome.verdict is not Verdict.FAILED or outcome.scope is not Scope.RECIPIENT:
        return False
    if outcome.enhanced:
        return outcome.enhanced in _DEAD
    return bool(_DEAD_WORDS.search(outcome.reply))
