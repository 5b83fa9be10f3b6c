"""Open a session to the mail server: connect, TLS, EHLO, login. Then hand its socket over.

smtplib does the opening, in a daemon thread, because it blocks; tenacity repeats what may pass (a time-out,
a 4xx greeting), sleeping on an event so that Ctrl-C wakes it. One AUTH mechanism is chosen, so a wrong
password is tried once. Certificates are always verified (smtplib itself verifies nothing).
Failures become ServerError with the next step: 69 unreachable, 77 refused. One deadline holds for a whole
opening with all its tries, since smtplib's time-out only holds for one read.
Known limits: no proxy, no OAuth; looking up the host's name has the time-out of the system.
"""

from __future__ import annotations

import contextlib
import io
import queue
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

import tenacity

from outreach.errors import Exit, ServerError
from outreach.model import Kind, Outcome, Security, Server, Verdict
from outreach.smtp import words_of
from outreach.verdicts import Stage, judge

_CONNECT_SECONDS = 30.0  # for one address of the server
_DEADLINE_SECONDS = 300.0  # for a whole opening; RFC 5321 §4.5.3.2.1 wants as much for the greeting alone
_MOST_BYTES = 256 * 1024  # of all replies while opening
_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that is ready for mail; the socket is non-blocking from here on."""

    socket: socket.socket
    extensions: dict[str, str]


class Opening:
    """An opening under way. `result()` answers once; `wake` is called from the thread when it is there."""

    def __init__(
        self,
        server: Server,
        user: str,
        password: str | None,
        ehlo_name: str,
        wake: Callable[[], None],
        tries: int = 3,
    ) -> None:
        self._server, self._user, self._password, self._ehlo_name = server, user, password, ehlo_name
        self._tries = tries
        self._cancel = threading.Event()
        self._hold: socket.socket | None = None
        self._late = False
        self._results: queue.SimpleQueue[Opened | ServerError] = queue.SimpleQueue()
        self._wake = wake
        self._smtp: smtplib.SMTP | None = None
        threading.Thread(target=self._run, daemon=True, name="opening").start()

    def result(self) -> Opened | ServerError | None:
        """Return the session or the failure, None while it is still under way."""
        try:
            return self._results.get_nowait()
        except queue.Empty:
            return None

    def cancel(self) -> None:
        """Give up: no further try; a session that opens all the same is closed."""
        self._cancel.set()

    def _run(self) -> None:
        result: Opened | ServerError
        try:
            result = self._open()
        except ServerError as error:
            result = error
        except Exception as error:  # an unforeseen failure must not leave the loop waiting
            # Not its text: an encoding error, for one, quotes the password.
            result = ServerError(f"{self._server}: opening the session failed ({type(error).__name__})")
        if self._cancel.is_set() and isinstance(result, Opened):
            result.socket.close()
            return
        self._results.put(result)
        self._wake()

    def _open(self) -> Opened:
        retrying = tenacity.Retrying(
            sleep=tenacity.sleep_using_event(self._cancel),
            stop=tenacity.stop_after_attempt(self._tries) | tenacity.stop_when_event_set(self._cancel),
            wait=tenacity.wait_exponential(multiplier=0.5, max=30),
            retry=tenacity.retry_if_exception(lambda error: not self._late and _may_pass(error)),
            reraise=True,
        )
        watchdog = threading.Timer(_DEADLINE_SECONDS, self._expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            return retrying(self._try)
        except (OSError, smtplib.SMTPException) as error:
            raise _explain(self._server, TimeoutError("timed out") if self._late else error) from error
        finally:
            watchdog.cancel()

    def _expire(self) -> None:
        self._late = True
        self._abort()

    def _abort(self) -> None:
        """End the connection, whatever the other thread is waiting for."""
        hold, self._hold = self._hold, None
        if hold is not None:
            with contextlib.suppress(OSError):
                hold.shutdown(socket.SHUT_RDWR)
            hold.close()

    def _try(self) -> Opened:
        try:
            return self._try_once()
        finally:
            if self._smtp is not None:
                self._smtp.close()
            self._abort()

    def _try_once(self) -> Opened:
        server = self._server
        # Loading the authorities takes longer than a whole session without TLS.
        context = None if server.security is Security.OFF else tls_context(server)
        sock = socket.create_connection((server.host, server.port), _CONNECT_SECONDS)
        self._hold = sock.dup()  # a handshake takes the socket away from whoever wants to end it
        sock.settimeout(_DEADLINE_SECONDS)
        if context is not None and server.security is Security.TLS:
            sock = context.wrap_socket(sock, server_hostname=server.tls_name or server.host)
        self._smtp = smtp = smtplib.SMTP(local_hostname=self._ehlo_name)
        smtp.sock = sock
        smtp._host = server.tls_name or server.host  # type: ignore[attr-defined]  # starttls() verifies this name
        smtp.file = _BoundedReader(sock)
        code, words = smtp.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, words)
        smtp.ehlo_or_helo_if_needed()
        if context is not None and server.security is Security.STARTTLS:
            smtp.starttls(context=context)
            assert smtp.sock is not None
            smtp.file = _BoundedReader(smtp.sock)
            smtp.ehlo_or_helo_if_needed()
        if self._user and self._password:
            self._log_in(smtp)
        opened = _hand_over(smtp)
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.close()
        return opened

    def _log_in(self, smtp: smtplib.SMTP) -> None:
        offered = smtp.esmtp_features.get("auth", "").upper().split()
        mechanism = next((name for name in _MECHANISMS if name in offered), None)
        if mechanism is None:
            raise smtplib.SMTPNotSupportedError(
                f"it offers no login that we know (offered: {' '.join(offered) or 'none'})"
            )
        if not (self._user + (self._password or "")).isascii():
            raise ServerError(
                "the login name or password has letters outside ASCII, which SMTP logins cannot carry safely",
                "make an app password, or change the password",
                exit_code=Exit.REFUSED,
            )
        smtp.user, smtp.password = self._user, self._password or ""
        method = getattr(smtp, f"auth_{mechanism.lower().replace('-', '_')}")
        smtp.auth(mechanism, method, initial_response_ok=mechanism == "PLAIN")


class _BoundedReader(io.BufferedReader):
    """What smtplib reads from. It reads a reply of any number of lines, so somebody else has to count."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.makefile("rb", buffering=0))
        self._left = _MOST_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("the server's reply never ends")
        return line


def tls_context(server: Server) -> ssl.SSLContext:
    """Return a context that verifies certificate and name, with the system's authorities or the given one."""
    context = ssl.create_default_context(cafile=server.ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _hand_over(smtp: smtplib.SMTP) -> Opened:
    sock, file = smtp.sock, smtp.file
    assert sock is not None
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small commands follow at once
    unread = b""
    with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
        unread = file.peek(1) if file is not None else b""
    if unread:
        # Whatever was said before we asked cannot be told from an answer (and may come from before TLS).
        raise smtplib.SMTPServerDisconnected("the server spoke out of turn")
    extensions = {name.lower(): text for name, text in smtp.esmtp_features.items()}
    smtp.sock = None
    smtp.file = None  # the socket keeps living: it counts its files
    if file is not None:
        file.detach()  # closing the buffer would close the socket's handle on it
    return Opened(sock, extensions)


def _judge(error: smtplib.SMTPResponseException) -> Outcome:
    """Judge a refusal while opening by the table that is used for mails as well."""
    stage = Stage.GREETING
    if isinstance(error, smtplib.SMTPHeloError):
        stage = Stage.EHLO
    elif isinstance(error, smtplib.SMTPAuthenticationError):
        stage = Stage.AUTH
    elif not isinstance(error, smtplib.SMTPConnectError):
        stage = Stage.STARTTLS
    text = error.smtp_error
    lines = (text if isinstance(text, bytes) else str(text).encode()).split(b"\n")
    return judge(stage, error.smtp_code, words_of(lines))


def _may_pass(error: BaseException) -> bool:
    """Tell whether trying again in seconds can help."""
    if isinstance(error, ssl.SSLError | smtplib.SMTPNotSupportedError):
        return False
    if isinstance(error, smtplib.SMTPResponseException):
        outcome = _judge(error)
        # Whoever says "too many logins" or "slow down" is not asked again within seconds.
        patient = outcome.kind in (Kind.LOGIN, Kind.QUOTA, Kind.SLOW_DOWN, Kind.CROWDED)
        return outcome.verdict is Verdict.DEFERRED and not patient
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return isinstance(error, OSError)  # SMTPServerDisconnected is one as well


def _explain(server: Server, error: Exception) -> ServerError:
    """Turn a failure into one sentence and the next step."""
    where = str(server)
    match error:
        case smtplib.SMTPResponseException() if error.smtp_code >= 500:
            outcome = _judge(error)
            words = f"{outcome.code} {outcome.reply}"[:300]
            if isinstance(error, smtplib.SMTPAuthenticationError):
                return ServerError(
                    f"{where} refuses the login: {words}",
                    "check OUTREACH_SMTP_USER and the password; many providers want an app password",
                    exit_code=Exit.REFUSED,
                )
            return ServerError(f"{where} does not let us in: {words}", exit_code=Exit.REFUSED)
        case smtplib.SMTPResponseException():
            outcome = _judge(error)
            words = f"{outcome.code} {outcome.reply}"[:300] if error.smtp_code > 0 else "no SMTP reply"
            not_now = ServerError(f"{where} does not let us in now: {words}", "try again later")
            not_now.kind = outcome.kind
            return not_now
        case smtplib.SMTPNotSupportedError():
            text = str(error)
            if "STARTTLS" in text:
                text = "it offers no STARTTLS, so the mails would travel in plain text"
            return ServerError(f"{where}: {text}", "try smtps:// and port 465, or ask the provider")
        case ssl.SSLCertVerificationError():
            return ServerError(
                f"{where}: the certificate does not verify: {error.verify_message}",
                "check the host in OUTREACH_SMTP_URL (?tls_name=NAME; ?ca=FILE for an authority of your own)",
            )
        case ssl.SSLError():
            return ServerError(
                f"{where}: no secure connection: {error.reason or error}",
                "smtps:// is for port 465, smtp:// for port 587",
            )
        case socket.gaierror():
            return ServerError(
                f"{server.host} is not found", "check the spelling in OUTREACH_SMTP_URL, and the network"
            )
        case TimeoutError() | smtplib.SMTPServerDisconnected() if "timed out" in str(error):
            return ServerError(
                f"{where} does not answer", "check host and port, and whether a firewall is between"
            )
        case ConnectionRefusedError():
            return ServerError(f"{where} refuses connections: nothing listens there", "check host and port")
        case smtplib.SMTPServerDisconnected():
            return ServerError(f"{where} closed the connection while it was being opened", "try again later")
        case _:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return ServerError(f"{where} cannot be reached: {text}", "check the network")
