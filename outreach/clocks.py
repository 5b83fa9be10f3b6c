"""The two clocks of a run: the time of day, which people and other programs set, and one that nobody sets.

The steady one counts while the machine sleeps (Linux: CLOCK_BOOTTIME; macOS: CLOCK_MONOTONIC; Windows: the
monotonic one), so the difference of the two changes only when the time of day was set. `boot` names the time
between two starts of the machine, in which two readings of the steady clock can be compared across processes.
Times are seconds. Known limit: only Linux names its boot; elsewhere a clock that was set forward between two
runs looks like time that has passed.
"""

from __future__ import annotations

import selectors
import time
from functools import cache
from pathlib import Path
from typing import Any

_STEADY = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


class Clock:
    """This machine's clocks, and the waiting for something to happen. Tests have one that jumps."""

    longest_wait = 1.0  # seconds that nobody looks at the clock

    @property
    def boot(self) -> str:
        """Return what this run of the machine is called; empty when it has no name."""
        return _boot()

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch."""
        return time.time()

    def steady(self) -> float:
        """Return seconds that nobody sets, sleep included."""
        return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)

    def awake(self) -> float:
        """Return seconds that nobody sets; where the system tells the two apart, without sleep."""
        return time.monotonic()

    def select(
        self, selector: selectors.BaseSelector, seconds: float, idle: bool
    ) -> list[tuple[selectors.SelectorKey, Any]]:
        """Wait for a socket, at most so long; `idle` says that no server owes an answer."""
        return selector.select(seconds)


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
