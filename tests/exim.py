"""A real Exim for the tests: one private mail server per call of `run()`, beside `postfix.py`.

It listens on 127.0.0.1 alone, on a free port, and puts every mail to any recipient into one Maildir, one file
for each recipient, with the headers Envelope-to, Delivery-date and Return-path. Addresses that begin with
`gone` or `-gone` get 550 instead, and those that begin with `busy` get 451 the first time. It has no SMTP
transport and no router but the one to the Maildir, and asks no DNS, so no mail leaves it; it neither reads
nor changes /etc/exim4. Any number can run side by side.

What makes it another server than Postfix: it ends a session with 554 when a client sends commands ahead that
it may not (`smtp_enforce_sync`), and after ten commands too many that mail nothing, such as RSET
(`smtp_accept_max_nonmail`). Both are as Exim comes, as is its end of a session after 1000 mails.

It needs root, the user Debian-exim (compiled into Debian's Exim) and the program of Debian's package
exim4-daemon-light. That package cannot be installed beside postfix, so `.ci/run install` puts the program
alone into /opt/outreach-tests; EXIM=path names another one. `available()` says what is missing, `require()`
skips the test then. A server that does not greet is a RuntimeError with the end of its log. Exim's user must
reach its files, which it cannot in pytest's tmp_path: as with Postfix it runs in a folder beside that.

Limits: no login. Mail arrives a moment after it was accepted (use `wait()`), not always in the order of
sending. After a killed test run the server is gone within a second, its log and mails too.
"""

import atexit
import contextlib
import functools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import postfix
from postfix import HOST, PATH

USER = "Debian-exim"
PROGRAMS = ("/usr/sbin/exim4", "/opt/outreach-tests/exim4")
INSTALL = "bash .ci/run install"

CONFIG = """\
exim_path = {program}
spool_directory = {home}/spool
log_file_path = {home}/log/%s.log
log_selector = +pipelining
notifier_socket =
keep_environment =
primary_hostname = mail.example.org
qualify_domain = example.org
disable_ipv6
# No DNS, no questions to the client's machine.
host_lookup =
rfc1413_hosts =

# Every mail is delivered at once and as Exim's own user: no queue, no second start of the program as root.
deliver_drop_privilege
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
check_spool_space = 0
check_spool_inodes = 0
check_log_space = 0
check_log_inodes = 0

pipelining_advertise_hosts = {pipelining}
pipelining_connect_advertise_hosts =
tls_advertise_hosts = {starttls}
tls_certificate = {home}/server.pem
acl_smtp_rcpt = recipient

begin acl
recipient:
  deny local_parts = ^-?gone
    message = 550 5.1.1 Unrouteable address
  defer local_parts = ^busy
    !seen = 1d / key=$local_part@$domain
    message = 451 4.2.1 Mailbox busy, try again later
  accept

begin routers
all:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  user = {user}
  directory = {home}/Maildir
  maildir_format
  envelope_to_add
  delivery_date_add
  return_path_add
"""


@dataclass
class Exim(postfix.Postfix):
    """A running server with the same handles as a Postfix, but no login: user and password are empty."""


def available() -> str | None:
    """What is missing for `run()`, in one sentence, or None."""
    if reason := postfix.unfit():
        return reason
    program = _program()
    if not Path(program).exists():
        return f"the test mail server lacks {program}: {INSTALL}"
    if trouble := _trouble(program):
        return f"{program} does not run ({trouble}): {INSTALL}"
    return None


def require() -> None:
    """Skip the running test when no server can run here; fail it under REQUIRE_SERVERS=1."""
    postfix.skip_without(available())


@contextlib.contextmanager
def run(folder: Path, *, starttls: bool = False, pipelining: bool = True) -> Iterator[Exim]:
    """Run one server; `folder` gets its CA file, and in the end its log and Maildir."""
    if reason := available():
        raise RuntimeError(reason)
    home = Path(tempfile.mkdtemp(prefix="exim-")).resolve()
    try:
        server = _start(home, folder, starttls, pipelining)
    except BaseException:
        shutil.rmtree(home)
        raise
    atexit.register(server.stop)
    try:
        yield server
    finally:
        server.stop()


def _program() -> str:
    if named := os.environ.get("EXIM"):
        return named
    return next((program for program in PROGRAMS if Path(program).exists()), PROGRAMS[-1])


@functools.cache
def _trouble(program: str) -> str:
    """What Exim says when it cannot even tell its version: of a missing library or user."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "exim.conf")
        config.write_text(f"spool_directory = {folder}\nkeep_environment =\n")  # none in /var, no warning
        config.chmod(0o644)
        command = [program, "-C", str(config), "-bV"]
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": PATH}, check=False)
    return done.stderr.strip() or f"exit {done.returncode}" if done.returncode else ""


def _start(home: Path, folder: Path, starttls: bool, pipelining: bool) -> Exim:
    ca_file, log, maildir = folder / f"{home.name}-ca.pem", home / "log/main.log", home / "Maildir"
    home.chmod(0o755)
    for name in ("log", "spool", "Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"):
        (home / name).mkdir(mode=0o700)
        shutil.chown(home / name, USER)
    log.touch()
    shutil.chown(log, USER)
    postfix._certify(home / "server.pem", ca_file)
    shutil.chown(home / "server.pem", USER)
    config = home / "exim.conf"
    config.write_text(
        CONFIG.format(
            program=_program(),
            home=home,
            user=USER,
            pipelining="*" if pipelining else "",
            starttls="*" if starttls else "",
        )
    )
    config.chmod(0o644)  # whatever the umask is: Exim takes no file that others may write
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        daemon = _launch(config, listener)
    try:
        if not postfix._greets(port, daemon):
            raise RuntimeError(f"Exim did not start; the end of its log:\n{_said(home)}")
        watcher = postfix._watch(home, daemon)
    except BaseException:
        postfix._end(daemon)
        raise
    return Exim(HOST, port, ca_file, "", "", maildir, log, home, folder, daemon, watcher)


def _launch(config: Path, listener: socket.socket) -> subprocess.Popen[bytes]:
    """Run Exim on a socket that listens already, as inetd would: no other program can take the port."""
    with (config.parent / "log/start.log").open("wb") as said:
        return subprocess.Popen(
            [_program(), "-C", str(config), "-bw"],
            stdin=listener.fileno(),
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={"PATH": PATH},
        )


def _said(home: Path) -> str:
    return "\n".join(postfix._tail(log) for log in sorted((home / "log").glob("*.log")))
