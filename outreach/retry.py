"""Decide what happens after an attempt: again, stop, suppress, or hold the run.

Takes the Outcome that smtp.py made and answers with a Decision; delivery.py obeys it.
The time is an argument, nothing here sleeps; only the jitter is drawn here. Doubt counts as temporary.
Table: docs/architecture.md, "When a mail fails".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from outreach.model import Kind, Outcome, Scope, State, Verdict

_FREE_TRIES = 3  # a connection lost before the dot costs nothing, but not for ever


class Run(StrEnum):
    """What becomes of the run."""

    GO_ON = "go on"
    PAUSE = "pause"  # the session failed: open the next one a little later
    SLOW_DOWN = "slow down"  # the server wants less from us: wait as long as a recipient would
    STOP = "stop"  # the server refuses us, not the recipient


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the delivery, and of the run."""

    state: State
    next_attempt_at: float | None = None
    counts: bool = True  # whether the recipient is charged with this attempt
    suppress: bool = False
    run: Run = Run.GO_ON
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
            return Decision(State.UNKNOWN, run=Run.PAUSE, reason=outcome.reason)
        case Verdict.FAILED, Scope.SESSION:
            reason = "the server refuses the sender"
            return Decision(State.PLANNED, counts=False, run=Run.STOP, reason=reason)
        case Verdict.DEFERRED, Scope.SESSION if outcome.kind in (Kind.QUOTA, Kind.SLOW_DOWN, Kind.CROWDED):
            return Decision(State.PLANNED, counts=False, run=Run.SLOW_DOWN)
        case Verdict.DEFERRED, Scope.SESSION if not outcome.lost or losses < _FREE_TRIES:
            return Decision(State.PLANNED, counts=False, run=Run.PAUSE)
        case Verdict.FAILED, _:
            dead = outcome.scope is Scope.RECIPIENT and outcome.kind is Kind.BAD_MAILBOX
            return Decision(State.FAILED, suppress=dead, reason=outcome.reason or "refused for good")
    # Jitter upwards only: a greylisting server wants at least its time.
    when = now + step(attempts, steps) * random.uniform(1.0, 1.1)
    if when > first_attempt_at + give_up:
        return Decision(State.FAILED, reason=f"gave up after {attempts} attempt{'s' if attempts > 1 else ''}")
    return Decision(State.DEFERRED, when, run=Run.PAUSE if outcome.scope is Scope.SESSION else Run.GO_ON)


def step(attempts: int, steps: Sequence[int]) -> int:
    """Return how many seconds to wait after that many attempts (1 is the first)."""
    return steps[min(attempts, len(steps)) - 1]
