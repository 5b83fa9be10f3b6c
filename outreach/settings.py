"""Settings: options > environment > DIR/.env > default, read once, checked once, frozen.

The .env file is the project folder's own (never a parent's), without interpolation. Every problem is
reported at once; an unknown OUTREACH_ name is an error with the nearest name. What this version cannot
yet honour, and what would be unsafe to ignore (a proxy), is refused rather than ignored.
Passwords are held apart from everything that is printed.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from dotenv.parser import parse_stream

from outreach import address, languages, windows
from outreach.errors import Problem, SettingsError
from outreach.institutions import DomainLimits
from outreach.model import PLUS, Identity, Limit, Security, Server, Source
from outreach.pace import Pace
from outreach.windows import ALWAYS, Window

PREFIX = "OUTREACH_"
T = TypeVar("T")

DEFAULTS: dict[str, str] = {
    "FROM": "",
    "REPLY_TO": "",
    "SMTP_URL": "",
    "SMTP_USER": "",
    "SMTP_PASSWORD": "",
    "SMTP_PASSWORD_COMMAND": "",
    "IMAP_URL": "",
    "IMAP_USER": "",
    "IMAP_PASSWORD": "",
    "IMAP_PASSWORD_COMMAND": "",
    "LETTER": "",
    "CONTACTS": "contacts.csv",
    "TEMPLATES": "templates",
    "LANGUAGE": "en",
    "LEDGER": "sqlite:///outreach.db",
    "RATE": "100/hour, 400/day",
    "RATE_PER_DOMAIN": "60/hour",
    "PER_INSTITUTION": "unlimited",
    "WINDOW": "always",
    "REST": "0",
    "SHARE_KEY": "",
    "CONNECTIONS": "2",
    "RETRY": "5m, 15m, 1h, 4h, 12h",
    "GIVE_UP": "3d",
    "UNSUBSCRIBE": "",
    "PROXY": "",
    "EHLO_NAME": "[127.0.0.1]",
}
# Part of the contract, not built yet: any value but the default would be silently broken.
_NOT_YET = ("PROXY",)
SECRETS = ("SMTP_PASSWORD", "IMAP_PASSWORD", "SHARE_KEY")

_LONGEST_PLUS = 23  # characters, with which a token of 40 makes 64 (RFC 5321 §4.5.3.1.1)
_SHORTEST_SHARE_KEY = 12  # characters
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Value:
    """The text of one setting and where it came from."""

    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the program was told, checked."""

    directory: Path
    sender: Identity | None
    reply_to: Identity | None
    server: Server | None
    letter: str
    contacts: Path
    templates: Path
    language: str
    ledger: Path
    rate: tuple[Limit, ...]
    domain_limits: DomainLimits
    connections: int
    retry: tuple[int, ...]
    give_up: int
    unsubscribe: str
    ehlo_name: str
    values: Mapping[str, Value] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    window: Window = ALWAYS  # sending hours, where the reader is
    rest: int = 0  # seconds that somebody is left in peace after another mailing
    share_key: str = field(default="", repr=False)  # the passphrase of groups that share refusals
    source: Source | None = None  # where answers arrive

    def password(self) -> str | None:
        """Return the SMTP password, asking the password command when there is one; None if unset.

        Raises SettingsError when the command fails.
        """
        return self._secret("SMTP_PASSWORD")

    def mailbox_password(self) -> str | None:
        """Return the password of the mailbox, or that of SMTP; None if neither is set.

        Raises SettingsError when a command fails.
        """
        return self._secret("IMAP_PASSWORD") or self._secret("SMTP_PASSWORD")

    def _secret(self, name: str) -> str | None:
        if text := self.values[name].text:
            return text
        command = self.values[f"{name}_COMMAND"].text
        if not command:
            return None
        try:
            done = subprocess.run(  # noqa: S603 (the user's own command, from the user's own .env)
                shlex.split(command), stdout=subprocess.PIPE, text=True, timeout=120, check=False
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise SettingsError(
                f"{PREFIX}{name}_COMMAND cannot be run: {error}", "try the command by hand"
            ) from None
        secret = (done.stdout.splitlines() or [""])[0]
        if done.returncode or not secret:
            raise SettingsError(
                f"{PREFIX}{name}_COMMAND ended with code {done.returncode} and "
                f"{'no' if not secret else 'some'} output",
                "it must print the password on its first line; try it by hand",
            )
        return secret

    @property
    def pace(self) -> Pace:
        """Return everything that holds letters back."""
        return Pace(self.rate, self.domain_limits, self.window)

    @property
    def account(self) -> str:
        """Return what the account's limits are counted by: login and host."""
        return f"{self.user}@{self.server.host}" if self.server else ""

    @property
    def user(self) -> str:
        """Return the login name: of the URL, of SMTP_USER, or the FROM address when a password is set."""
        if self.server and self.server.user:
            return self.server.user
        if text := self.values["SMTP_USER"].text:
            return text
        has_password = self.values["SMTP_PASSWORD"].text or self.values["SMTP_PASSWORD_COMMAND"].text
        return self.sender.address if self.sender and has_password else ""


def mailbox_user(settings: Settings, source: Source) -> str:
    """Return the login name of a mailbox: of its URL, of IMAP_USER, or that of SMTP."""
    given = source.server.user if source.server else ""
    return (
        given
        or settings.values["IMAP_USER"].text
        or settings.user
        or settings.values["SMTP_USER"].text
        or (settings.sender.address if settings.sender else "")
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Read `100/hour, 400/day`; `unlimited` is no limit. Raises ValueError."""
    if text.strip().lower() == "unlimited":
        return ()
    limits = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*/\s*([a-z]+?)s?\s*", part.lower())
        if not found or found[2] not in _UNITS or not 0 < int(found[1]) <= 10**9:
            raise ValueError(
                f"{part.strip()!r} is no limit; write like 100/hour, 400/day "
                "(units: second, minute, hour, day) or unlimited"
            )
        limits.append(Limit(int(found[1]), _UNITS[found[2]]))
    return tuple(limits)


def parse_institutions(text: str) -> DomainLimits:
    """Read `6/day, parliament.example=60/day`: limits per institution, and of single domains instead.

    Raises ValueError.
    """
    given: dict[str, list[str]] = {}
    for part in text.split(","):
        name, equals, limit = part.rpartition("=")
        given.setdefault(_mail_domain(name) if equals else "", []).append(limit.strip().lower())
    limits = {}
    for domain, parts in given.items():
        if "unlimited" in parts and len(parts) > 1:
            raise ValueError(f"{f'for {domain} ' if domain else ''}'unlimited' stands beside another limit")
        try:
            limits[domain] = parse_limits(",".join(parts))
        except ValueError as error:
            raise ValueError(f"{error}; a domain of its own like parliament.example=60/day") from None
    return DomainLimits(per_institution=limits.pop("", ()), named=limits)


def _mail_domain(text: str) -> str:
    try:
        domain = address.domain(address.parse(f"x@{text.strip().removeprefix('@')}"))
    except ValueError:  # UnicodeError of the A-label included
        domain = ""
    if not domain:
        raise ValueError(f"{text.strip()!r} is no mail domain; write like parliament.example=60/day")
    return domain


def parse_duration(text: str) -> int:
    """Read `90s`, `15m`, `4h`, `3d` as seconds. Raises ValueError."""
    found = re.fullmatch(r"\s*(\d+)\s*([smhd])\s*", text.lower())
    if not found or int(found[1]) > 10**6:
        raise ValueError(f"{text.strip()!r} is no duration; write like 30s, 15m, 4h, 3d")
    return int(found[1]) * _DURATIONS[found[2]]


def parse_identity(text: str) -> Identity:
    """Read `Name <address>` or a bare address. Raises ValueError."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("has control characters")
    found = re.fullmatch(r"(.*?)\s*<([^<>]+)>\s*", text.strip())
    name, mail = (found[1], found[2]) if found else ("", text)
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('\\"', '"')
    return Identity(name.strip(), address.parse(mail))


def parse_server(text: str, directory: Path = Path()) -> Server:
    """Read an SMTP URL (docs/settings.md); a relative ?ca= is inside `directory`. Raises ValueError."""
    server, path, _ = _parse_url(text, directory, "smtp", (587, 465), ())
    if path not in ("", "/"):
        raise ValueError("has a path; only host, port and ?options belong there")
    return server


def parse_source(text: str, directory: Path = Path()) -> Source:
    """Read where answers arrive: an IMAP URL, or `maildir:PATH`, `mbox:PATH`, `eml:PATH`. Raises ValueError.

    The path of an IMAP URL (RFC 5092) names the folder, or several with commas between.
    """
    kind, colon, path = text.strip().partition(":")
    if colon and kind.lower() in ("maildir", "mbox", "eml"):
        if not path or path.startswith("//"):
            raise ValueError(f"names no path; write like {kind.lower()}:Mail/answers")
        return Source(kind.lower(), str(directory / Path(path).expanduser()))
    server, path, options = _parse_url(text, directory, "imap", (143, 993), ("spam", "sent"))
    folders = tuple(unquote(name) for name in path.strip("/").split(",") if name)
    return Source(
        "imap",
        server=server,
        folders=folders or ("INBOX",),
        spam=options.get("spam"),
        sent=options.get("sent"),
    )


def _parse_url(
    text: str, directory: Path, scheme: str, ports: tuple[int, int], further: tuple[str, ...]
) -> tuple[Server, str, dict[str, str]]:
    """Read the URL of a server; return it, the path, and the options. `ports`: without and with TLS first."""
    # None of these errors quotes the text: a password may stand in it, in the wrong place.
    examples = f"{scheme}://mail.example:{ports[0]}", f"{scheme}s://mail.example:{ports[1]}"
    try:
        url = urlsplit(text.strip())
        port = url.port
    except ValueError:
        raise ValueError(f"has no usable host or port; write like {examples[0]}") from None
    if url.scheme not in (scheme, f"{scheme}s") or not url.hostname:
        files = ", or maildir:PATH, mbox:PATH, eml:PATH" if scheme == "imap" else ""
        raise ValueError(f"is no {scheme.upper()} URL; write like {examples[0]} or {examples[1]}{files}")
    if url.password is not None:
        raise ValueError(f"holds a password; put it in {PREFIX}{scheme.upper()}_PASSWORD")
    if port == 0:
        raise ValueError(f"has no usable host or port; write like {examples[0]}")
    if url.fragment:
        raise ValueError("has a path; only host, port and ?options belong there")
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    known = ("tls", "tls_name", "ca", *further)
    if set(options) - set(known):
        raise ValueError(f"has an unknown option (known: {', '.join(known)})")
    tls = options.get("tls", "")
    if tls not in ("", "starttls", "off"):
        raise ValueError("has an unknown value of tls= (known: starttls, off)")
    if url.scheme == f"{scheme}s":
        if tls:
            raise ValueError(f"asks for {scheme}s and tls={tls} at once")
        security = Security.TLS
    elif tls == "off" or (not tls and is_loopback(url.hostname)):
        security = Security.OFF
    else:
        security = Security.STARTTLS
    ca_file = str(directory / options["ca"]) if options.get("ca") else ""
    if ca_file and not Path(ca_file).is_file():
        raise ValueError(f"names a certificate file that is not there: {ca_file}")
    server = Server(
        host=url.hostname,
        port=port or ports[security is Security.TLS],
        security=security,
        user=unquote(url.username or ""),
        tls_name=options.get("tls_name", ""),
        ca_file=ca_file,
    )
    return server, url.path, options


def load(directory: Path, environ: Mapping[str, str], options: Mapping[str, str | None]) -> Settings:
    """Read all settings for a project folder.

    `options` are what the command line gave, by setting name without the prefix.
    Raises SettingsError with every problem at once.
    """
    values, problems = read_values(directory, environ, options)
    return _check(directory, values, problems)


def read_values(
    directory: Path, environ: Mapping[str, str], options: Mapping[str, str | None]
) -> tuple[dict[str, Value], list[Problem]]:
    """Read the texts of all settings, not yet checked, and what was wrong while reading."""
    problems: list[Problem] = []
    values = {name: Value(text, "default") for name, text in DEFAULTS.items()}
    _merge(values, _read_env_file(directory / ".env", problems), problems)
    _merge(values, [(k, v, "environment", None) for k, v in sorted(environ.items())], problems)
    for name, text in options.items():
        if text is not None:
            values[name] = Value(text, "option")
    return values, problems


def _read_env_file(path: Path, problems: list[Problem]) -> list[tuple[str, str, str, int | None]]:
    entries: list[tuple[str, str, str, int | None]] = []
    try:
        stream = path.open(encoding="utf-8-sig")
    except FileNotFoundError:
        return entries
    except OSError as error:
        problems.append(Problem(str(path), None, f"cannot be read: {error.strerror}"))
        return entries
    with stream:
        try:
            for binding in parse_stream(stream):
                line = (
                    binding.original.line
                    + len(binding.original.string)
                    - len(binding.original.string.lstrip("\r\n"))
                )
                if binding.error:
                    problems.append(Problem(str(path), line, "is no NAME=value line"))
                elif binding.key:
                    entries.append((binding.key, binding.value or "", str(path), line))
        except UnicodeDecodeError as error:
            problems.append(Problem(str(path), None, f"is not UTF-8: {error.reason}"))
    return entries


def _merge(
    values: dict[str, Value],
    entries: list[tuple[str, str, str, int | None]],
    problems: list[Problem],
) -> None:
    for key, text, origin, line in entries:
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        if name not in DEFAULTS:
            near = difflib.get_close_matches(name, DEFAULTS, 1)
            hint = f"did you mean {PREFIX}{near[0]}?" if near else "see `outreach settings` for all names"
            problems.append(Problem(origin, line, f"unknown setting {key}", hint))
        elif text.strip():
            values[name] = Value(text.strip(), f"{Path(origin).name}:{line}" if line else origin)


def _check(directory: Path, values: dict[str, Value], problems: list[Problem]) -> Settings:
    def read(name: str, parse: Callable[[str], T], fallback: T) -> T:
        value = values[name]
        text = value.text or DEFAULTS[name]  # nothing given is the default, never "no limit"
        if not text:
            return fallback
        try:
            return parse(text)
        except ValueError as error:
            problems.append(Problem(value.origin, None, f"{PREFIX}{name}: {error}"))
            return fallback

    for name in _NOT_YET:
        if values[name].text != DEFAULTS[name]:
            problems.append(
                Problem(
                    values[name].origin,
                    None,
                    f"{PREFIX}{name} is not supported by this version",
                    "take it out; the program will not send as if it held",
                )
            )
    settings = Settings(
        directory=directory,
        sender=read("FROM", _sender, None),
        reply_to=read("REPLY_TO", _reply_to, None),
        server=read("SMTP_URL", lambda text: parse_server(text, directory), None),
        source=read("IMAP_URL", lambda text: parse_source(text, directory), None),
        letter=values["LETTER"].text,
        contacts=directory / values["CONTACTS"].text,
        templates=directory / values["TEMPLATES"].text,
        language=read("LANGUAGE", _language, "en"),
        ledger=read("LEDGER", lambda text: _ledger(text, directory), directory / "outreach.db"),
        rate=read("RATE", parse_limits, ()),
        domain_limits=replace(
            read("PER_INSTITUTION", parse_institutions, DomainLimits()),
            per_domain=read("RATE_PER_DOMAIN", parse_limits, ()),
        ),
        connections=read("CONNECTIONS", _connections, 2),
        retry=read("RETRY", _steps, (300,)),
        give_up=read("GIVE_UP", parse_duration, 3 * 86400),
        unsubscribe=read("UNSUBSCRIBE", _unsubscribe, ""),
        ehlo_name=read("EHLO_NAME", _ehlo_name, DEFAULTS["EHLO_NAME"]),
        values=values,
        warnings=_warnings(directory / ".env", values),
        window=read("WINDOW", windows.parse, ALWAYS),
        rest=read("REST", _rest, 0),
        share_key=read("SHARE_KEY", _share_key, ""),
    )
    if problems:
        raise SettingsError("the settings have problems", "`outreach settings` lists every name", problems)
    return settings


def _warnings(env: Path, values: dict[str, Value]) -> tuple[str, ...]:
    """Say so when others on this machine can read a password."""
    in_file = [name for name in SECRETS if values[name].text and values[name].origin.startswith(".env")]
    try:
        mode = env.stat().st_mode
    except OSError:
        return ()
    if in_file and os.name == "posix" and mode & 0o077:
        return (f"{env} holds a password and others can read it: chmod 600 {env}",)
    return ()


def _language(text: str) -> str:
    tag = languages.normalise(text)
    if tag is None:
        raise ValueError(f"{text!r} is no language code; write like en or pt-BR")
    return tag


def _sender(text: str) -> Identity:
    identity = parse_identity(text)
    if "{" in identity.address:
        raise ValueError("is one address for all letters; {token} belongs into OUTREACH_REPLY_TO")
    return identity


def _reply_to(text: str) -> Identity:
    identity = parse_identity(text)
    local, _, _ = identity.address.rpartition("@")
    if "{" in local and (not local.endswith(PLUS) or "{" in local.removesuffix(PLUS)):
        raise ValueError("has no place for a token; write like press+{token}@mail.example")
    if "{" in local and len(local.removesuffix(PLUS)) > _LONGEST_PLUS:
        raise ValueError(
            f"has over {_LONGEST_PLUS} characters before +{{token}}; mail servers take 64 in all"
        )
    return identity


def _steps(text: str) -> tuple[int, ...]:
    steps = tuple(parse_duration(part) for part in text.split(","))
    if 0 in steps:
        raise ValueError("a server wants some time before the next try; at least 1s")
    return steps


def _ledger(text: str, directory: Path) -> Path:
    if text.startswith(("postgresql://", "postgres://")):
        raise ValueError("a PostgreSQL ledger is not supported by this version; use sqlite:///outreach.db")
    if text.startswith("sqlite:///"):
        return directory / text.removeprefix("sqlite:///")
    raise ValueError("is no ledger; write like sqlite:///outreach.db")  # it may hold a password


def _rest(text: str) -> int:
    return 0 if text == "0" else parse_duration(text)


def _share_key(text: str) -> str:
    # Not quoted: it is a secret.
    if len(text) < _SHORTEST_SHARE_KEY:
        raise ValueError(f"is too short: {_SHORTEST_SHARE_KEY} characters at least, better six random words")
    return text


def _connections(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise ValueError(f"{text!r} is no number from 1 to 100")
    return int(text)


def _unsubscribe(text: str) -> str:
    if not re.fullmatch(r"(https://|mailto:)[!-~]+", text) or set("<>") & set(text):
        raise ValueError(f"{text!r} is no https: or mailto: address")
    return text


def _ehlo_name(text: str) -> str:
    # RFC 5321 §4.1.1.1: a domain name or an address literal.
    if not re.fullmatch(r"\[[0-9A-Fa-f.:]+\]|\[IPv6:[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,255}", text):
        raise ValueError(f"{text!r} is neither a domain name nor an address like [127.0.0.1]")
    return text
