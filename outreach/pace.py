"""Everything that holds letters back, as one value: limits of the account and of domains, sending hours.

What the settings say, plus what the ledger adds for a run: how much the server bears, and until when it is
left alone. throttle.py works out times from it, agenda.py the order, forecast.py the end. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outreach.institutions import DomainLimits
from outreach.model import Limit
from outreach.windows import ALWAYS, Window

_DAY = 86400
_FORGOTTEN = 10  # days after which nothing is left of a request


def spacing(limits: Sequence[Limit], share: float = 1.0) -> float:
    """Return the mean gap between two mails in seconds; 0 when unlimited.

    Of a day only the open `share` can be used, so what a day allows is spread over that.
    """
    return max(
        (limit.seconds * (share if limit.seconds >= _DAY else 1.0) / limit.count for limit in limits),
        default=0.0,
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """What holds letters back."""

    rate: tuple[Limit, ...] = ()
    domains: DomainLimits = field(default_factory=DomainLimits)
    window: Window = ALWAYS
    least: float = 0.0  # seconds between two mails: the server has asked for less
    resume_at: float = 0.0  # seconds since the epoch: nothing leaves before

    def __bool__(self) -> bool:
        """Tell whether anything holds letters back."""
        return bool(self.counts or self.window or self.resume_at)

    @property
    def counts(self) -> bool:
        """Tell whether what was sent before matters."""
        return bool(self.rate or self.domains or self.least)

    @property
    def gap(self) -> float:
        """Return the mean seconds between two mails of the account."""
        return max(spacing(self.rate, self.window.share), self.least)

    def gap_of(self, domain: str) -> float:
        """Return the mean seconds between two mails to a recipient domain, as far as its limits say."""
        return spacing(self.domains.of(domain), self.window.share)

    def __str__(self) -> str:
        """Say it: 100/hour, 400/day, 60/hour per mail domain, mon-fri 09:00-18:00."""
        said = [*map(str, self.rate), *self.domains.words()] or ["unlimited"]
        return ", ".join([*said, *([str(self.window)] if self.window else [])])


@dataclass(frozen=True, slots=True)
class Slowed:
    """What is known of the last time that a server asked an account for less."""

    gap: float = 0.0  # seconds between two mails, from then on
    asked_at: float = 0.0
    resume_at: float = 0.0  # nothing leaves before
    words: str = ""  # the server's

    def least(self, now: float) -> float:
        """Return the seconds between two mails that are left of it: half as many with every day of peace."""
        days = max(0, int((now - self.asked_at) // _DAY))
        return self.gap / 2**days if days < _FORGOTTEN else 0.0

    def applied(self, pace: Pace, now: float) -> Pace:
        """Return a pace that keeps to it."""
        least, resume_at = self.least(now), self.resume_at if self.resume_at > now else 0.0
        return replace(pace, least=least, resume_at=resume_at) if least or resume_at else pace
