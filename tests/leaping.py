"""A clock for tests that leaps over the time in which nothing happens, and machines that share a ledger.

`Leaping` is for the real sending loop: where it would wait for the clock, the clock moves on; where it
waits for the server, real time passes. `Machine` is for the turnstile alone: its time of day can be set, it
can sleep and be started anew, and the steady seconds of a start never know of it.
"""

from __future__ import annotations

import selectors
import time
from dataclasses import dataclass
from typing import Any

from outreach.clocks import Clock


class Leaping(Clock):
    """A clock that begins anywhere, and leaps where nothing would happen."""

    longest_wait = 7 * 86400.0
    boot = "a start of this machine"  # type: ignore[assignment]

    def __init__(self, start: float) -> None:
        self.start, self.leapt, self.began = start, 0.0, time.monotonic()
        self.set = 0.0  # seconds that somebody set the time of day by
        self.slept = 0.0

    def now(self) -> float:
        return self.start + self.steady() + self.set

    def steady(self) -> float:
        return time.monotonic() - self.began + self.leapt

    def awake(self) -> float:
        return self.steady() - self.slept

    def sleep(self, seconds: float) -> None:
        """Close the lid for some time."""
        self.leapt += seconds
        self.slept += seconds

    def select(
        self, selector: selectors.BaseSelector, seconds: float, idle: bool
    ) -> list[tuple[selectors.SelectorKey, Any]]:
        if not idle:
            return selector.select(min(seconds, 0.5))
        if found := selector.select(0):
            return found
        self.leapt += seconds
        return []


@dataclass
class Machine:
    """True time, what the clock on the wall says, and how long the machine runs."""

    true: float
    set_by: float = 0.0
    started: float = 0.0
    boots: int = 0

    @property
    def wall(self) -> float:
        return self.true + self.set_by

    @property
    def steady(self) -> float:
        return self.true - self.started

    @property
    def boot(self) -> str:
        return f"start {self.boots}"

    def restart(self) -> None:
        self.boots += 1
        self.started = self.true
