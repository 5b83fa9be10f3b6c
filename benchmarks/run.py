"""Measure what the documentation claims, side by side with peers in one run, as ratios.

    make bench

Each pair is run in turn, several times, and the medians are compared; absolute figures are printed too, but
machines differ and are shared: quote the ratios. Needs smtp-sink (Debian's package postfix) for the sending.
"""

from __future__ import annotations

import csv
import os
import queue
import shutil
import smtplib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from pathlib import Path

from jinja2 import Template

ROUNDS = 5
MAILS = 500
FAR_MAILS = 100
ROUND_TRIP = 0.05  # seconds
ROWS = (1_000, 10_000, 100_000)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OUTREACH_")} | {
    "OUTREACH_FROM": "Solidarity Committee <press@outreach.example>"
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"medians of {ROUNDS} rounds; ratio = ours / peer\n")
        compare("outreach --help", "python -c 'import click'", help_page, import_click)
        for rows in ROWS:
            write_people(folder / f"list-{rows}.csv", rows)
        reading(folder)
        if shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin") is None:
            print("smtp-sink is not installed: no figures for the sending")
            return
        write_list(folder / "contacts.csv", MAILS)
        (folder / "templates" / "hello").mkdir(parents=True)
        (folder / "templates" / "hello" / "en.md").write_text(
            "Subject: Hello\n\nDear {{ name }},\n\nplease help.\n"
        )
        with sink() as port:
            for connections in (1, 4):
                compare(
                    f"send {MAILS} letters, {connections} connection(s), durable ledger",
                    "smtplib loop, 1 connection, EmailMessage + Jinja2, no ledger",
                    lambda n=connections: send(folder, port, n),
                    lambda: smtplib_loop(folder / "contacts.csv", port),
                )
            compare(
                f"send {MAILS} letters, unlimited",
                "the same with the throttle taken out of the program",
                lambda: send(folder, port, 1),
                lambda: send(folder, port, 1, program=("-c", WITHOUT_THROTTLE)),
            )
            compare(
                f"send {MAILS} letters, five limits that never hold",
                "unlimited",
                lambda: send(folder, port, 1, rates=NEVER),
                lambda: send(folder, port, 1),
            )
            write_list(folder / "contacts.csv", FAR_MAILS)
            with far_away(port) as far:
                compare(
                    f"send {FAR_MAILS} letters to a server 50 ms away, 1 connection",
                    "smtplib loop, 1 connection, the same way",
                    lambda: send(folder, far, 1),
                    lambda: smtplib_loop(folder / "contacts.csv", far),
                )


def compare(ours: str, peer: str, run_ours: Callable[[], object], run_peer: Callable[[], object]) -> None:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for bucket, run in zip(times, (run_ours, run_peer), strict=True):
            start = time.perf_counter()
            run()
            bucket.append(time.perf_counter() - start)
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    print(f"{ours:55} {statistics.median(times[0]):8.3f} s")
    print(f"  {peer:53} {statistics.median(times[1]):8.3f} s   ratio {ratio:.2f}\n")


def run_outreach(folder: Path, *arguments: str, program: Sequence[str] = ("-m", "outreach")) -> None:
    subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def run_python(code: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def help_page() -> None:
    run_outreach(Path(), "--help")


def import_click() -> None:
    run_python("import click")


def reading(folder: Path) -> None:
    """Lists of growing size: rate against email-validator alone, and memory of the whole command."""
    print(
        f"{'reading a list (contacts.read)':34} {'rows':>8} {'rows/s':>9} {'validator':>9}"
        f"  {'ratio':>5}   memory a row"
    )
    first: tuple[int, int] | None = None
    for rows in ROWS:
        path = folder / f"list-{rows}.csv"
        figures = []
        for _ in range(ROUNDS if rows < max(ROWS) else 1):
            done = subprocess.run(
                [sys.executable, "-c", READ_AND_VALIDATE, str(path)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            figures.append([float(word) for word in done.stdout.split()])
        ours, peer = (statistics.median(column) for column in zip(*figures, strict=True))
        ratio = statistics.median(b / a for a, b in figures)
        memory = peak_memory("contacts", "check", str(path), "--json")
        first = first or (rows, memory)
        more = (memory - first[1]) / (rows - first[0]) if rows > first[0] else 0.0
        said = f"{more:.0f} bytes beyond {first[0]} rows" if more else f"{memory / 1e6:.0f} MB in all"
        print(f"{'':34} {rows:8} {rows / ours:9.0f} {rows / peer:9.0f}  {ratio:5.2f}   {said}")
    print()


def peak_memory(*arguments: str) -> int:
    """Run the program; return the most memory it had, in bytes (Linux counts kilobytes)."""
    command = [sys.executable, "-m", "outreach", *arguments]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    return used.ru_maxrss * 1024


# Both in one process, in turn, so that they meet the same noise: seconds of ours, seconds of the peer.
READ_AND_VALIDATE = """
import csv, sys, time
from pathlib import Path
from email_validator import validate_email
from outreach import contacts, languages
path = Path(sys.argv[1])
mails = [row["email"] for row in csv.DictReader(path.open(encoding="utf-8"))]
validate_email(mails[0], check_deliverability=False)
languages.country_code("Russia")
ours = peer = 0.0
for _ in range(3 if len(mails) < 50_000 else 1):
    start = time.process_time()
    assert len(contacts.read([path]).contacts) == len(mails)
    ours += time.process_time() - start
    start = time.process_time()
    for mail in mails:
        validate_email(mail, check_deliverability=False)
    peer += time.process_time() - start
print(ours, peer)
"""


PEOPLE = ("email", "name", "audience", "organisation", "country", "language", "gender", "title", "city")


def write_people(path: Path, count: int) -> None:
    """Write a list as real ones are: names with accents, countries by name, addresses of many shapes."""
    given = ("Anna", "Zoë", "José", "Иван", "Li", "Fatima")
    family = ("Müller", "Lee", "Петров", "García", "Nowak")
    with path.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(PEOPLE)
        for n in range(count):
            mail = (
                f"{('office', 'o.brien', 'Info')[n % 3]}{n}@{('', 'mail.')[n % 2]}party{n % 4999}.example.org"
            )
            if n % 50 == 0:
                mail = mail.replace("party", "brücke")
            name = f"{given[n % 6]} {family[n % 5]} {n}"
            country = ("DE", "France", "Österreich", "")[n % 4]
            table.writerow(
                [mail, name, "party", f"Union {n % 4999}", country, "de", "fm"[n % 2], "Dr", "Oslo"]
            )


def write_list(path: Path, count: int) -> None:
    rows = [f"person{n}@d{n % 97}.example.org,Person {n},party,DE,en" for n in range(count)]
    path.write_text("email,name,audience,country,language\n" + "\n".join(rows) + "\n")


UNLIMITED = ("--rate", "unlimited", "--rate-per-domain", "unlimited")
NEVER = (
    "--rate",
    "100000/second, 1000000/minute, 100000000/day",
    "--rate-per-domain",
    "100000/second, 1000000/hour",
)
# What would be left of the program if it knew no limits at all.
WITHOUT_THROTTLE = """
from outreach import turnstile
nothing = lambda *given: 0
for name in ("look", "account_free_at", "domain_free_at", "take", "close"):
    setattr(turnstile.Turnstile, name, nothing)
from outreach.cli import main
main()
"""


def send(
    folder: Path,
    port: int,
    connections: int,
    rates: Sequence[str] = UNLIMITED,
    program: Sequence[str] = ("-m", "outreach"),
) -> None:
    for left in folder.glob("outreach.db*"):
        left.unlink()
    os.environ["OUTREACH_SMTP_URL"] = ENVIRONMENT["OUTREACH_SMTP_URL"] = f"smtp://127.0.0.1:{port}"
    run_outreach(folder, "-q", "send", "--yes", *rates, "--connections", str(connections), program=program)


def smtplib_loop(contacts: Path, port: int) -> None:
    letter = Template("Dear {{ name }},\n\nplease help.\n")
    with contacts.open() as rows, smtplib.SMTP("127.0.0.1", port) as server:
        for row in csv.DictReader(rows):
            mail = EmailMessage()
            mail["From"], mail["To"], mail["Subject"] = "press@outreach.example", row["email"], "Hello"
            mail.set_content(letter.render(row))
            mail.add_alternative(f"<p>{letter.render(row)}</p>", subtype="html")
            server.send_message(mail)


@contextmanager
def far_away(port: int) -> Iterator[int]:
    """Hand bytes on, each half the round trip later: a server that is not on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hand_on(source: socket.socket, target: socket.socket) -> None:
            waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

            def write() -> None:
                while True:
                    due, data = waiting.get()
                    time.sleep(max(due - time.monotonic(), 0.0))
                    if not data:
                        return
                    with suppress(OSError):
                        target.sendall(data)

            threading.Thread(target=write, daemon=True).start()
            with suppress(OSError):
                while data := source.recv(65536):
                    waiting.put((time.monotonic() + ROUND_TRIP / 2, data))
            waiting.put((0.0, b""))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near = listener.accept()[0]
                    far = socket.create_connection(("127.0.0.1", port))
                    for one in (near, far):
                        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=hand_on, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


@contextmanager
def sink() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    command = shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin") or ""
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([command, *user, f"127.0.0.1:{port}", "100"])
    try:
        for _ in range(50):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
