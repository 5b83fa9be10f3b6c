"""A real Dovecot for the tests: one private IMAP server per call of `run()`, beside `postfix.py`.

It listens on 127.0.0.1 alone, on two free ports: one with STARTTLS that takes logins without it too, one with
TLS. It has one user, of any name, and their mail is one Maildir with INBOX, Junk and Sent (special use, RFC
6154). It has no way to send, so no mail leaves it; it neither reads nor changes /etc/dovecot. Any number can
run side by side. A mail is delivered by a file in the Maildir, and seen as by any other client: `snapshot()`
reads everything over a connection of its own, without changing it.

It needs root and Debian's package dovecot-imapd: `available()` says what is missing, `require()` skips the
test then. A server that does not greet in 20 s is a RuntimeError with the end of its log. Dovecot's own users
must reach its files, so it runs in a folder beside pytest's; `stop()` brings log and Maildir over.

Limits: other folders than those three have to be made by a client. After a killed test run the server is gone
within a second, its log and mails too.
"""

import atexit
import contextlib
import imaplib
import itertools
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import postfix
from postfix import HOST, PATH

PROGRAM = "/usr/sbin/dovecot"
INSTALL = "apt-get install dovecot-imapd"
START_SECONDS = 20.0
# What Dovecot 2.3 offers, without IDLE and without LIST-EXTENDED.
NO_IDLE = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE LITERAL+ UIDPLUS NAMESPACE SPECIAL-USE UNSELECT"

CONFIG = """\
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
instance_name = {home.name}
protocols = imap
listen = 127.0.0.1
verbose_proctitle = no
default_vsz_limit = 512 M
mail_location = maildir:{home}/Maildir
mail_max_userip_connections = 0
{capability}

ssl = {ssl}
ssl_cert = <{home}/server.pem
ssl_key = <{home}/server.pem
disable_plaintext_auth = no
auth_mechanisms = plain
# No penalty for wrong passwords, and no delay.
auth_failure_delay = 0
passdb {{
  driver = static
  args = user={user} password={password}
}}
userdb {{
  driver = static
  args = uid={nobody.pw_uid} gid={nobody.pw_gid} home={home}/Home
}}
first_valid_uid = 1
first_valid_gid = 1

namespace inbox {{
  inbox = yes
  separator = /
  mailbox Junk {{
    special_use = \\Junk
    auto = create
  }}
  mailbox Sent {{
    special_use = \\Sent
    auto = create
  }}
}}

service imap-login {{
  process_min_avail = 1
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  client_limit = 1000
}}
"""

Mails = dict[int, tuple[frozenset[str], int, bytes]]


@dataclass
class Dovecot:
    """A running server. After `stop()`, `maildir` and `log` are in the folder given to `run()`."""

    host: str
    port: int
    tls_port: int
    ca_file: Path
    user: str
    password: str
    maildir: Path
    log: Path
    _home: Path = field(repr=False)
    _folder: Path = field(repr=False)
    _master: subprocess.Popen[bytes] = field(repr=False)
    _watcher: subprocess.Popen[bytes] = field(repr=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def deliver(self, raw: bytes, folder: str = "INBOX", at: float | None = None) -> Path:
        """Put a mail into a folder, as a mail server would; `at` is when it arrived."""
        place = self._place(folder)
        name = f"{time.time():017.6f}.{next(self._numbers):06d}.test"
        draft, mail = place / "tmp" / name, place / "new" / name
        draft.write_bytes(raw)
        shutil.chown(draft, "nobody")
        if at is not None:
            os.utime(draft, (at, at))
        return draft.rename(mail)

    @contextlib.contextmanager
    def client(self) -> Iterator[imaplib.IMAP4]:
        """Another client, logged in."""
        context = ssl.create_default_context(cafile=self.ca_file)
        with imaplib.IMAP4_SSL(self.host, self.tls_port, ssl_context=context, timeout=5) as client:
            client.login(self.user, self.password)
            yield client

    def folders(self) -> list[str]:
        """Names as the server writes them."""
        with self.client() as client:
            _, lines = client.list()
        return sorted(line.decode().rsplit(' "/" ', 1)[1].strip('"') for line in lines)

    def snapshot(self) -> dict[str, Mails]:
        """All that there is, by folder and UID: flags with \\Recent, size, bytes. Changes nothing."""
        found = {}
        names = self.folders()
        with self.client() as client:
            for name in names:
                client.select(f'"{name}"', readonly=True)
                _, answer = client.uid("FETCH", "1:*", "(FLAGS RFC822.SIZE BODY.PEEK[])")
                found[name] = dict(_parsed(answer))
        return found

    def uid_validity(self, folder: str = "INBOX") -> int:
        with self.client() as client:
            _, (answer,) = client.status(f'"{folder}"', "(UIDVALIDITY)")
        return int(re.search(rb"UIDVALIDITY (\d+)", answer)[1])

    def change_uidvalidity(self, folder: str = "INBOX") -> None:
        """Make the server forget its numbers of the mails, which then get new ones."""
        before = self.uid_validity(folder)
        place = self._place(folder)
        for path in [*place.glob("dovecot-uidlist*"), *place.glob("dovecot.index*")]:
            path.unlink()
        assert self.uid_validity(folder) != before

    def expunge(self, uids: Iterable[int], folder: str = "INBOX") -> None:
        """Remove mails for good, as another client does."""
        with self.client() as client:
            client.select(f'"{folder}"')
            client.uid("STORE", ",".join(map(str, uids)), "+FLAGS.SILENT", r"(\Deleted)")
            client.expunge()

    def clear(self) -> None:
        """Remove all mails, and all folders but the three."""
        names = self.folders()
        with self.client() as client:
            for name in names:
                if name in ("INBOX", "Junk", "Sent"):
                    client.select(f'"{name}"')
                    client.uid("STORE", "1:*", "+FLAGS.SILENT", r"(\Deleted)")
                    client.expunge()
                else:
                    client.delete(f'"{name}"')

    def stop(self) -> None:
        """Stop the server, if it still runs, and keep its mails and its log."""
        _end(self._master)
        self._watcher.kill()
        self._watcher.communicate()
        if self._home.exists():
            self.maildir = Path(shutil.move(self.maildir, self._folder / f"{self._home.name}-Maildir"))
            self.log = Path(shutil.move(self.log, self._folder / f"{self._home.name}.log"))
            shutil.rmtree(self._home)
        atexit.unregister(self.stop)

    def _place(self, folder: str) -> Path:
        return self.maildir if folder == "INBOX" else self.maildir / f".{folder.replace('/', '.')}"


def available() -> str | None:
    """What is missing for `run()`, in one sentence, or None."""
    if not Path(PROGRAM).exists() or not Path("/usr/lib/dovecot/imap").exists():
        return f"the test IMAP server is missing: {INSTALL}"
    return postfix.unfit()


def require() -> None:
    """Skip the running test when no server can run here; fail it under REQUIRE_SERVERS=1."""
    postfix.skip_without(available())


@contextlib.contextmanager
def run(
    folder: Path, *, idle: bool = True, starttls: bool = True, password: str | None = None
) -> Iterator[Dovecot]:
    """Run one server; `folder` gets its CA file, and in the end its log and Maildir."""
    if reason := available():
        raise RuntimeError(reason)
    home = Path(tempfile.mkdtemp(prefix="dovecot-")).resolve()
    try:
        server = _start(home, folder, idle, starttls, password or secrets.token_urlsafe(12))
    except BaseException:
        shutil.rmtree(home)
        raise
    atexit.register(server.stop)
    try:
        yield server
    finally:
        server.stop()


def _start(home: Path, folder: Path, idle: bool, starttls: bool, password: str) -> Dovecot:
    user = "press@outreach.example"
    ca_file, log, maildir = folder / f"{home.name}-ca.pem", home / "dovecot.log", home / "Maildir"
    home.chmod(0o755)
    inside = [maildir / place / name for place in ("", ".Junk", ".Sent") for name in ("new", "cur", "tmp")]
    for path in (home / "Home", maildir, maildir / ".Junk", maildir / ".Sent", *inside):
        path.mkdir()
        path.chmod(0o700)
        shutil.chown(path, "nobody")
    _certify(home / "server.pem", ca_file)
    ports, master = _launch(home, log, user, password, idle, starttls)
    try:
        watcher = _watch(home, master)
    except BaseException:
        _end(master)
        raise
    return Dovecot(HOST, *ports, ca_file, user, password, maildir, log, home, folder, master, watcher)


def _launch(
    home: Path, log: Path, user: str, password: str, idle: bool, starttls: bool
) -> tuple[tuple[int, int], subprocess.Popen[bytes]]:
    """Start Dovecot on free ports. Somebody may take one before Dovecot does; then on others."""
    for _ in range(5):
        ports = _free_ports()
        config = CONFIG.format(
            home=home,
            user=user,
            password=password,
            nobody=pwd.getpwnam("nobody"),
            port=ports[0],
            tls_port=ports[1],
            ssl="yes" if starttls else "no",
            capability="" if idle else f"imap_capability = {NO_IDLE}",
        )
        (home / "dovecot.conf").write_text(config)
        (home / "dovecot.conf").chmod(0o600)
        with log.open("ab") as output:
            master = subprocess.Popen(
                [PROGRAM, "-F", "-c", str(home / "dovecot.conf")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={"PATH": PATH},
            )
        try:
            if _greets(ports[0], master):
                return ports, master
        except BaseException:
            _end(master)
            raise
        _end(master)
        if "Address already in use" not in log.read_text(errors="replace"):
            break
    raise RuntimeError(f"Dovecot did not start; the end of its log:\n{_tail(log)}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for held in (one, other):
            held.bind((HOST, 0))
        return one.getsockname()[1], other.getsockname()[1]


def _certify(server_pem: Path, ca_file: Path) -> None:
    import trustme  # not at the top: these tests are skipped where it is missing

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca_file))
    certificate = authority.issue_cert("localhost", HOST).private_key_and_cert_chain_pem
    certificate.write_to_path(str(server_pem))
    server_pem.chmod(0o600)


def _watch(home: Path, master: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """A shell that outlives a killed test run: at the end of its input it clears the server away."""
    script = 'read -r _; kill -s KILL -- "-$1"; sleep 0.5; rm -rf -- "$2"'
    return subprocess.Popen(
        ["sh", "-c", script, "sh", str(master.pid), str(home)], stdin=subprocess.PIPE, start_new_session=True
    )


def _greets(port: int, master: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_SECONDS
    while master.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=2) as client:
            if client.recv(512).startswith(b"* OK"):
                client.sendall(b"a LOGOUT\r\n")
                return True
        time.sleep(0.02)
    return False


def _end(master: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the master, which passes it on; then a kill for what is left."""
    master.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        master.wait(timeout=0.2)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(master.pid, signal.SIGKILL)
    master.wait()


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _parsed(answer: list[object]) -> Iterator[tuple[int, tuple[frozenset[str], int, bytes]]]:
    """What imaplib makes of a FETCH: a pair of the line and the literal for each mail."""
    for item in answer:
        if isinstance(item, tuple):
            line, raw = item
            flags = re.search(rb"FLAGS \(([^)]*)\)", line)[1].decode().split()
            uid, size = (int(re.search(rb"%s (\d+)" % name, line)[1]) for name in (b"UID", b"RFC822.SIZE"))
            yield uid, (frozenset(flags), size, raw)
