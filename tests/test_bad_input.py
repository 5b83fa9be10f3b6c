"""Bad input: one clear message with the next step, the exit code of the contract, never a traceback."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import postfix
import pytest
import sink
import trustme
from conftest import Project

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


@pytest.fixture
def ready(project: Project) -> Project:
    project.contacts(2)
    project.letter()
    project.env["OUTREACH_SMTP_URL"] = "smtp://127.0.0.1:9"
    return project


def refused(project: Project, *arguments: str, code: int, says: str, hint: str = "") -> str:
    done = project.run(*arguments, code=code)
    assert says in done.stderr, done.stderr
    assert hint in done.stderr, done.stderr
    assert done.stderr.count("outreach: ") == 1, f"one message:\n{done.stderr}"
    return done.stderr


def test_no_such_list(ready: Project) -> None:
    refused(ready, "plan", "--contacts", "nowhere.csv", code=65, says="nowhere.csv", hint="--contacts")
    refused(ready, "contacts", "check", "nowhere.csv", code=65, says="nowhere.csv")
    refused(ready, "send", "--yes", "--contacts", "nowhere.csv", code=65, says="nowhere.csv")


def test_an_image_instead_of_a_list(ready: Project) -> None:
    (ready.folder / "contacts.csv").write_bytes(PNG)
    refused(ready, "contacts", "check", "contacts.csv", code=65, says="a PNG image", hint="CSV")
    refused(ready, "send", "--yes", code=65, says="a PNG image")


def test_an_empty_list_and_a_list_without_usable_rows(ready: Project) -> None:
    ready.write("contacts.csv", "")
    refused(ready, "send", "--yes", code=65, says="is empty")
    ready.write("contacts.csv", "email,name\n")
    refused(ready, "send", "--yes", code=65, says="no rows")
    ready.write("contacts.csv", "email,name\nbroken,X\n")
    refused(ready, "send", "--yes", code=65, says="@-sign")
    assert ready.json("contacts", "check", "contacts.csv", "--json", code=1)["rejected"] == 1


def test_a_letter_with_a_syntax_error_names_file_and_line(ready: Project) -> None:
    ready.letter("Subject: Hello\n\nDear {{ name }},\n\n{% if organisation %}\n\nno end\n")
    for command in (("plan",), ("preview",), ("send", "--yes"), ("rehearse",)):
        assert "hello/en.md:" in refused(ready, *command, code=65, says="has problems")


def test_an_unknown_variable_names_file_and_line(ready: Project) -> None:
    ready.letter("Subject: Hello\n\nDear {{ name }},\n\n{{ naem }} and {{ city }}\n")
    said = refused(ready, "send", "--yes", code=65, says="hello/en.md:5: no contact has 'naem'")
    assert "hello/en.md:5: no contact has 'city'" in said


def test_list_and_letter_are_wrong_at_once(ready: Project) -> None:
    ready.write("contacts.csv", "name\nX\n")
    ready.letter("Subject: {{ name\n\nX\n")
    said = refused(ready, "send", "--yes", code=65, says="no column is named email")
    assert "hello/en.md:1" in said


def test_no_such_letter_and_no_letter_at_all(ready: Project) -> None:
    refused(ready, "plan", "helo", code=65, says="no letter 'helo'", hint="hello")
    (ready.folder / "templates/hello/en.md").unlink()
    refused(ready, "plan", code=65, says="no letter", hint="outreach init")


def test_no_account(ready: Project) -> None:
    del ready.env["OUTREACH_SMTP_URL"]
    refused(ready, "send", "--yes", code=78, says="OUTREACH_SMTP_URL", hint=".env")
    del ready.env["OUTREACH_FROM"]
    said = refused(ready, "send", "--yes", code=78, says="OUTREACH_SMTP_URL")
    assert "OUTREACH_FROM" in said, "all problems at once"


def test_unknown_and_malformed_settings_are_all_shown_with_their_lines(ready: Project) -> None:
    ready.write(
        ".env", "OUTREACH_RATES=1/hour\nOUTREACH_CONNECTIONS=many\nOUTREACH_PROXY=socks5h://x.example\n"
    )
    said = refused(ready, "plan", code=78, says="OUTREACH_RATE?")
    assert ".env:2" in said
    assert ".env:3" in said


def test_no_terminal_and_no_consent(ready: Project) -> None:
    refused(ready, "send", code=2, says="no terminal", hint="--yes")
    assert not (ready.folder / "outreach.db").exists(), "nothing is recorded before consent"


def test_an_unknown_filter_field_and_value(ready: Project) -> None:
    refused(ready, "send", "--yes", "--only", "contry=DE", code=2, says="contry", hint="country")
    refused(ready, "plan", "--except", "country=DD", code=2, says="country=DD", hint="country=DE")
    refused(ready, "plan", "--only", "country", code=2, says="no filter")


def test_a_rate_that_makes_no_sense(ready: Project) -> None:
    refused(
        ready,
        "send",
        "--yes",
        "--rate",
        "100/fortnight",
        code=78,
        says="100/fortnight",
        hint="second, minute",
    )


def test_a_server_that_is_down(ready: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    ready.env["OUTREACH_SMTP_URL"] = f"smtp://127.0.0.1:{port}"
    refused(ready, "send", "--yes", code=69, says="nothing listens there", hint="port")
    assert ready.json("status", "--json")["counts"]["planned"] == 2


def server_context(name: str, folder: Path) -> tuple[ssl.SSLContext, Path]:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return context, ca_file


def test_a_certificate_that_does_not_verify(ready: Project) -> None:
    context, ca_file = server_context("localhost", ready.folder)
    with sink.run(tls_context=context) as server:
        url = f"smtp://localhost:{server.port}?tls=starttls"
        ready.env["OUTREACH_SMTP_URL"] = url
        refused(ready, "send", "--yes", code=69, says="certificate does not verify", hint="?ca=")
        # Right authority, wrong name.
        ready.env["OUTREACH_SMTP_URL"] = f"{url}&ca={ca_file}&tls_name=mail.example.org"
        refused(ready, "send", "--yes", code=69, says="certificate does not verify")
        assert not server.record
        ready.env["OUTREACH_SMTP_URL"] = f"{url}&ca={ca_file}"
        ready.run("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
        assert len(server.record) == 2


def test_tls_from_the_start_is_verified_as_well(ready: Project) -> None:
    context, ca_file = server_context("localhost", ready.folder)
    with sink.run(tls=context) as server:
        ready.env["OUTREACH_SMTP_URL"] = f"smtps://localhost:{server.port}"
        refused(ready, "send", "--yes", code=69, says="certificate does not verify")
        ready.env["OUTREACH_SMTP_URL"] = f"smtps://127.0.0.1:{server.port}?ca={ca_file}"
        refused(ready, "send", "--yes", code=69, says="certificate does not verify")
        ready.env["OUTREACH_SMTP_URL"] = f"smtps://127.0.0.1:{server.port}?ca={ca_file}&tls_name=localhost"
        ready.run("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
        assert len(server.record) == 2


def test_a_server_without_starttls_gets_no_mail(ready: Project) -> None:
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = f"smtp://localhost:{server.port}?tls=starttls"
        refused(ready, "send", "--yes", code=69, says="no STARTTLS")
        assert not server.record


def test_a_wrong_password_is_tried_once_and_never_shown(ready: Project) -> None:
    postfix.require()
    with postfix.run(ready.folder) as server:
        ready.env |= {
            "OUTREACH_SMTP_URL": f"smtp://localhost:{server.port}?tls=starttls&ca={server.ca_file}",
            "OUTREACH_SMTP_USER": server.user,
            "OUTREACH_SMTP_PASSWORD": "not-the-password",
        }
        said = refused(ready, "send", "--yes", code=77, says="refuses the login", hint="app password")
        assert "not-the-password" not in said
        assert server.log.read_text().count("authentication failed") == 1
        ready.env["OUTREACH_SMTP_PASSWORD"] = ""
        refused(ready, "send", "--yes", code=78, says="no password", hint="PASSWORD_COMMAND")
        shown = ready.run("settings").stdout
        assert server.password not in shown


def test_a_password_outside_ascii_is_refused_without_being_shown(ready: Project) -> None:
    context, ca_file = server_context("localhost", ready.folder)
    with sink.run(tls_context=context, authenticator=lambda *_: None) as server:
        ready.env |= {
            "OUTREACH_SMTP_URL": f"smtp://localhost:{server.port}?tls=starttls&ca={ca_file}",
            "OUTREACH_SMTP_PASSWORD": "пароль",
        }
        assert "пароль" not in refused(ready, "send", "--yes", code=77, says="ASCII")


def test_examples_are_never_sent_to_or_from_a_real_server(ready: Project) -> None:
    ready.env["OUTREACH_SMTP_URL"] = "smtp://192.0.2.1:587"
    refused(ready, "send", "--yes", code=2, says="is an example", hint="rehearse")
    # An address that could exist, without writing one down.
    ready.write("contacts.csv", "email\nx@" + "example.org".replace("example", "no-such-party") + "\n")
    refused(ready, "send", "--yes", code=78, says="cannot exist", hint="your real address")


def test_a_ledger_that_is_none(ready: Project) -> None:
    ready.write("outreach.db", "not a database, " * 100)
    refused(ready, "status", code=65, says="damaged")
    refused(ready, "send", "--yes", code=65, says="damaged")
    (ready.folder / "outreach.db").unlink()
    refused(ready, "status", code=65, says="no ledger")


def test_unknown_commands_options_and_mailings_are_usage_errors(ready: Project) -> None:
    assert "No such command" in ready.run("snd", code=2).stderr
    assert "--lmit" in ready.run("send", "--lmit", "3", code=2).stderr
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
    refused(ready, "status", "helo", code=2, says="'helo'", hint="hello")
    refused(ready, "-C", "nowhere", "status", code=2, says="nowhere")
