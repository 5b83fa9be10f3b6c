"""A real name server on loopback, UDP and TCP, for tests of the look-ups.

It answers by a table {name: behaviour}; what is not in the table does not exist. `asked` is its own record of
every question, written before the answer leaves. The names are under .internal, which is nobody's and which
the program, unlike .example, does ask for.
"""

from __future__ import annotations

import contextlib
import socketserver
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset

Query = dns.message.QueryMessage
# What leaves for a question; the flag says whether it came by TCP.
Behaviour = Callable[[Query, bool], list[bytes]]


def reply(query: Query, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Query:
    message = dns.message.make_response(query, recursion_available=True)
    message.set_rcode(rcode)
    assert isinstance(message, Query)
    return message


def has(ttl: int = 60, **records: Sequence[str]) -> Behaviour:
    """The name exists, with these records and no others."""

    def answer(query: Query, tcp: bool) -> list[bytes]:
        message, question = reply(query), query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        if kind in records or "CNAME" in records:
            kind = kind if kind in records else "CNAME"
            message.answer.append(dns.rrset.from_text(question.name, ttl, "IN", kind, *records[kind]))
        return [message.to_wire()]

    return answer


def code(rcode: dns.rcode.Rcode, kind: str = "") -> Behaviour:
    """Every question, or the one for this type, is answered with this code; the others with no records."""

    def answer(query: Query, tcp: bool) -> list[bytes]:
        asked = dns.rdatatype.to_text(query.question[0].rdtype)
        return [reply(query, rcode if kind in ("", asked) else dns.rcode.NOERROR).to_wire()]

    return answer


unheard_of = code(dns.rcode.NXDOMAIN)


def silent(query: Query, tcp: bool) -> list[bytes]:
    return []


def garbage(query: Query, tcp: bool) -> list[bytes]:
    return [b"\xff" * 40, query.id.to_bytes(2, "big") + b"\x81\x80\x00\x01"]


def cut_off(whole: Behaviour) -> Behaviour:
    """By UDP only the note that there is more; the rest by TCP."""

    def answer(query: Query, tcp: bool) -> list[bytes]:
        if tcp:
            return whole(query, tcp)
        message = reply(query)
        message.flags |= dns.flags.TC
        return [message.to_wire()]

    return answer


def about(other: str, kind: str, text: str) -> Behaviour:
    """The question comes back as it was, with a record of another name or of another type."""

    def answer(query: Query, tcp: bool) -> list[bytes]:
        message = reply(query)
        message.answer.append(dns.rrset.from_text(other + ".", 60, "IN", kind, text))
        return [message.to_wire()]

    return answer


def elsewhere(query: Query, tcp: bool) -> list[bytes]:
    """A referral: no answer, only who might know."""
    message = reply(query)
    message.authority.append(dns.rrset.from_text("internal.", 60, "IN", "NS", "ns.elsewhere.internal."))
    return [message.to_wire()]


def forged(query: Query, tcp: bool) -> list[bytes]:
    """Somebody who guesses: first the number is wrong, then the question; "no such name" in both."""
    wrong = reply(query, dns.rcode.NXDOMAIN)
    wrong.id = query.id ^ 1
    other = reply(dns.message.make_query("other.internal.", query.question[0].rdtype), dns.rcode.NXDOMAIN)
    other.id = query.id
    return [wrong.to_wire(), other.to_wire()]


def after(first: Behaviour, then: Behaviour) -> Behaviour:
    """Both answers to the same question, one behind the other."""
    return lambda query, tcp: [*first(query, tcp), *then(query, tcp)]


@dataclass
class NameServer:
    """The server's side of a test."""

    table: dict[str, Behaviour] = field(default_factory=dict)
    anything: Behaviour = unheard_of  # for names that are not in the table
    port: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def resolver(self, seconds: float = 60.0) -> dns.resolver.Resolver:
        """A resolver that asks here, and asks once."""
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], self.port
        resolver.timeout = resolver.lifetime = seconds
        return resolver

    @property
    def count(self) -> Counter[str]:
        """How often each name was asked for, whatever the type."""
        return Counter(name for name, *_ in self.asked)

    def answers(self, wire: bytes, tcp: bool) -> list[bytes]:
        query = dns.message.from_wire(wire)
        assert isinstance(query, Query)
        name = query.question[0].name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((name, kind, "tcp" if tcp else "udp"))
        return self.table.get(name, self.anything)(query, tcp)


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False
    max_packet_size = 65535


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _free_pair(udp: type[Any], tcp: type[Any]) -> tuple[_Udp, _Tcp]:
    """Both servers on one port; another one when somebody has half of it."""
    for _ in range(100):
        stream = _Tcp(("127.0.0.1", 0), tcp)
        try:
            return _Udp(stream.server_address, udp), stream
        except OSError:
            stream.server_close()
    raise AssertionError("no port is free for both UDP and TCP")


@contextlib.contextmanager
def running(table: dict[str, Behaviour] | None = None) -> Iterator[NameServer]:
    """Run a name server for the length of a with block."""
    server = NameServer(table or {})

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, sock = self.request
            for answer in server.answers(wire, tcp=False):
                with contextlib.suppress(OSError):
                    sock.sendto(answer, self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, struct.error):
                (length,) = struct.unpack("!H", self.rfile.read(2))
                for answer in server.answers(self.rfile.read(length), tcp=True):
                    self.wfile.write(struct.pack("!H", len(answer)) + answer)

    packets, streams = _free_pair(Udp, Tcp)
    server.port = packets.server_address[1]
    for each in (packets, streams):
        Thread(target=each.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        for each in (packets, streams):
            each.shutdown()
            each.server_close()
