"""Ask the name servers whether a domain takes mail. Only on demand: whoever is asked learns the domains.

By RFC 5321 §5.1: MX records, without them an address record. A domain takes no mail when it does not exist,
says so itself (null MX, RFC 7505), has neither record, or when none of the hosts in its MX exists. Only such
an answer counts as "no mail"; silence, a refusal and nonsense are "unknown". Names are absolute, so the
search list of the system adds nothing to them. Nothing is written to disk.
Fails with ServerError (69) when no name server is set up, when the first look-ups get no answer at all, or
when nothing was found out about any domain of a longer list. It then concerns the network, not the list.
Known limits: only the name servers of the system, in plain text, past any proxy; /etc/hosts is not read; a
network that answers for domains which do not exist makes them look alive; nothing is said about mailboxes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from outreach.errors import ServerError

_DEADLINE_SECONDS = 300.0  # for all domains together
_MOST_WORKERS = 32
_TRY_SECONDS, _QUERY_SECONDS = 2.0, 6.0  # one packet, one question
_ENOUGH = 20  # so many look-ups without any result blame the network
_MOST_HOSTS = 16  # in MX records; whoever lists more is not looked into
_HINT = "check the network, and try again; without --dns the list is checked and nobody is asked"


class State(StrEnum):
    """Whether a domain takes mail."""

    TAKES_MAIL = "takes-mail"
    NO_MAIL = "no-mail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about a domain, and why, in words for the list's owner."""

    state: State
    words: str


_MX = Finding(State.TAKES_MAIL, "the domain has mail servers (MX)")
_ADDRESS = Finding(State.TAKES_MAIL, "the domain has no MX, but an address record, where mail goes then")
_NO_NAME = Finding(State.NO_MAIL, "this is no domain name")
_MISSING = Finding(State.NO_MAIL, "the domain does not exist")
_NULL_MX = Finding(State.NO_MAIL, "the domain says that it takes no mail (null MX, RFC 7505)")
_NO_HOST = Finding(State.NO_MAIL, "the mail servers that the domain names (MX) do not exist")
_NO_RECORD = Finding(State.NO_MAIL, "the domain has neither MX nor address records")
_SILENT = Finding(State.UNKNOWN, "the name server did not answer")
_CUT_OFF = Finding(State.UNKNOWN, "the name server's answer was cut off, and TCP did not bring the rest")
_NONSENSE = Finding(State.UNKNOWN, "the name server's answer makes no sense")
_FAILED = Finding(State.UNKNOWN, "the name server could not find out (SERVFAIL)")
_REFUSED = Finding(State.UNKNOWN, "the name server refused to answer (REFUSED)")
_NO_TIME = Finding(State.UNKNOWN, "the time for the check was over")


def check(
    domains: Iterable[str],
    resolver: dns.resolver.Resolver | None = None,
    deadline: float = _DEADLINE_SECONDS,
    workers: int = _MOST_WORKERS,
) -> dict[str, Finding]:
    """Find out for each domain (A-label) whether it takes mail; what is open after `deadline` is unknown."""
    findings: dict[str, Finding] = {}
    names: dict[str, dns.name.Name] = {}
    for domain in dict.fromkeys(domains):
        name = _name(domain)
        if name is None:
            findings[domain] = _NO_NAME
        else:
            findings[domain] = _NO_TIME  # until there is an answer
            names[domain] = name
    if names:
        _look_up(names, findings, resolver or _system_resolver(), deadline, workers)
    return findings


def _name(domain: str) -> dns.name.Name | None:
    """Return the absolute name, or None when no name server can be asked for that."""
    try:
        name = dns.name.from_text(domain.encode("ascii"))
    except (UnicodeError, dns.exception.DNSException):
        return None
    return None if name == dns.name.root else name


def _system_resolver(file: str = "/etc/resolv.conf") -> dns.resolver.Resolver:
    try:
        resolver = dns.resolver.Resolver(file)
    except dns.resolver.NoResolverConfiguration:
        raise ServerError("no name server is set up on this machine", _HINT) from None
    resolver.timeout, resolver.lifetime = _TRY_SECONDS, _QUERY_SECONDS
    return resolver


def _look_up(
    names: dict[str, dns.name.Name],
    findings: dict[str, Finding],
    resolver: dns.resolver.Resolver,
    deadline: float,
    workers: int,
) -> None:
    end = time.monotonic() + deadline
    work = _Work(names, resolver)
    done, known = 0, 0
    try:
        for _ in range(max(1, min(workers, _MOST_WORKERS, len(names)))):
            # Not an executor: its threads are waited for at exit, and Ctrl-C would take seconds.
            threading.Thread(target=work.run, daemon=True, name="dns").start()
        while done < len(names):
            domain, finding = work.found.get(timeout=max(0.0, end - time.monotonic()))
            findings[domain] = finding
            done += 1
            known += finding.state is not State.UNKNOWN
            if done >= _ENOUGH and not work.answered:
                raise ServerError(f"no name server answers (asked about {done} domains)", _HINT)
    except queue.Empty:
        pass
    finally:
        work.stop.set()
    if done >= _ENOUGH and not known:
        raise ServerError(f"nothing could be found out about any of {done} domains: {finding.words}", _HINT)


class _Unknown(Exception):
    """A question stays open; carries the finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.words)
        self.finding = finding


class _Work:
    """What the threads share. Nobody waits for them: after `stop` they end with their question."""

    def __init__(self, names: dict[str, dns.name.Name], resolver: dns.resolver.Resolver) -> None:
        self._resolver = resolver
        self._waiting: queue.SimpleQueue[tuple[str, dns.name.Name]] = queue.SimpleQueue()
        for pair in names.items():
            self._waiting.put(pair)
        self.found: queue.SimpleQueue[tuple[str, Finding]] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.answered = False  # by any name server, whatever it said
        # Many domains share a mail server. Two threads may ask for one at the same time, which is harmless.
        self._missing_hosts: dict[dns.name.Name, bool] = {}

    def run(self) -> None:
        """Take domains until there are none."""
        while not self.stop.is_set():
            try:
                domain, name = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                finding = self._judge(name)
            except _Unknown as error:
                finding = error.finding
            except Exception as error:  # an unforeseen failure must not leave the others waiting
                finding = Finding(State.UNKNOWN, f"the look-up failed ({type(error).__name__})")
            self.found.put((domain, finding))

    def _judge(self, name: dns.name.Name) -> Finding:
        try:
            records = self._ask(name, dns.rdatatype.MX)
        except dns.resolver.NXDOMAIN:
            return _MISSING
        if records:
            return self._judge_hosts(
                [record.exchange for record in sorted(records, key=lambda record: record.preference)]
            )
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                if self._ask(name, kind):
                    return _ADDRESS
            except dns.resolver.NXDOMAIN:
                pass  # the answer about MX said that it exists; some say this of types they do not know
        return _NO_RECORD

    def _judge_hosts(self, hosts: Sequence[dns.name.Name]) -> Finding:
        hosts = [host for host in hosts if host != dns.name.root]
        if not hosts:
            return _NULL_MX
        if len(hosts) <= _MOST_HOSTS and all(self._is_missing(host) for host in hosts):
            return _NO_HOST
        return _MX

    def _is_missing(self, host: dns.name.Name) -> bool:
        missing = self._missing_hosts.get(host)
        if missing is None:
            missing = False
            try:
                self._ask(host, dns.rdatatype.A)
            except dns.resolver.NXDOMAIN:
                missing = True
            except _Unknown:
                pass  # the domain names a mail server; doubt about that one is no reason to warn
            self._missing_hosts[host] = missing
        return missing

    def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> list[Any]:
        """Return the records, none if the name has none of this kind; raise NXDOMAIN or _Unknown."""
        if self.stop.is_set():
            raise _Unknown(_NO_TIME)
        try:
            answer = self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            self.answered = True
            raise
        except (dns.resolver.LifetimeTimeout, dns.resolver.NoNameservers) as error:
            finding = _why(error.kwargs.get("errors") or ())
            self.answered = self.answered or finding is not _SILENT
            raise _Unknown(finding) from None
        except dns.exception.DNSException:
            self.answered = True
            raise _Unknown(_NONSENSE) from None
        self.answered = True
        if answer.rrset is None and not _says_none(answer):
            raise _Unknown(_NONSENSE)
        return list(answer.rrset or ())


def _says_none(answer: dns.resolver.Answer) -> bool:
    """Tell an answer that there is no such record from one that is about something else (RFC 2308 §2.2)."""
    if answer.response.answer and not answer.chaining_result.cnames:
        return False
    kinds = {records.rdtype for records in answer.response.authority}
    return dns.rdatatype.NS not in kinds or dns.rdatatype.SOA in kinds  # else: "ask those over there"


def _why(errors: Iterable[tuple[Any, ...]]) -> Finding:
    """Return why a question stayed open, by the last try that was answered."""
    for *_, problem, response in reversed(list(errors)):
        if response is not None:
            match response.rcode():
                case dns.rcode.SERVFAIL:
                    return _FAILED
                case dns.rcode.REFUSED:
                    return _REFUSED
                case dns.rcode.NOERROR | dns.rcode.NXDOMAIN:
                    return _NONSENSE
                case code:
                    return Finding(State.UNKNOWN, f"the name server answered {dns.rcode.to_text(code)}")
        if isinstance(problem, dns.message.Truncated):
            return _CUT_OFF
        if isinstance(problem, dns.exception.FormError):
            return _NONSENSE
    return _SILENT
