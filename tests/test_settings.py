"""Settings: the grammar of every value, which source wins, and that mistakes are shown all at once."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from outreach import settings
from outreach.errors import Exit, SettingsError
from outreach.institutions import DomainLimits
from outreach.model import Identity, Limit, Security, Server, Source
from outreach.settings import mailbox_user, parse_source

SECRET = "hunter2"


def load(
    folder: Path,
    env: str | None = None,
    environ: Mapping[str, str] | None = None,
    **options: str | None,
) -> settings.Settings:
    if env is not None:
        (folder / ".env").write_text(textwrap.dedent(env), encoding="utf-8")
    return settings.load(folder, environ or {}, options)


def problems(folder: Path, env: str | None = None, **options: str | None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(folder, env, **options)
    assert caught.value.exit_code == Exit.SETTINGS
    assert caught.value.problems
    return [str(problem) for problem in caught.value.problems]


# The grammar of single values --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("unlimited", ()),
        (" Unlimited ", ()),
        ("100/hour", (Limit(100, 3600),)),
        ("100/hour, 400/day", (Limit(100, 3600), Limit(400, 86400))),
        ("400/day,100/hour", (Limit(400, 86400), Limit(100, 3600))),
        ("1/second", (Limit(1, 1),)),
        ("60 / Minutes", (Limit(60, 60),)),
        ("2/hours", (Limit(2, 3600),)),
        ("1/day", (Limit(1, 86400),)),
        (" 100/hour\n", (Limit(100, 3600),)),
        ("1000000000/day", (Limit(10**9, 86400),)),
    ],
)
def test_limits_are_counts_per_unit(text: str, limits: tuple[Limit, ...]) -> None:
    assert settings.parse_limits(text) == limits


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ""),
        ("100", "100"),
        ("/hour", "/hour"),
        ("hour", "hour"),
        ("0/hour", "0/hour"),
        ("-1/hour", "-1/hour"),
        ("1.5/hour", "1.5/hour"),
        ("100/week", "100/week"),
        ("100/", "100/"),
        ("100 per hour", "100 per hour"),
        ("100/hour 400/day", "100/hour 400/day"),
        ("100/hour,", ""),
        ("100/hour, unlimited", "unlimited"),
        ("100/hour, many/day", "many/day"),
        ("10000000000/day", "10000000000/day"),
    ],
)
def test_a_bad_limit_is_named_with_an_example(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=r"is no limit; write like 100/hour, 400/day") as caught:
        settings.parse_limits(text)
    assert repr(named) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "general", "named"),
    [
        ("unlimited", (), {}),
        (" Unlimited ", (), {}),
        ("6/day", ("6/day",), {}),
        ("6/day, 2/hour", ("6/day", "2/hour"), {}),
        ("6/day, parliament.example=60/day", ("6/day",), {"parliament.example": ("60/day",)}),
        ("unlimited, parliament.example=60/day", (), {"parliament.example": ("60/day",)}),
        ("parliament.example=60/day", (), {"parliament.example": ("60/day",)}),
        (
            "parliament.example=60/day, parliament.example=10/hour",
            (),
            {"parliament.example": ("60/day", "10/hour")},
        ),
        ("6/day,parliament.example=unlimited", ("6/day",), {"parliament.example": ()}),
        (" @Parliament.EXAMPLE = 60 / days ", (), {"parliament.example": ("60/day",)}),
        (
            "a.example=1/day, 6/day, b.example=2/day",
            ("6/day",),
            {"a.example": ("1/day",), "b.example": ("2/day",)},
        ),
        ("köln.example=1/day", (), {"xn--kln-sna.example": ("1/day",)}),
        ("xn--kln-sna.example=1/day, KÖLN.example=2/hour", (), {"xn--kln-sna.example": ("1/day", "2/hour")}),
    ],
)
def test_limits_per_institution_are_read_with_those_of_single_domains(
    text: str, general: tuple[str, ...], named: dict[str, tuple[str, ...]]
) -> None:
    made = settings.parse_institutions(text)
    assert tuple(map(str, made.per_institution)) == general
    assert {domain: tuple(map(str, limits)) for domain, limits in made.named.items()} == named
    assert made.per_domain == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is no limit; write like"),
        ("6/day,", "'' is no limit; write like"),
        ("6/week", "'6/week' is no limit; write like"),
        ("parliament.example", "'parliament.example' is no limit; write like"),
        ("parliament.example 60/day", "'parliament.example 60/day' is no limit; write like"),
        ("parliament.example=", "'' is no limit; write like"),
        ("parliament.example=6/week", "'6/week' is no limit; write like"),
        ("6/day, unlimited", "'unlimited' stands beside another limit"),
        (
            "p.example=6/day, p.example=unlimited",
            "for p.example 'unlimited' stands beside another limit",
        ),
        ("=6/day", "'' is no mail domain; write like parliament.example=60/day"),
        ("parliament=6/day", "'parliament' is no mail domain; write like parliament.example=60/day"),
        ("a..example=6/day", "'a..example' is no mail domain; write like parliament.example=60/day"),
        ("a=b.example=6/day", "'a=b.example' is no mail domain; write like parliament.example=60/day"),
        ("ann@p.example=6/day", "'ann@p.example' is no mail domain; write like parliament.example=60/day"),
        ("*.example=6/day", "'*.example' is no mail domain; write like parliament.example=60/day"),
    ],
)
def test_a_bad_limit_per_institution_is_one_clear_problem(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        settings.parse_institutions(text)
    if text:
        (found,) = problems(tmp_path, f"OUTREACH_PER_INSTITUTION={text}\n")
        assert found.startswith(f".env:1: OUTREACH_PER_INSTITUTION: {says}")


@pytest.mark.parametrize(
    ("rate", "per_domain", "per_institution", "pace"),
    [
        ("100/hour, 400/day", "60/hour", "unlimited", "100/hour, 400/day, 60/hour per mail domain"),
        ("unlimited", "unlimited", "unlimited", "unlimited"),
        ("400/day", "unlimited", "6/day", "400/day, 6/day per institution"),
        ("unlimited", "unlimited", "unlimited, p.example=6/day", "6/day to p.example"),
        ("unlimited", "unlimited", "p.example=unlimited", "unlimited"),
        (
            "9/day",
            "8/day",
            "7/day, p.example=6/day, q.example=unlimited",
            "9/day, 8/day per mail domain, 7/day per institution, 6/day to p.example, "
            "no institution limit to q.example",
        ),
        (
            "unlimited",
            "unlimited",
            "a.example=1/day, b.example=1/day, c.example=1/day, d.example=1/day, e.example=1/day",
            "1/day to a.example, 1/day to b.example, 1/day to c.example, 2 more for single domains",
        ),
    ],
)
def test_the_pace_says_every_limit_in_words(
    tmp_path: Path, rate: str, per_domain: str, per_institution: str, pace: str
) -> None:
    told = load(tmp_path, "", RATE=rate, RATE_PER_DOMAIN=per_domain, PER_INSTITUTION=per_institution)
    assert str(told.pace) == pace


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("4h", 14400), ("3d", 259200), (" 5 M ", 300), ("0s", 0), ("1d", 86400)],
)
def test_durations_are_seconds(text: str, seconds: int) -> None:
    assert settings.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5w", "-5m", "1.5h", "1h30m", "5 minutes", "9999999d"])
def test_a_bad_duration_is_named_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration; write like 30s, 15m, 4h, 3d") as caught:
        settings.parse_duration(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "mail"),
    [
        ("press@mail.example", "", "press@mail.example"),
        (" press@mail.example ", "", "press@mail.example"),
        ("<press@mail.example>", "", "press@mail.example"),
        ("Committee <press@mail.example>", "Committee", "press@mail.example"),
        ("  The  Committee   <press@mail.example> ", "The  Committee", "press@mail.example"),
        ('"Committee, The" <press@mail.example>', "Committee, The", "press@mail.example"),
        ('"The \\"C\\"" <press@mail.example>', 'The "C"', "press@mail.example"),
        ("O'Hara <press@Mail.EXAMPLE>", "O'Hara", "press@mail.example"),
        ("Комитет <press@почта.example>", "Комитет", "press@почта.example"),
        ("Επιτροπή <press@mail.example>", "Επιτροπή", "press@mail.example"),
    ],
)
def test_an_identity_is_a_name_and_an_address(text: str, name: str, mail: str) -> None:
    assert settings.parse_identity(text) == Identity(name, mail)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "@-sign"),
        ("Committee", "@-sign"),
        ("Committee press@mail.example", "invalid characters"),
        ("Committee <press@mail.example", "angle bracket"),
        ("Committee <press@mail.example> and more", "after the email address"),
        ("Committee <press@@mail.example>", "invalid characters"),
        ("Committee\nBcc: b@x.example <press@mail.example>", "control characters"),
        ("Commit\x7ftee <press@mail.example>", "control characters"),
        ("Commit\0tee <press@mail.example>", "control characters"),
    ],
)
def test_a_bad_identity_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings.parse_identity(text)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", Server("mail.example", 587, Security.STARTTLS)),
        ("smtp://mail.example/", Server("mail.example", 587, Security.STARTTLS)),
        ("SMTP://MAIL.example", Server("mail.example", 587, Security.STARTTLS)),
        ("smtp://mail.example:25", Server("mail.example", 25, Security.STARTTLS)),
        ("smtp://mail.example?tls=starttls", Server("mail.example", 587, Security.STARTTLS)),
        ("smtp://mail.example?tls=off", Server("mail.example", 587, Security.OFF)),
        ("smtps://mail.example", Server("mail.example", 465, Security.TLS)),
        ("smtps://mail.example:4465", Server("mail.example", 4465, Security.TLS)),
        ("smtps://localhost", Server("localhost", 465, Security.TLS)),
        ("smtp://localhost:2525", Server("localhost", 2525, Security.OFF)),
        ("smtp://127.0.0.1:2525", Server("127.0.0.1", 2525, Security.OFF)),
        ("smtp://127.8.8.8:2525", Server("127.8.8.8", 2525, Security.OFF)),
        ("smtp://[::1]:2525", Server("::1", 2525, Security.OFF)),
        ("smtp://localhost:2525?tls=starttls", Server("localhost", 2525, Security.STARTTLS)),
        ("smtp://192.0.2.7", Server("192.0.2.7", 587, Security.STARTTLS)),  # an address is no loopback
        ("smtp://localhost.example", Server("localhost.example", 587, Security.STARTTLS)),
        ("smtp://ann@mail.example", Server("mail.example", 587, Security.STARTTLS, user="ann")),
        (
            "smtp://ann%40party.example@mail.example",
            Server("mail.example", 587, Security.STARTTLS, user="ann@party.example"),
        ),
        (
            "smtp://10.0.0.1?tls_name=mail.example",
            Server("10.0.0.1", 587, Security.STARTTLS, tls_name="mail.example"),
        ),
    ],
)
def test_an_smtp_url_is_a_server_with_the_safest_security_it_allows(url: str, server: Server) -> None:
    assert settings.parse_server(url) == server


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is no SMTP URL"),
        ("mail.example:587", "is no SMTP URL"),
        ("http://mail.example", "is no SMTP URL"),
        ("imaps://mail.example", "is no SMTP URL"),
        ("smtp://", "is no SMTP URL"),
        ("smtp:mail.example", "is no SMTP URL"),
        (f"smtp://ann:{SECRET}@mail.example", "OUTREACH_SMTP_PASSWORD"),
        ("smtp://ann:@mail.example", "OUTREACH_SMTP_PASSWORD"),
        ("smtp://mail.example/inbox", "has a path"),
        ("smtp://mail.example#x", "has a path"),
        ("smtp://mail.example?starttls=1", "unknown option"),
        ("smtp://mail.example?tls=no", "known: starttls, off"),
        ("smtps://mail.example?tls=off", "smtps and tls=off at once"),
        ("smtp://mail.example?ca=missing.pem", r"not there: .*missing\.pem"),
        ("smtp://mail.example:99999", "host or port"),
        ("smtp://mail.example:smtp", "host or port"),
        ("smtp://[::1", "host or port"),
    ],
)
def test_a_bad_smtp_url_says_why(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        settings.parse_server(url)
    assert SECRET not in str(caught.value)


def test_a_certificate_file_is_looked_for_in_the_project_folder(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    assert settings.parse_server("smtp://mail.example?ca=ca.pem", tmp_path).ca_file == str(
        tmp_path / "ca.pem"
    )
    with pytest.raises(ValueError, match=r"other\.pem"):
        settings.parse_server("smtp://mail.example?ca=other.pem", tmp_path)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("192.0.2.1", False),
        ("mail.example", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert settings.is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FROM", "nobody", "@-sign"),
        ("REPLY_TO", "nobody", "@-sign"),
        ("SMTP_URL", "http://mail.example", "is no SMTP URL"),
        ("RATE", "fast", "is no limit"),
        ("RATE_PER_DOMAIN", "fast", "is no limit"),
        ("CONNECTIONS", "0", "is no number from 1 to 100"),
        ("CONNECTIONS", "101", "is no number from 1 to 100"),
        ("CONNECTIONS", "-1", "is no number from 1 to 100"),
        ("CONNECTIONS", "two", "is no number from 1 to 100"),
        ("RETRY", "5m, soon", "'soon' is no duration"),
        ("RETRY", "5m,", "is no duration"),
        ("GIVE_UP", "never", "is no duration"),
        ("LANGUAGE", "german", "is no language code"),
        ("LANGUAGE", "12", "is no language code"),
        ("LEDGER", "postgresql://mail.example/x", "not supported by this version"),
        ("LEDGER", "postgres://mail.example/x", "not supported by this version"),
        ("LEDGER", "outreach.db", "is no ledger"),
        ("UNSUBSCRIBE", "http://x.example/stop", "is no https: or mailto: address"),
        ("UNSUBSCRIBE", "https://x.example/a b", "is no https: or mailto: address"),
        ("UNSUBSCRIBE", "https://x.example/>,<https://y.example", "is no https: or mailto: address"),
        ("UNSUBSCRIBE", "https://x.example/стоп", "is no https: or mailto: address"),
        ("EHLO_NAME", "two words", "is neither a domain name nor an address"),
        ("EHLO_NAME", "[a]b", "is neither a domain name nor an address"),
        ("EHLO_NAME", "x" * 256, "is neither a domain name nor an address"),
    ],
)
def test_a_bad_value_is_a_problem_with_its_name(tmp_path: Path, name: str, value: str, message: str) -> None:
    for found in (
        problems(tmp_path, f"OUTREACH_{name}='{value}'\n"),
        problems(tmp_path, "", **{name: value}),
    ):
        assert len(found) == 1
        assert f"OUTREACH_{name}" in found[0]
        assert message in found[0]


@pytest.mark.parametrize(
    ("name", "value", "attribute", "read"),
    [
        ("RETRY", "5m, 1h", "retry", (300, 3600)),
        ("GIVE_UP", "2d", "give_up", 172800),
        ("CONNECTIONS", "100", "connections", 100),
        ("LANGUAGE", "pt-BR", "language", "pt-BR"),
        ("LANGUAGE", "EN", "language", "en"),  # RFC 5646 §2.1.1: case does not matter
        ("EHLO_NAME", "laptop.example", "ehlo_name", "laptop.example"),
        ("EHLO_NAME", "[IPv6:::1]", "ehlo_name", "[IPv6:::1]"),
        (
            "UNSUBSCRIBE",
            "https://x.example/stop?a={token}",
            "unsubscribe",
            "https://x.example/stop?a={token}",
        ),
        ("UNSUBSCRIBE", "mailto:stop@x.example", "unsubscribe", "mailto:stop@x.example"),
        ("LETTER", "solidarity", "letter", "solidarity"),
        ("RATE", "unlimited", "rate", ()),
    ],
)
def test_a_good_value_is_read(tmp_path: Path, name: str, value: str, attribute: str, read: object) -> None:
    assert getattr(load(tmp_path, "", **{name: value}), attribute) == read


def test_files_are_inside_the_project_folder(tmp_path: Path) -> None:
    told = load(tmp_path, "OUTREACH_CONTACTS=people.csv\nOUTREACH_LEDGER=sqlite:///sub/ledger.db\n")
    assert told.contacts == tmp_path / "people.csv"
    assert told.templates == tmp_path / "templates"
    assert told.ledger == tmp_path / "sub" / "ledger.db"


def test_the_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    default = load(tmp_path)
    assert default.rate == (Limit(100, 3600), Limit(400, 86400))
    assert default.domain_limits == DomainLimits(per_domain=(Limit(60, 3600),))
    assert default.retry == (300, 900, 3600, 14400, 43200)
    assert default.give_up == 3 * 86400
    assert default.connections == 2
    assert default.language == "en"
    assert default.ehlo_name == "[127.0.0.1]"
    assert (default.sender, default.reply_to, default.server) == (None, None, None)
    assert default.contacts == tmp_path / "contacts.csv"
    assert default.ledger == tmp_path / "outreach.db"
    assert {value.origin for value in default.values.values()} == {"default"}


# Which source wins -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "environ", "env", "rate", "origin"),
    [
        ("1/hour", "2/hour", "3/hour", Limit(1, 3600), "option"),
        (None, "2/hour", "3/hour", Limit(2, 3600), "environment"),
        (None, None, "3/hour", Limit(3, 3600), ".env:1"),
        (None, None, None, Limit(100, 3600), "default"),
        ("1/hour", None, "3/hour", Limit(1, 3600), "option"),
        (None, "", "3/hour", Limit(3, 3600), ".env:1"),  # set but empty is not set
        (None, " ", "3/hour", Limit(3, 3600), ".env:1"),
        (None, None, "", Limit(100, 3600), "default"),
    ],
)
def test_options_win_over_environment_over_env_file_over_default(
    tmp_path: Path, option: str | None, environ: str | None, env: str | None, rate: Limit, origin: str
) -> None:
    told = load(
        tmp_path,
        f"OUTREACH_RATE={env}\n" if env is not None else "",
        {"OUTREACH_RATE": environ} if environ is not None else {},
        RATE=option,
    )
    assert told.rate[0] == rate
    assert told.values["RATE"].origin == origin


def test_an_empty_option_never_lifts_a_limit(tmp_path: Path) -> None:
    """`--rate "$RATE"` with RATE unset in the shell: refuse it, or keep the limit."""
    for name in ("RATE", "RATE_PER_DOMAIN"):
        try:
            told = load(tmp_path, **{name: ""})
        except SettingsError:
            continue
        assert told.rate and told.domain_limits.per_domain


def test_the_env_file_is_read_without_interpolation(tmp_path: Path) -> None:
    told = load(
        tmp_path,
        """\
        # a comment
        OTHER=x
        export OUTREACH_SMTP_USER='$HOME ${OTHER} `id`'
        OUTREACH_LETTER=${OTHER}$HOME
        OUTREACH_FROM="Комитет <press@mail.example>" # who writes
        """,
        {"OTHER": "y", "HOME": "/root"},
    )
    assert told.user == "$HOME ${OTHER} `id`"
    assert told.letter == "${OTHER}$HOME"
    assert told.sender == Identity("Комитет", "press@mail.example")


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfOUTREACH_LETTER=x\n", b"OUTREACH_LETTER=x\r\n", b"\r\n\r\nOUTREACH_LETTER = x"]
)
def test_an_env_file_written_on_windows_is_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / ".env").write_bytes(data)
    assert load(tmp_path).letter == "x"


def test_a_parent_folders_env_file_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / ".env").write_text("OUTREACH_LETTER=parent\nOUTREACH_NONSENSE=1\n")
    monkeypatch.chdir(project)
    assert load(project).letter == ""
    assert settings.load(Path(), {}, {}).letter == ""
    monkeypatch.chdir(tmp_path)
    assert load(project).letter == ""


def test_only_our_own_names_are_read(tmp_path: Path) -> None:
    environ = {"RATE": "1/hour", "outreach_rate": "1/hour", "MY_OUTREACH_RATE": "1/hour", "SMTP_URL": "x"}
    assert load(tmp_path, "RATE=1/hour\nDJANGO_SECRET=x\n", environ).rate[0] == Limit(100, 3600)


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("OUTREACH_FORM", "OUTREACH_FROM"),
        ("OUTREACH_SMTP_PASWORD", "OUTREACH_SMTP_PASSWORD"),
        ("OUTREACH_RATES", "OUTREACH_RATE"),
        ("OUTREACH_TEMPLATE", "OUTREACH_TEMPLATES"),
        ("OUTREACH_SMTPURL", "OUTREACH_SMTP_URL"),
        ("OUTREACH_XYZZY", "outreach settings"),
        ("OUTREACH_", "outreach settings"),
    ],
)
def test_an_unknown_name_is_refused_with_its_line_and_the_nearest_name(
    tmp_path: Path, name: str, nearest: str
) -> None:
    (found,) = problems(tmp_path, f"# first\n\nOUTREACH_LETTER=x\n{name}=1\n")
    assert f".env:4: unknown setting {name} (" in found
    assert nearest in found
    (tmp_path / ".env").unlink()
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, environ={name: "1"})
    (problem,) = map(str, caught.value.problems)
    assert problem.startswith(f"environment: unknown setting {name} (")


def test_all_problems_are_shown_at_once_with_their_lines(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """\
        OUTREACH_RATE=fast

        this is no setting
        OUTREACH_FORM=x
        OUTREACH_RETRY=5m, soon
        OUTREACH_PROXY=socks5h://127.0.0.1:9050
        OUTREACH_CONNECTIONS=many
        """,
        FROM="nobody",
    )
    assert len(found) == 7
    for part in (
        ".env:1: OUTREACH_RATE: 'fast'",
        ".env:3: is no NAME=value line",
        ".env:4: unknown setting OUTREACH_FORM",
        ".env:5: OUTREACH_RETRY: 'soon'",
        ".env:6: OUTREACH_PROXY",
        ".env:7: OUTREACH_CONNECTIONS: 'many'",
        "option: OUTREACH_FROM: ",
    ):
        assert sum(part in one for one in found) == 1, part


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("14d", 14 * 86400), ("36h", 36 * 3600), ("", 0), ("0d", 0)]
)
def test_a_rest_is_a_duration_or_none(tmp_path: Path, text: str, seconds: int) -> None:
    assert load(tmp_path, f"OUTREACH_REST={text}\n").rest == seconds


@pytest.mark.parametrize("text", ["14", "two weeks", "-1d", "1.5d"])
def test_a_rest_without_a_unit_is_refused(tmp_path: Path, text: str) -> None:
    (found,) = problems(tmp_path, f"OUTREACH_REST={text}\n")
    assert "write like 30s, 15m, 4h, 3d" in found


@pytest.mark.parametrize(
    ("name", "value", "neutral"),
    [
        ("PROXY", "socks5h://127.0.0.1:9050", ""),
    ],
)
def test_what_this_version_cannot_honour_is_refused_not_ignored(
    tmp_path: Path, name: str, value: str, neutral: str
) -> None:
    (found,) = problems(tmp_path, f"OUTREACH_{name}={value}\n")
    assert found.startswith(f".env:1: OUTREACH_{name} is not supported by this version (")
    load(tmp_path, f"OUTREACH_{name}={neutral}\n")


def test_a_postgresql_ledger_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "OUTREACH_LEDGER=postgresql://mail.example/x\n")
    assert "not supported by this version" in found
    assert "sqlite:///" in found


def test_an_unreadable_env_file_is_a_problem_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    assert "cannot be read" in str(caught.value.problems[0])


def test_an_env_file_that_is_not_utf8_is_a_problem_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"OUTREACH_FROM=J\xfcrgen <press@mail.example>\n")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    assert "is not UTF-8" in str(caught.value.problems[0])


# Who logs in, and the secret ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "user"),
    [
        ("", ""),
        ("OUTREACH_FROM=me@mail.example\n", ""),
        ("OUTREACH_FROM=me@mail.example\nOUTREACH_SMTP_PASSWORD=x\n", "me@mail.example"),
        ("OUTREACH_FROM=me@mail.example\nOUTREACH_SMTP_PASSWORD_COMMAND=x\n", "me@mail.example"),
        ("OUTREACH_FROM=me@mail.example\nOUTREACH_SMTP_USER=ann\nOUTREACH_SMTP_PASSWORD=x\n", "ann"),
        ("OUTREACH_SMTP_USER=ann\nOUTREACH_SMTP_URL=smtp://bo@mail.example\n", "bo"),
    ],
)
def test_the_login_name_is_that_of_the_url_else_the_setting_else_the_sender(
    tmp_path: Path, env: str, user: str
) -> None:
    assert load(tmp_path, env).user == user


def command(code: str) -> str:
    return f'{sys.executable} -c "{code}"'


@pytest.mark.parametrize(
    ("code", "secret"),
    [
        (f"print('{SECRET}')", SECRET),
        (f"print('{SECRET}'); print('second line')", SECRET),
        ("print(' with blanks ')", " with blanks "),
        ("print('päss')", "päss"),
    ],
)
def test_a_password_command_prints_the_password_on_its_first_line(
    tmp_path: Path, code: str, secret: str
) -> None:
    told = load(tmp_path, "", {"OUTREACH_SMTP_PASSWORD_COMMAND": command(code)})
    assert told.password() == secret


@pytest.mark.parametrize(
    "line",
    [
        command(f"print('{SECRET}'); raise SystemExit(3)"),
        command("pass"),
        command(f"print(); print('{SECRET}')"),
        "/no/such/program --x",
        "pass 'unclosed",
    ],
)
def test_a_password_command_that_fails_is_an_error_without_its_output(tmp_path: Path, line: str) -> None:
    told = load(tmp_path, "", {"OUTREACH_SMTP_PASSWORD_COMMAND": line})
    with pytest.raises(SettingsError, match="OUTREACH_SMTP_PASSWORD_COMMAND") as caught:
        told.password()
    assert caught.value.hint
    assert SECRET not in caught.value.message


def test_a_password_wins_over_the_command_and_none_is_none(tmp_path: Path) -> None:
    both = {"OUTREACH_SMTP_PASSWORD": SECRET, "OUTREACH_SMTP_PASSWORD_COMMAND": "/no/such/program"}
    assert load(tmp_path, "", both).password() == SECRET
    assert load(tmp_path).password() is None


def test_a_password_is_never_in_the_repr_of_the_settings(tmp_path: Path) -> None:
    told = load(
        tmp_path,
        f"OUTREACH_SMTP_PASSWORD={SECRET}\nOUTREACH_IMAP_PASSWORD={SECRET}\nOUTREACH_FROM=me@mail.example\n",
    )
    assert told.password() == SECRET
    assert SECRET not in repr(told)
    assert SECRET not in str(told)


@pytest.mark.parametrize(
    "env",
    [
        f"OUTREACH_SMTP_PASSWORD={SECRET}\nOUTREACH_RATE=fast\n",
        f"OUTREACH_SMTP_PASWORD={SECRET}\n",
        f'OUTREACH_SMTP_PASSWORD="{SECRET}\nOUTREACH_RATE=5/hour\n',
        f"OUTREACH_SMTP_PASSWORD {SECRET}\n",
        f"OUTREACH_SMTP_URL=smtp://ann:{SECRET}@mail.example\n",
        f"OUTREACH_SMTP_URL=smtp://ann:{SECRET}@mail.example:port\n",
        f"OUTREACH_SMTP_URL=smtp://ann:{SECRET}\n",  # the host forgotten
        f"OUTREACH_SMTP_URL=smtp://ann:a?{SECRET}@mail.example\n",  # a password that wants encoding
        f"OUTREACH_SMTP_URL=smtp://ann:a/{SECRET}@mail.example\n",
        f"OUTREACH_SMTP_URL='smtp://ann:a#{SECRET}@mail.example'\n",
        f"OUTREACH_SMTP_URL=smtp://ann:[{SECRET}]@mail.example\n",
        f"OUTREACH_SMTP_URL=smtp://ann:℀{SECRET}@mail.example\n",
        f"OUTREACH_SMTP_URL=ann:{SECRET}@mail.example\n",
        f"OUTREACH_LEDGER=postgresql://ann:{SECRET}@mail.example/x\n",
        f"OUTREACH_LEDGER=mysql://ann:{SECRET}@mail.example/x\n",
    ],
)
def test_a_password_is_never_in_an_error(tmp_path: Path, env: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, env)
    error = caught.value
    assert SECRET not in " ".join([error.message, error.hint, *map(str, error.problems), repr(error)])


# Where answers arrive --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("imaps://mail.example", Source("imap", server=Server("mail.example", 993, Security.TLS))),
        ("imap://mail.example", Source("imap", server=Server("mail.example", 143, Security.STARTTLS))),
        ("imap://127.0.0.1:1143", Source("imap", server=Server("127.0.0.1", 1143, Security.OFF))),
        (
            "imaps://me%40x.example@mail.example/INBOX,Antworten%2F2026?spam=&sent=Gesendet",
            Source(
                "imap",
                server=Server("mail.example", 993, Security.TLS, "me@x.example"),
                folders=("INBOX", "Antworten/2026"),
                spam="",
                sent="Gesendet",
            ),
        ),
        ("maildir:Mail/in", Source("maildir", "Mail/in")),
        ("MBOX:/mail/a box", Source("mbox", "/mail/a box")),
        ("eml:mails", Source("eml", "mails")),
    ],
)
def test_where_answers_arrive_is_read(text: str, source: Source) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://mail.example", "is no IMAP URL"),
        ("mail.example", "is no IMAP URL"),
        ("imaps://me:secret@mail.example", "holds a password"),
        ("imaps://mail.example?folder=x", "unknown option"),
        ("imaps://mail.example:0", "no usable host or port"),
        ("maildir:", "names no path"),
        ("maildir://x", "names no path"),
    ],
)
def test_what_is_no_place_of_answers_is_refused_without_its_secret(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_source(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FROM", "press+{token}@mail.example"),
        ("REPLY_TO", "press{token}@mail.example"),
        ("REPLY_TO", "press+{token}x@mail.example"),
        ("REPLY_TO", "a-very-long-name-of-an-address+{token}@mail.example"),
    ],
)
def test_a_place_for_a_token_stands_at_the_end_of_the_address_for_answers(
    tmp_path: Path, name: str, text: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(tmp_path, {f"OUTREACH_{name}": text}, {})
    assert len(caught.value.problems) == 1
    right = {"OUTREACH_REPLY_TO": "press+{token}@mail.example"}
    assert settings.load(tmp_path, right, {}).reply_to


def test_login_and_password_of_the_mailbox_are_those_of_smtp_unless_set(tmp_path: Path) -> None:
    both = {"OUTREACH_FROM": "me@x.example", "OUTREACH_SMTP_PASSWORD": "one"}
    source = parse_source("imaps://mail.example")
    loaded = settings.load(tmp_path, both, {})
    assert (mailbox_user(loaded, source), loaded.mailbox_password()) == ("me@x.example", "one")
    loaded = settings.load(
        tmp_path, both | {"OUTREACH_IMAP_USER": "you", "OUTREACH_IMAP_PASSWORD": "two"}, {}
    )
    assert (mailbox_user(loaded, source), loaded.mailbox_password()) == ("you", "two")
    assert mailbox_user(loaded, parse_source("imaps://her@mail.example")) == "her"
