"""What a run may still send, and when: a queue in memory, by recipient domain.

A domain at its limit never holds up the others: it is put back until it is free. The agenda only proposes;
the ledger decides, by the claim. Pure: the time, and when a domain is free, are arguments. Times are seconds
since the epoch. Known limit: it holds one entry for each delivery of the run in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Agenda:
    """Deliveries with the time each is due, by recipient domain."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[float, int]]] = {}
        self._domains: list[tuple[float, int, str]] = []
        self._queued: set[int] = set()

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, number: int) -> bool:
        return number in self._queued

    def add(self, number: int, domain: str, due: float) -> None:
        """Queue a delivery for `due`."""
        heap = self._waiting.setdefault(domain, [])
        heapq.heappush(heap, (due, number))
        self._queued.add(number)
        if heap[0] == (due, number):
            heapq.heappush(self._domains, (due, number, domain))

    def domains(self) -> list[str]:
        """Return the recipient domain of everything queued."""
        return [domain for domain, heap in self._waiting.items() for _ in heap]

    def next_at(self) -> float | None:
        """Return when something is due, as far as is known; None when nothing is queued."""
        self._drop_stale()
        return self._domains[0][0] if self._domains else None

    def pop(self, now: float, domain_free_at: Callable[[str], float]) -> int | None:
        """Take the next delivery that is due and whose domain is free."""
        while True:
            self._drop_stale()
            if not self._domains or self._domains[0][0] > now:
                return None
            _, _, domain = heapq.heappop(self._domains)
            heap = self._waiting[domain]
            due, number = heap[0]
            free = max(due, domain_free_at(domain))
            if free > now:
                heapq.heappush(self._domains, (free, number, domain))
                continue
            heapq.heappop(heap)
            self._queued.discard(number)
            if heap:
                heapq.heappush(self._domains, (*heap[0], domain))
            return number

    def _drop_stale(self) -> None:
        """An entry counts only while it is about its domain's first delivery."""
        while self._domains:
            _, number, domain = self._domains[0]
            heap = self._waiting.get(domain)
            if heap and heap[0][1] == number:
                return
            heapq.heappop(self._domains)
