"""A real Postfix for the tests: one private mail server per call of `run()`.

It listens on 127.0.0.1 alone, on a free port, and puts every mail to any recipient into one Maildir, with
the headers Delivered-To and X-Original-To; only our own address has a mailbox beside it, which may be that of
an IMAP server, and what comes back goes there: recipients that are asked for are accepted, and then their
mail is returned. It has no SMTP client and asks no DNS, so no mail leaves it; it neither reads nor changes
/etc/postfix or a Postfix that runs already. Any number can run side by side.

It needs root and Debian's packages postfix, sasl2-bin and libsasl2-modules: `available()` says what is
missing, `require()` skips the test then. A server that does not greet in 20 s is a RuntimeError with the end
of its log. Postfix's own users must reach its files, which they cannot in pytest's tmp_path, so it runs in a
folder of its own beside that; `stop()` brings log and Maildir over into the caller's folder.

Limits: mail arrives a moment after it was accepted (use `wait()`), not always in the order of sending. After
a killed test run the server is gone within a second, its log and mails too.
"""

import atexit
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HOST = "127.0.0.1"
START_SECONDS = 20.0
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
MASTER = "/usr/lib/postfix/sbin/master"
INSTALL = "apt-get install postfix sasl2-bin libsasl2-modules"

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
meta_directory = {home}/config
maillog_file = {home}/mail.log
maillog_file_prefixes = {home}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.org
myorigin = example.org

# Every domain is ours and every address has the same mailbox, but for those in the file transport: our own,
# and those that bounce. Nothing is sent on or looked up.
mydestination =
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:Maildir/
virtual_mailbox_base = {home}
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
transport_maps = texthash:{home}/config/transport
recipient_delimiter = +
# What bounces is accepted first.
smtpd_reject_unlisted_recipient = no
local_transport = virtual
local_recipient_maps =
default_transport = error:this test server sends nothing on
relay_transport = $default_transport
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_peername_lookup = no
notify_classes =
# Mail arrives as it was sent: no header is added or completed.
local_header_rewrite_clients =

# No brakes: tests send hundreds of mails, and wrong ones too.
in_flow_delay = 0s
smtpd_client_event_limit_exceptions = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0s
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 10000
smtpd_junk_command_limit = 10000

smtpd_discard_ehlo_keywords = {discarded}

smtpd_tls_security_level = {tls_level}
smtpd_tls_auth_only = {starttls}
smtpd_tls_chain_files = {home}/config/server.pem
smtpd_sasl_auth_enable = {login}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = {recipients}
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
own unix - n n - - virtual
  -o virtual_mailbox_base={own.parent}
  -o virtual_mailbox_maps=static:{own.name}/
  -o virtual_uid_maps=static:{owner.pw_uid}
  -o virtual_gid_maps=static:{owner.pw_gid}
  -o virtual_minimum_uid=1
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

NO_SUCH_USER = "5.1.1 User unknown in virtual mailbox table"

# smtpd.conf, in the folder sasl of the configuration: Debian's Postfix looks there whatever main.cf says.
SASL_CONF = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {home}/config/sasl/sasldb2
mech_list: PLAIN LOGIN
"""


@dataclass
class Postfix:
    """A running server. After `stop()`, `maildir` and `log` are in the folder given to `run()`.

    So is `own`, our own mailbox, if the server made it. An Exim has none.
    """

    host: str
    port: int
    ca_file: Path
    user: str
    password: str
    maildir: Path
    log: Path
    _home: Path = field(repr=False)
    _folder: Path = field(repr=False)
    _master: subprocess.Popen[bytes] = field(repr=False)
    _watcher: subprocess.Popen[bytes] = field(repr=False)
    own: Path = Path(os.devnull)

    def messages(self, *, own: bool = False) -> list[bytes]:
        """All mails in the Maildir, or in our own mailbox, in the order of their delivery."""
        maildir = self.own if own else self.maildir
        files = [file for name in ("new", "cur") for file in (maildir / name).glob("*")]
        return [file.read_bytes() for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]

    def wait(self, count: int, seconds: float = 20.0, *, own: bool = False) -> list[bytes]:
        """All mails, as soon as there are `count` or more; a TimeoutError after `seconds`."""
        end = time.monotonic() + seconds
        while len(found := self.messages(own=own)) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(found)} of {count} mails in {seconds} s; log:\n{_tail(self.log)}")
            time.sleep(0.02)
        return found

    def stop(self) -> None:
        """Stop the server, if it still runs, and keep its mails and its log."""
        _end(self._master)
        self._watcher.kill()
        self._watcher.communicate()
        if self._home.exists():
            self.maildir = Path(shutil.move(self.maildir, self._folder / f"{self._home.name}-Maildir"))
            if self.own.is_relative_to(self._home):
                self.own = Path(shutil.move(self.own, self._folder / f"{self._home.name}-Own"))
            self.log = Path(shutil.move(self.log, self._folder / f"{self._home.name}.log"))
            shutil.rmtree(self._home)
        atexit.unregister(self.stop)


def available() -> str | None:
    """What is missing for `run()`, in one sentence, or None."""
    missing = [name for name in (MASTER, "saslpasswd2") if not shutil.which(name, path=PATH)]
    if missing or not any(Path("/usr/lib").glob("*/sasl2/libplain.so")):
        return f"the test mail server lacks {', '.join(missing) or 'SASL modules'}: {INSTALL}"
    return unfit()


def unfit() -> str | None:
    """What a private server of any kind lacks here, in one sentence, or None."""
    if os.geteuid() != 0:
        return "the test mail server needs root: run the tests as root, for example in a container"
    if importlib.util.find_spec("trustme") is None:
        return "the test mail server lacks the Python package trustme: pip install trustme"
    temp = Path(tempfile.gettempdir()).resolve()
    if closed := [path for path in (temp, *temp.parents) if not path.stat().st_mode & 0o001]:
        return f"other users cannot enter {closed[0]}: set TMPDIR to a folder that they can, such as /tmp"
    return None


def require() -> None:
    """Skip the running test when no server can run here; fail it under REQUIRE_SERVERS=1."""
    skip_without(available())


def skip_without(reason: str | None) -> None:
    """Skip the running test for this reason, if there is one; fail it under REQUIRE_SERVERS=1."""
    if reason and os.environ.get("REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@contextlib.contextmanager
def run(
    folder: Path,
    *,
    starttls: bool = True,
    login: bool = True,
    pipelining: bool = True,
    own: Path | None = None,
    own_address: str = "press@outreach.example",
    bouncing: Sequence[str] = (),
) -> Iterator[Postfix]:
    """Run one server; `folder` gets its CA file, and in the end its log and Maildir.

    Mail to `own_address`, with or without `+anything`, goes to the Maildir `own`: an empty or used folder
    that is there already, as its owner, who must not be root. Without `own` the server makes one.
    Mail to an address of `bouncing` (ASCII) is accepted, then returned to its envelope sender: 5.1.1.
    """
    if reason := available():
        raise RuntimeError(reason)
    home = Path(tempfile.mkdtemp(prefix="postfix-")).resolve()
    try:
        own = home / "Own" if own is None else _reachable(own)
        route = {own_address: "own:"} | dict.fromkeys(bouncing, f"error:{NO_SUCH_USER}")
        server = _start(home, folder, starttls, login, pipelining, own, route)
    except BaseException:
        shutil.rmtree(home)
        raise
    atexit.register(server.stop)
    try:
        yield server
    finally:
        server.stop()


def _reachable(own: Path) -> Path:
    """The real path of a folder; a ValueError if its owner is root, or cannot write into it."""
    own = own.resolve()
    owner = _owner(own)
    done = subprocess.run(
        ["test", "-w", str(own), "-a", "-x", str(own)],
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    if owner.pw_uid == 0 or done.returncode:
        raise ValueError(f"{own} must belong to a user, not root, who can enter and write it")
    return own


def _owner(path: Path) -> pwd.struct_passwd:
    return pwd.getpwuid(path.stat().st_uid)


def _start(
    home: Path,
    folder: Path,
    starttls: bool,
    login: bool,
    pipelining: bool,
    own: Path,
    route: Mapping[str, str],
) -> Postfix:
    user, password = "sender@example.org", secrets.token_urlsafe(12)
    ca_file, log, maildir = folder / f"{home.name}-ca.pem", home / "mail.log", home / "Maildir"
    _lay_out(home)
    _certify(home / "config/server.pem", ca_file)
    _add_login(home, user, password)
    with socket.socket() as reserved:
        # Postfix listens with SO_REUSEPORT: it can take a port held so, which nobody else is given then.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((HOST, 0))
        port: int = reserved.getsockname()[1]
        _configure(home, port, starttls, login, pipelining, own, route)
        master = _launch(home, log)
        try:
            if not _greets(port, master):
                raise RuntimeError(f"Postfix did not start; the end of its log:\n{_tail(log)}")
            watcher = _watch(home, master)
        except BaseException:
            _end(master)
            raise
    return Postfix(HOST, port, ca_file, user, password, maildir, log, home, folder, master, watcher, own)


def _lay_out(home: Path) -> None:
    home.chmod(0o755)
    queues = "active bounce corrupt defer deferred flush hold incoming maildrop private public saved trace"
    for user, mode, names in (
        ("root", 0o755, ["config", "config/sasl", "queue", "queue/pid"]),
        ("postfix", 0o700, ["data", *(f"queue/{name}" for name in queues.split())]),
        ("nobody", 0o700, ["Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"]),
        ("nobody", 0o700, ["Own", "Own/new", "Own/cur", "Own/tmp"]),
    ):
        for name in names:
            (home / name).mkdir()
            (home / name).chmod(mode)  # whatever the umask is
            shutil.chown(home / name, user)


def _certify(server_pem: Path, ca_file: Path) -> None:
    import trustme  # not at the top: these tests are skipped where it is missing

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca_file))
    certificate = authority.issue_cert("localhost", HOST).private_key_and_cert_chain_pem
    certificate.write_to_path(str(server_pem))
    server_pem.chmod(0o600)


def _configure(
    home: Path,
    port: int,
    starttls: bool,
    login: bool,
    pipelining: bool,
    own: Path,
    route: Mapping[str, str],
) -> None:
    text = MAIN_CF.format(
        home=home,
        nobody=pwd.getpwnam("nobody"),
        tls_level="may" if starttls else "none",
        starttls="yes" if starttls else "no",
        login="yes" if login else "no",
        recipients="permit_sasl_authenticated, reject" if login else "permit",
        discarded="" if pipelining else "pipelining",
    )
    transport = "".join(f"{address} {service}\n" for address, service in route.items())
    for name, content in (("main.cf", text), ("transport", transport)):
        (home / "config" / name).write_text(content)
        os.utime(home / "config" / name, (0, 0))  # Postfix waits for up to 2 s while it looks freshly written
    (home / "config/master.cf").write_text(MASTER_CF.format(port=port, own=own, owner=_owner(own)))
    (home / "config/sasl/smtpd.conf").write_text(SASL_CONF.format(home=home))


def _add_login(home: Path, user: str, password: str) -> None:
    database, (name, realm) = str(home / "config/sasl/sasldb2"), user.split("@")
    command = ["saslpasswd2", "-p", "-c", "-f", database, "-u", realm, name]
    subprocess.run(command, input=password, text=True, check=True, capture_output=True, env={"PATH": PATH})
    shutil.chown(database, "postfix")


def _launch(home: Path, log: Path) -> subprocess.Popen[bytes]:
    """Run Postfix's master as `postfix start` does, which would read /etc/postfix as well."""
    log.touch()
    return subprocess.Popen(
        [MASTER, "-c", str(home / "config")],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # The last two: what goes wrong early is in the log too, not in the machine's syslog.
        env={"PATH": PATH, "POSTLOG_SERVICE": f"{home}/queue/public/postlog", "POSTLOG_HOSTNAME": "mail"},
    )


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
            if client.recv(512).startswith(b"220 "):
                client.sendall(b"QUIT\r\n")
                return True
        time.sleep(0.02)
    return False


def _end(master: subprocess.Popen[bytes]) -> None:
    """What `postfix stop` does: SIGTERM to the master, which passes it on; then a kill for what is left."""
    master.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        master.wait(timeout=5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(master.pid, signal.SIGKILL)
    master.wait()


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
