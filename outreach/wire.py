"""A session with an IMAP server: connect, TLS, log in, ask, wait for news, end.

IMAPClient speaks IMAP; what is added is a certificate that may have another name, waiting for a `stop` beside
the server, and failures in a sentence with the next step: ServerError, 69 unreachable or cut off, 77 login
refused; the session is over then. A Refusal is about one thing, and the session goes on.
The certificate is always verified, and there is no login without TLS unless the server's setting says so.
Known limits: no OAuth, no proxy; an answer may take any time if something of it comes once a minute.
"""

from __future__ import annotations

import contextlib
import imaplib
import logging
import re
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

import imapclient  # type: ignore[import-untyped]

from outreach.connection import tls_context
from outreach.errors import Exit, ServerError, printable
from outreach.model import Security, Server

_CONNECT_SECONDS = 30.0  # for one address of the server
_ANSWER_SECONDS = 60.0  # of silence in an answer
_GOODBYE_SECONDS = 3.0
_MOST_BYTES = 64 * 1024 * 1024  # of a literal
_MOST_LINE = 8 * 1024 * 1024  # a million UIDs; imaplib takes 1 MB
_MOST_WORDS = 300

_NEWS = ("EXISTS", "RECENT")

# The library writes what goes over the wire, mails included, to its loggers.
logging.getLogger("imapclient").setLevel(logging.CRITICAL + 1)

_T = TypeVar("_T")


class Refusal(Exception):
    """The server did not do one thing. With `skip` it never will: gone, or beyond sense."""

    def __init__(self, words: str, skip: bool = False) -> None:
        super().__init__(words)
        self.words, self.skip = words, skip


class Session:
    """A session that is logged in."""

    def __init__(self, server: Server, password: str | None) -> None:
        self._server = server
        try:
            self.client = _Client(server)
        except (OSError, imaplib.IMAP4.error) as error:
            raise _explain(server, error) from error
        self._wire = self.client.wire
        try:
            _log_in(self._wire, server, password)
        except BaseException:
            self._wire.shutdown()
            raise

    def ask(self, method: Callable[..., _T], *arguments: Any) -> _T:
        """Call a method of the client. Raises Refusal, and ServerError when the session is over."""
        try:
            return method(*arguments)
        except (OSError, imaplib.IMAP4.abort) as error:
            raise _explain(self._server, error) from error
        except imapclient.exceptions.ProtocolError as error:
            raise Refusal(_said(error), skip=True) from error
        except imaplib.IMAP4.error as error:
            words = _said(error)
            raise Refusal(words, skip="[EXPUNGEISSUED]" in words) from error  # RFC 5530
        except Exception as error:  # the parsers trust the server to some degree
            raise Refusal(f"an answer that makes no sense ({type(error).__name__})", skip=True) from error

    def offers(self, *capabilities: str) -> bool:
        """Tell whether the server has all of these."""
        return all(self.ask(self.client.has_capability, one) for one in capabilities)

    def idle(self, seconds: float, stop: int | None) -> bool:
        """Wait until the server says something; tell whether the caller has something to do now."""
        return self.ask(self._wire.idle_for, seconds, stop)

    def close(self) -> None:
        """Log out, if the server still listens."""
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            self._wire.sock.settimeout(_GOODBYE_SECONDS)
            self._wire.logout()
        self._wire.shutdown()


class _Client(imapclient.IMAPClient):  # type: ignore[misc]
    """The library, on our connection."""

    wire: _Wire

    def __init__(self, server: Server) -> None:
        self._server = server
        super().__init__(server.host, server.port, ssl=False, timeout=_ANSWER_SECONDS)
        self.wire.debug = 0  # it would format every mail for a log that nobody reads
        self.normalise_times = False  # times with their zone

    def _create_IMAP4(self) -> _Wire:
        self.wire = _Wire(self._server)
        return self.wire

    def list_special_folders(self) -> list[tuple[Any, Any, Any]]:
        """List as `list_folders()`, and ask for the special use (RFC 6154 §5.2)."""
        lines = self._raw_command_untagged(b"LIST", [b'""', b'"*"', b"RETURN", b"(SPECIAL-USE)"], uid=False)
        return list(self._proc_folder_list(lines))


class _Wire(imaplib.IMAP4):
    """A connection, with TLS before anything of ours is said."""

    def __init__(self, server: Server) -> None:
        self._server = server
        super().__init__(server.host, server.port)

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        self.host, self.port = host, port
        self.sock = socket.create_connection((host, port), _CONNECT_SECONDS)
        self.sock.settimeout(_ANSWER_SECONDS)
        if self._server.security is Security.TLS:
            self._secure()
        self._stream = self.sock.makefile("rb")

    def _secure(self) -> None:
        server = self._server
        try:
            context = tls_context(server)
        except OSError as error:
            raise ServerError(
                f"the authority {printable(server.ca_file)} cannot be read: {error.strerror or error}",
                "check ?ca=FILE in OUTREACH_IMAP_URL",
            ) from None
        self.sock = context.wrap_socket(self.sock, server_hostname=server.tls_name or server.host)

    def _connect(self) -> None:
        super()._connect()  # type: ignore[misc]
        if self._server.security is Security.STARTTLS:
            self._start_tls()

    def _start_tls(self) -> None:
        # As the library does, but with a name for the certificate.
        if "STARTTLS" not in self.capabilities:
            raise ServerError(
                f"{self._server}: it offers no STARTTLS, so password and mails would travel in plain text",
                "try imaps:// and port 993, or ask the provider",
            )
        kind, data = self._simple_command("STARTTLS")
        if kind != "OK":
            raise self.error(data[-1])
        self._secure()
        self._stream = self.sock.makefile("rb")  # what was said before TLS is gone (CVE-2021-33515)
        self._get_capabilities()

    def read(self, size: int) -> bytes:
        if size > _MOST_BYTES:
            raise self.abort("it sends far more than was asked for")
        return self._stream.read(size)

    def readline(self) -> bytes:
        line = self._stream.readline(_MOST_LINE)
        if len(line) == _MOST_LINE:
            raise self.abort("a line of its answer never ends")
        return line

    def shutdown(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._stream.close()
        self.sock.close()

    def idle_for(self, seconds: float, stop: int | None) -> bool:
        """Wait with IDLE (RFC 2177); tell of a stop or new mails. Flags and removals are no news."""
        for name in _NEWS:
            self.untagged_responses.pop(name, None)
        tag = self._command("IDLE")
        while self._get_response() is not None:  # some servers tell news first, where the library gives up
            if refusal := self.tagged_commands[tag]:
                raise self.error(str(refusal))
        ready = readable(0.0 if self._has_news() or self._has_unread() else seconds, stop, self.sock.fileno())
        self.send(b"DONE\r\n")
        self._command_complete("IDLE", tag)
        return stop in ready or self._has_news()

    def _has_news(self) -> bool:
        return not self.untagged_responses.keys().isdisjoint(_NEWS)

    def _has_unread(self) -> bool:
        """Tell whether something came that waiting for the socket would not notice."""
        self.sock.settimeout(0)
        try:
            return bool(self._stream.peek(1))
        except ssl.SSLWantReadError:
            return False
        finally:
            self.sock.settimeout(_ANSWER_SECONDS)


def readable(seconds: float, *files: int | None) -> list[int]:
    """Wait for any of the files; return those that can be read from."""
    return select.select([file for file in files if file is not None], [], [], max(0.0, seconds))[0]


def _log_in(wire: _Wire, server: Server, password: str | None) -> None:
    """Log in. No error here has a cause or the words of a BAD: both may quote the password."""
    if not server.user or not password:
        raise ServerError(
            f"{server} wants a login, and there is no user or no password",
            "set OUTREACH_IMAP_USER and OUTREACH_IMAP_PASSWORD_COMMAND",
            exit_code=Exit.REFUSED,
        )
    plain = "AUTH=PLAIN" in wire.capabilities
    if not plain and not (server.user + password).isascii():
        raise ServerError(
            f"the login name or password has letters outside ASCII, which {server} cannot take",
            "make an app password, or change the password",
            exit_code=Exit.REFUSED,
        )
    try:
        if plain:
            wire.authenticate("PLAIN", lambda _: f"\0{server.user}\0{password}".encode())
        else:
            user = server.user.replace("\\", "\\\\").replace('"', '\\"')
            wire.login(f'"{user}"', password)  # which quotes the password, and only that
    except (OSError, imaplib.IMAP4.abort) as error:
        raise _explain(server, error) from None
    except imaplib.IMAP4.error as error:
        words = _said(error)
        if "command error: BAD" in words:
            words = "it does not understand it"
        if re.search(r"\[(UNAVAILABLE|INUSE|LIMIT)\]", words):  # RFC 5530: nothing is wrong with the login
            raise ServerError(f"{server} does not let us in now: {words}", "try again later") from None
        raise ServerError(
            f"{server} refuses the login: {words}",
            "check OUTREACH_IMAP_USER and the password; many providers want an app password",
            exit_code=Exit.REFUSED,
        ) from None


def _said(error: Exception) -> str:
    """Return a server's words out of an error of the library."""
    words = error.args[0] if error.args else type(error).__name__
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    return printable(text.split("\n")[0])[:_MOST_WORDS]  # behind it the library explains itself


def _explain(server: Server, error: Exception) -> ServerError:
    """Turn the end of a session into one sentence and the next step."""
    where = str(server)
    match error:
        case ssl.SSLCertVerificationError():
            return ServerError(
                f"{where}: the certificate does not verify: {error.verify_message}",
                "check the host in OUTREACH_IMAP_URL (?tls_name=NAME; ?ca=FILE for an authority of your own)",
            )
        case ssl.SSLError():
            return ServerError(
                f"{where}: no secure connection: {error.reason or error}",
                "imaps:// is for port 993, imap:// for port 143",
            )
        case socket.gaierror():
            return ServerError(
                f"{server.host} is not found", "check the spelling in OUTREACH_IMAP_URL, and the network"
            )
        case TimeoutError():
            return ServerError(
                f"{where} does not answer", "check host and port, and whether a firewall is between"
            )
        case ConnectionRefusedError():
            return ServerError(f"{where} refuses connections: nothing listens there", "check host and port")
        case ConnectionError():
            return ServerError(f"{where} closed the connection", "try again later")
        case imaplib.IMAP4.abort() if "socket error" in str(error):
            return ServerError(f"{where} closed the connection", "try again later")
        case imaplib.IMAP4.error():
            return ServerError(f"{where} does not go on: {_said(error)}", "try again later")
        case _:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return ServerError(f"{where} cannot be reached: {reason}", "check the network")
