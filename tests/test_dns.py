"""The look-ups: "takes no mail" only when a name server said so, nobody asked in vain, always an end."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset
import nameserver
import pytest
from nameserver import Behaviour, about, after, code, cut_off, elsewhere, forged, garbage, has, silent

from outreach.dns import Finding, State, _system_resolver, check
from outreach.errors import Exit, ServerError

HERE = Path(__file__).parent
TAKES, NONE, UNKNOWN = State.TAKES_MAIL, State.NO_MAIL, State.UNKNOWN
SERVFAIL, REFUSED, NXDOMAIN = dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NXDOMAIN
SHORT = 0.3  # how long a server is waited for that never answers

MAIL = has(MX=["10 mx.internal."])
HOST = has(A=["192.0.2.1"])


def look(table: dict[str, Behaviour], *domains: str, seconds: float = 60.0) -> dict[str, Finding]:
    with nameserver.running(table) as server:
        return check(domains, server.resolver(seconds))


# Answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "state", "words"),
    [
        (MAIL, TAKES, "mail servers (MX)"),
        (has(MX=["10 gone.internal.", "20 mx.internal."]), TAKES, "mail servers (MX)"),
        (has(MX=["10 lame.internal."]), TAKES, "mail servers (MX)"),  # doubt about the host
        (has(MX=["10 six.internal."]), TAKES, "mail servers (MX)"),  # a host with AAAA only
        (has(MX=["0 .", "10 mx.internal."]), TAKES, "mail servers (MX)"),  # contradicts itself
        (has(MX=["10 mx.internal."], ttl=2**31 - 1), TAKES, "mail servers (MX)"),
        (has(MX=["10 mx.internal."], ttl=2**32 - 1), TAKES, "mail servers (MX)"),
        (has(MX=[f"{n} gone{n}.internal." for n in range(200)]), TAKES, "mail servers (MX)"),
        (has(A=["192.0.2.1"]), TAKES, "an address record"),
        (has(AAAA=["2001:db8::1"]), TAKES, "an address record"),
        (code(NXDOMAIN), NONE, "does not exist"),
        (has(MX=["0 ."]), NONE, "takes no mail (null MX, RFC 7505)"),
        (has(MX=["10 ."]), NONE, "takes no mail (null MX, RFC 7505)"),
        (has(MX=["10 gone.internal.", "20 away.internal."]), NONE, "mail servers that the domain names"),
        (has(MX=["10 localhost."]), NONE, "mail servers that the domain names"),
        (has(), NONE, "neither MX nor address records"),
        (has(TXT=["v=spf1"]), NONE, "neither MX nor address records"),
        (code(NXDOMAIN, "AAAA"), NONE, "neither MX nor address records"),  # of a type it does not know
        (has(CNAME=["alias.internal."]), NONE, "neither MX nor address records"),
    ],
)
def test_a_domain_takes_mail_as_its_records_say(behaviour: Behaviour, state: State, words: str) -> None:
    table = {
        "d.internal": behaviour,
        "mx.internal": HOST,
        "six.internal": has(AAAA=["2001:db8::1"]),
        "lame.internal": code(SERVFAIL),
    }
    finding = look(table, "d.internal")["d.internal"]
    assert (finding.state, words in finding.words) == (state, True), finding


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (silent, "did not answer"),
        (garbage, "did not answer"),  # nobody can say whose bytes these are
        (forged, "did not answer"),
        (code(SERVFAIL), "could not find out (SERVFAIL)"),
        (code(SERVFAIL, "A"), "could not find out (SERVFAIL)"),
        (code(SERVFAIL, "AAAA"), "could not find out (SERVFAIL)"),
        (code(REFUSED), "refused to answer (REFUSED)"),
        (code(dns.rcode.NOTIMP), "answered NOTIMP"),
        (code(dns.rcode.FORMERR), "answered FORMERR"),
        (code(dns.rcode.YXDOMAIN), "makes no sense"),
        (about("other.internal", "MX", "10 mx.internal."), "makes no sense"),
        (about("other.internal", "CNAME", "d.internal."), "makes no sense"),
        (about("d.internal", "A", "192.0.2.1"), "makes no sense"),  # MX was the question
        (about("d.internal", "CNAME", "d.internal."), "makes no sense"),  # a circle
        (elsewhere, "makes no sense"),
        (cut_off(silent), "did not bring the rest"),
        (cut_off(garbage), "makes no sense"),
    ],
)
def test_what_is_no_clear_answer_is_never_no_mail(behaviour: Behaviour, words: str) -> None:
    seconds = SHORT if words == "did not answer" else 60
    finding = look({"d.internal": behaviour}, "d.internal", seconds=seconds)["d.internal"]
    assert finding.state is UNKNOWN
    assert words in finding.words


def test_an_answer_that_was_cut_off_is_fetched_by_tcp() -> None:
    many = has(MX=[f"{n} a-mail-server-with-a-long-name-{n}.internal." for n in range(100)])
    table = {"d.internal": cut_off(many), "gone.internal": cut_off(code(NXDOMAIN))}
    with nameserver.running(table) as server:
        findings = check(["d.internal", "gone.internal"], server.resolver())
    assert findings["d.internal"].state is TAKES
    assert findings["gone.internal"].state is NONE
    assert ("d.internal", "MX", "tcp") in server.asked


def test_a_forged_answer_does_not_stand_before_the_true_one() -> None:
    table = {"d.internal": after(forged, after(garbage, MAIL)), "mx.internal": HOST}
    assert look(table, "d.internal")["d.internal"].state is TAKES


def test_an_alias_is_followed() -> None:
    def alias(query: nameserver.Query, tcp: bool) -> list[bytes]:
        message = nameserver.reply(query)
        for owner, kind, text in (
            ("d.internal.", "CNAME", "e.internal."),
            ("e.internal.", "MX", "1 mx.internal."),
        ):
            message.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, text))
        return [message.to_wire()]

    assert look({"d.internal": alias, "mx.internal": HOST}, "d.internal")["d.internal"].state is TAKES


# Who is asked what -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "domain", ["", ".", "@", "a..internal", "x" * 64 + ".internal", "ü.internal", "\ud800"]
)
def test_what_is_no_domain_name_is_not_asked_for(domain: str) -> None:
    with nameserver.running() as server:
        findings = check([domain], server.resolver())
    assert findings == {domain: Finding(NONE, "this is no domain name")}
    assert server.asked == []


def test_each_domain_is_asked_for_once_and_the_order_is_kept() -> None:
    domains = [f"d{n}.internal" for n in (3, 1, 2, 1, 3, 3)]
    with nameserver.running(dict.fromkeys(domains, HOST)) as server:
        findings = check(iter(domains), server.resolver())
    assert list(findings) == ["d3.internal", "d1.internal", "d2.internal"]
    assert sorted(server.asked) == sorted((name, kind, "udp") for name in findings for kind in ("MX", "A"))


def test_a_mail_server_of_many_domains_is_asked_for_once() -> None:
    domains = [f"d{n}.internal" for n in range(40)]
    with nameserver.running(dict.fromkeys(domains, MAIL) | {"mx.internal": HOST}) as server:
        findings = check(domains, server.resolver(), workers=1)
    assert {one.state for one in findings.values()} == {TAKES}
    assert server.count["mx.internal"] == 1


def test_the_search_list_of_the_system_adds_nothing() -> None:
    with nameserver.running() as server:
        resolver = server.resolver()
        resolver.search, resolver.use_search_by_default = [dns.name.from_text("office.internal.")], True
        assert check(["d.internal"], resolver)["d.internal"].state is NONE
    assert server.asked == [("d.internal", "MX", "udp")]


# Ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [32, 1000])
def test_at_most_32_look_ups_go_on_at_once(workers: int) -> None:
    together = threading.Barrier(32)  # without 32 at once nobody gets an answer
    lock, now, most = threading.Lock(), 0, 0

    def wait(query: nameserver.Query, tcp: bool) -> list[bytes]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait()
        with lock:
            now -= 1
        return HOST(query, tcp)

    domains = [f"d{n}.internal" for n in range(96)]
    with nameserver.running(dict.fromkeys(domains, wait)) as server:
        findings = check(domains, server.resolver(), workers=workers)
    assert {one.state for one in findings.values()} == {TAKES}
    assert most == 32


def test_what_is_open_at_the_deadline_is_unknown() -> None:
    domains = [f"d{n}.internal" for n in range(10)]
    over = Finding(UNKNOWN, "the time for the check was over")
    with nameserver.running(dict.fromkeys(domains, silent)) as server:
        findings = check(domains, server.resolver(5), deadline=SHORT, workers=2)
    assert findings == dict.fromkeys(domains, over)
    assert len(server.count) <= 2


def test_a_network_without_a_name_server_is_an_error_and_found_early() -> None:
    domains = [f"d{n}.internal" for n in range(1000)]
    with nameserver.running() as server, pytest.raises(ServerError, match="no name server answers") as caught:
        server.anything = silent
        check(domains, server.resolver(SHORT))
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert "--dns" in caught.value.hint
    assert len(server.count) < 100  # of 1000


def test_a_name_server_that_refuses_everything_is_an_error_with_its_words() -> None:
    domains = [f"d{n}.internal" for n in range(20)]
    with nameserver.running() as server, pytest.raises(ServerError, match=r"any of 20 .* \(REFUSED\)"):
        server.anything = code(REFUSED)
        check(domains, server.resolver())


def test_domains_whose_servers_are_silent_do_not_stop_the_others() -> None:
    dead = [f"d{n}.internal" for n in range(40)]
    with nameserver.running(dict.fromkeys(dead, silent)) as server:
        findings = check(["gone.internal", *dead, "away.internal"], server.resolver(1.5))
    assert {findings[domain].state for domain in dead} == {UNKNOWN}
    assert findings["gone.internal"].state is findings["away.internal"].state is NONE


def test_a_short_list_of_silent_domains_is_no_error() -> None:
    table = {f"d{n}.internal": silent for n in range(5)}
    findings = look(dict(table), *table, seconds=SHORT)
    assert {one.words for one in findings.values()} == {"the name server did not answer"}


@pytest.mark.parametrize("text", [None, "", "search office.internal\n"])
def test_no_name_server_in_the_settings_of_the_system_is_an_error(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "resolv.conf"
    if text is not None:
        file.write_text(text, encoding="ascii")
    with pytest.raises(ServerError, match="no name server is set up"):
        _system_resolver(str(file))


def test_no_setting_of_the_system_makes_a_question_longer(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.53\noptions timeout:30 attempts:9\n", encoding="ascii")
    resolver = _system_resolver(str(file))
    assert (resolver.timeout, resolver.lifetime) == (2, 6)


def test_ctrl_c_ends_the_program_while_nobody_answers() -> None:
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(HERE)!r})
import nameserver
from outreach.dns import check
with nameserver.running() as server:
    def press(query, tcp):
        os.kill(os.getpid(), signal.SIGINT)
        return []
    server.anything = press
    try:
        check(["d.internal"], server.resolver(3600), deadline=3600)
    except KeyboardInterrupt:
        print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
