"""Which limits hold for a recipient mail domain, and whether it is an institution.

An institution is every mail domain that freemail.toml does not have: a parliament, a party, a newspaper. Its
own mail server sees near-identical letters to many of its people; a free-mail provider is used to that.
The table never fails and is read once. Known limits: it cannot be complete, so a provider that is missing
counts as an institution until it is named in the setting; a domain counts for itself, its subdomains not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from outreach.model import Limit

_NAMED_SHOWN = 3


@cache
def _free_mail() -> frozenset[str]:
    data = tomllib.loads(Path(__file__).with_name("freemail.toml").read_text("utf-8"))
    return frozenset(domain for row in data["provider"] for domain in row["domains"])


def is_free_mail(domain: str) -> bool:
    """Tell whether a mail domain (a lower-case A-label) is a provider's, and not one institution's."""
    return domain in _free_mail()


@dataclass(frozen=True, slots=True)
class DomainLimits:
    """The limits of recipient mail domains: everybody's, those of institutions, those of named domains."""

    per_domain: tuple[Limit, ...] = ()
    per_institution: tuple[Limit, ...] = ()
    named: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)  # instead of per_institution

    def __bool__(self) -> bool:
        """Tell whether any domain has a limit."""
        return bool(self.per_domain or self.per_institution or any(self.named.values()))

    def of(self, domain: str) -> tuple[Limit, ...]:
        """Return the limits of one domain (a lower-case A-label); all hold at once."""
        if domain in self.named:
            return self.per_domain + self.named[domain]
        if self.per_institution and not is_free_mail(domain):
            return self.per_domain + self.per_institution
        return self.per_domain

    def words(self) -> list[str]:
        """Say them: 60/hour per mail domain, 6/day per institution, 60/day to parliament.example."""
        said = [f"{limit} per mail domain" for limit in self.per_domain]
        said += [f"{limit} per institution" for limit in self.per_institution]
        named = []
        for domain, limits in self.named.items():
            named += [f"{limit} to {domain}" for limit in limits]
            if self.per_institution and not limits:
                named.append(f"no institution limit to {domain}")
        said += named[:_NAMED_SHOWN]
        if len(named) > _NAMED_SHOWN:
            said.append(f"{len(named) - _NAMED_SHOWN} more for single domains")
        return said

    def without_each(
        self, held: Mapping[str, Collection[Limit]]
    ) -> Iterator[tuple[str, Limit, DomainLimits]]:
        """Yield each limit that holds one of these domains, in words, and what is left without it.

        `held` says which limits those are, whoever they come from.
        """
        for limit in dict.fromkeys(self.per_domain):
            if any(limit in some for some in held.values()):
                left = replace(self, per_domain=_without(self.per_domain, limit))
                yield f"{limit} per mail domain", limit, left
        for limit in dict.fromkeys(self.per_institution):
            if any(limit in some and self._is_general(domain) for domain, some in held.items()):
                left = replace(self, per_institution=_without(self.per_institution, limit))
                yield f"{limit} per institution", limit, left
        for domain, some in held.items():
            own = self.named.get(domain, ())
            for limit in dict.fromkeys(own):
                if limit in some:
                    left = replace(self, named={**self.named, domain: _without(own, limit)})
                    yield f"{limit} to {domain}", limit, left

    def _is_general(self, domain: str) -> bool:
        return domain not in self.named and not is_free_mail(domain)


def _without(limits: tuple[Limit, ...], one: Limit) -> tuple[Limit, ...]:
    return tuple(limit for limit in limits if limit != one)
