"""The gate: no missing, outdated or untested letter leaves by accident. Real commands, a real server."""

from __future__ import annotations

import email
import email.policy
import json
import re
import time
from email.message import EmailMessage
from pathlib import Path

import pytest
import sink
from conftest import Project

UNLIMITED = ("--rate", "unlimited", "--rate-per-domain", "unlimited")
LANGUAGES = ("en", "ru", "de", "fr", "es", "ar")
AUDIENCES = ("party", "deputy", "human-rights")
LETTER = "Subject: Hello {{ name }}\n\nDear {{ name }},\n\nplease help.\n"


def send(project: Project, server: sink.Sink, *arguments: str, code: int | None = 0) -> str:
    project.env["OUTREACH_SMTP_URL"] = server.url
    done = project.run("send", "--yes", *UNLIMITED, *arguments, code=code)
    return done.stdout + done.stderr


def mails(server: sink.Sink) -> dict[str, EmailMessage]:
    parsed = {}
    for one in server.record:
        mail = email.message_from_bytes(one.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        parsed[one.recipient] = mail
    return parsed


def text(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


@pytest.fixture
def shipped(project: Project) -> Project:
    """A new project with a reader for each language and audience of the shipped letter."""
    project.run("init", ".")
    rows = [
        f"{language}.{audience}@d.example.org,N N,{audience},{language}"
        for language in LANGUAGES
        for audience in AUDIENCES
    ]
    project.write("contacts.csv", "email,name,audience,language\n" + "\n".join(rows) + "\n")
    return project


def folder(project: Project) -> Path:
    return project.folder / "templates" / "solidarity"


# The matrix --------------------------------------------------------------------------------------


def test_the_shipped_letter_is_complete_in_six_languages_for_three_audiences(shipped: Project) -> None:
    document = shipped.json("letters", "check", "--json")
    assert set(document) >= {"letter", "source", "languages", "audiences", "cells", "problems"}
    assert (document["letter"], document["source"], document["problems"]) == ("solidarity", "en", [])
    assert set(document["languages"]) == set(LANGUAGES)
    cells = {(one["language"], one["audience"]): one for one in document["cells"]}
    for language in LANGUAGES:
        for audience in AUDIENCES:
            cell = cells[language, audience]
            assert (cell["state"], cell["file"]) == ("complete", f"{language}.{audience}.md")
    assert {one["state"] for one in document["cells"]} == {"complete"}
    with sink.run() as server:
        send(shipped, server)
        assert len(server.record) == 18


def test_the_example_list_gets_correct_letters_only(project: Project) -> None:
    project.run("init", ".")
    plan = project.json("plan", "--json")
    assert (plan["total"], plan["fallbacks"], plan["stale"]) == (60, [], [])
    assert set(plan["by_language"]) == set(LANGUAGES)
    with sink.run() as server:
        send(project, server, "--limit", "3", code=75)
        assert len(server.record) == 3


def refused(project: Project, *says: str, code: int = 65) -> str:
    """Try to send; return what is said instead."""
    with sink.run() as server:
        words = send(project, server, code=code)
        assert not server.record, "nothing leaves"
    assert not (project.folder / "outreach.db").exists(), "nothing is recorded"
    for one in says:
        assert one in words, words
    return words


def test_a_missing_ask_is_refused_with_its_file_and_who_would_not_get_it(shipped: Project) -> None:
    (folder(shipped) / "de.party.md").unlink()
    line = [
        n
        for n, row in enumerate((shipped.folder / "contacts.csv").read_text().split("\n"), 1)
        if "de.party" in row
    ]
    words = refused(
        shipped,
        "solidarity/de.party.md:1: is missing",
        f"contacts.csv:{line[0]}",
        "letters add de.party",
        "--allow-fallback",
    )
    assert words.count(": is missing") == 1
    document = shipped.json("letters", "check", "--json", code=65)
    (cell,) = [one for one in document["cells"] if one["state"] != "complete"]
    assert cell == {"language": "de", "audience": "party", "state": "fallback", "file": "de.md"}
    assert [(one["file"], one["line"]) for one in document["problems"]] == [("solidarity/de.party.md", 1)]
    with sink.run() as server:
        send(shipped, server, "--allow-fallback")
        assert "Wir bitten Sie, seinen Fall bekannt zu machen" in text(
            mails(server)["de.party@d.example.org"]
        )


def test_a_missing_language_is_refused_and_one_that_is_missing_altogether(shipped: Project) -> None:
    with (shipped.folder / "contacts.csv").open("a") as out:
        out.write("it@d.example.org,N N,party,it\nbr@d.example.org,N N,deputy,pt-BR\n")
    words = refused(
        shipped, "solidarity/it.party.md:1: is missing", "solidarity/pt-BR.deputy.md:1: is missing"
    )
    assert "would get the en letter" in words
    document = shipped.json("letters", "check", "--contacts", "contacts.csv", "--json", code=65)
    states = {(one["language"], one["audience"]): one["state"] for one in document["cells"]}
    assert states["it", "party"] == "fallback"


def test_a_letter_that_nobody_can_get_is_missing(project: Project) -> None:
    project.write("templates/hello/de.md", "Subject: x\n\nx\n")
    project.write("contacts.csv", "email,language\na@d.example.org,fr\n")
    document = project.json("letters", "check", "--contacts", "contacts.csv", "--json", code=65)
    assert [one["state"] for one in document["cells"]] == ["missing"]
    assert document["cells"][0]["file"] is None


def test_a_changed_source_makes_its_translations_stale_until_they_are_marked(shipped: Project) -> None:
    source = folder(shipped) / "en.party.md"
    source.write_text(
        source.read_text().replace("A picket of ten people counts", "A picket of two people counts")
    )
    refused(
        shipped, "solidarity/de.party.md:2: is out of date", "en.party.md", "--allow-stale", "mark-current"
    )
    document = shipped.json("letters", "check", "--json", code=65)
    stale = {(one["language"], one["audience"]) for one in document["cells"] if one["state"] == "stale"}
    assert stale == {(language, "party") for language in LANGUAGES if language != "en"}
    for file in ("solidarity/de.party.md", "templates/solidarity/fr.party.md", "es.party.md"):
        shipped.run("letters", "mark-current", file)
    document = shipped.json("letters", "check", "--json", code=65)
    stale = {one["language"] for one in document["cells"] if one["state"] == "stale"}
    assert stale == {"ru", "ar"}
    with sink.run() as server:
        send(shipped, server, "--allow-stale")
        assert len(server.record) == 18


def test_a_changed_general_source_makes_every_letter_of_a_translation_stale(shipped: Project) -> None:
    source = folder(shipped) / "en.md"
    source.write_text(source.read_text() + "\nP.S. He has been moved to a hospital.\n")
    words = refused(shipped, "solidarity/de.md:2: is out of date")
    assert words.count("solidarity/de.md:2") == 1, "once, not for each audience"
    states = {one["state"] for one in shipped.json("letters", "check", "--json", code=65)["cells"]}
    assert states == {"complete", "stale"}


def test_blanks_at_line_ends_and_windows_line_ends_are_no_change(shipped: Project) -> None:
    source = folder(shipped) / "en.md"
    source.write_bytes(source.read_text().replace("\n\n", "  \n\n").replace("\n", "\r\n").encode())
    assert shipped.json("letters", "check", "--json")["problems"] == []


def test_a_misspelt_variable_is_refused_with_file_and_line(shipped: Project) -> None:
    file = folder(shipped) / "fr.deputy.md"
    file.write_text(file.read_text().replace("Nous vous demandons", "{{ nmae }}, nous vous demandons", 1))
    line = next(n for n, row in enumerate(file.read_text().split("\n"), 1) if "nmae" in row)
    refused(shipped, f"solidarity/fr.deputy.md:{line}: no contact has 'nmae'")
    document = shipped.json("letters", "check", "--json", code=65)
    assert [(one["file"], one["line"]) for one in document["problems"]] == [("solidarity/fr.deputy.md", line)]
    (shipped.folder / "contacts.csv").unlink()
    found = shipped.json("letters", "check", "--json", code=65)["problems"]
    assert [one["suggestion"] for one in found] == ["did you mean name?"], "without a list as well"


def test_every_problem_of_the_gate_is_shown_at_once_and_in_a_dry_run_too(shipped: Project) -> None:
    (folder(shipped) / "de.party.md").unlink()
    source = folder(shipped) / "en.deputy.md"
    source.write_text(source.read_text() + "\n")
    source.write_text(source.read_text().replace("We respectfully ask", "We ask"))
    shipped.env["OUTREACH_SMTP_URL"] = "smtp://127.0.0.1:9"
    said = shipped.run("send", "--dry-run", code=65).stderr
    assert "de.party.md:1: is missing" in said and "ru.deputy.md:2: is out of date" in said
    assert "--allow-fallback --allow-stale" in said
    shipped.run("send", "--dry-run", "--allow-fallback", "--allow-stale")


def test_a_dry_run_shows_the_plan_and_then_refuses_as_send_would(shipped: Project) -> None:
    (folder(shipped) / "de.party.md").unlink()
    done = shipped.run("send", "--dry-run", "--json", code=65)
    assert json.loads(done.stdout)["total"] == 18
    assert "de.party.md:1: is missing" in done.stderr


def test_what_looks_misspelt_in_a_list_is_said_before_it_costs_an_ask(shipped: Project) -> None:
    shipped.write("contacts.csv", "email,audiance,language\na@d.example.org,party,de\n")
    assert "is audience meant?" in shipped.run("plan").stderr
    shipped.write("contacts.csv", "email,audience,language\na@d.example.org,partys,de\n")
    said = shipped.run("plan").stderr
    assert "'partys' has no ask of its own; is party meant?" in said
    shipped.write("contacts.csv", "email,audience,language\na@d.example.org,press,de\n")
    assert "meant?" not in shipped.run("plan").stderr


def test_a_letter_that_nobody_wrote_is_not_sent(project: Project) -> None:
    project.contacts(1)
    project.run("letters", "new", "spring")
    assert "letters new" in project.json("letters", "check", "--json")["notes"][0]["problem"]
    refused(project, "spring/en.md:1: still says what `outreach letters new` wrote")
    file = project.folder / "templates/spring/en.md"
    file.write_text(file.read_text().replace("Write the subject here", "Spring"))
    with sink.run() as server:
        send(project, server)
        assert len(server.record) == 1


def test_a_rehearsal_goes_on_and_says_what_send_would_refuse(shipped: Project) -> None:
    (folder(shipped) / "de.party.md").unlink()
    done = shipped.run("rehearse")
    assert "will refuse" in done.stderr and "solidarity/de.party.md:1" in done.stderr
    assert "18 accepted" in done.stdout


def test_a_mailing_that_was_allowed_goes_on_without_being_allowed_again(shipped: Project) -> None:
    """What is planned is planned: consent was given when it was recorded."""
    (folder(shipped) / "de.party.md").unlink()
    with sink.run() as server:
        send(shipped, server, "--allow-fallback", "--limit", "2", code=75)
        send(shipped, server)
        assert len(server.record) == 18


# Writing translations ----------------------------------------------------------------------------


def test_a_translators_copy_counts_as_missing_until_it_is_translated(shipped: Project) -> None:
    with (shipped.folder / "contacts.csv").open("a") as out:
        out.write("fi@d.example.org,N N,party,fi\n")
    done = shipped.run("letters", "add", "fi.party")
    for file in ("fi.md", "fi.party.md"):
        assert f"solidarity/{file}" in done.stderr
    copy = (folder(shipped) / "fi.party.md").read_text()
    assert '{% extends "fi.md" %}' in copy
    assert re.search(r"^Source: en [0-9a-f]{8}$", copy, re.MULTILINE)
    assert (shipped.folder / "templates/_languages/fi.toml").exists(), "greetings to be translated too"
    refused(shipped, "solidarity/fi.party.md:1: still says what en.party.md says")
    general = folder(shipped) / "fi.md"
    special = folder(shipped) / "fi.party.md"
    special.write_text(special.read_text().replace("We turn to you as comrades", "Hyvät toverit"))
    refused(shipped, "solidarity/fi.md:1: still says what en.md says")
    general.write_text(general.read_text().replace("We are activists", "Olemme aktivisteja"))
    refused(shipped, "_languages/fi.toml:1: is missing, or not translated")
    words = shipped.folder / "templates/_languages/fi.toml"
    words.write_text(words.read_text().replace("Dear", "Hyvä").replace("Reply with", "Vastaa"))
    with sink.run() as server:
        send(shipped, server)
        assert "Hyvät toverit" in text(mails(server)["fi@d.example.org"])
    assert "did you mean fi.deputy?" in shipped.run("letters", "add", "fi.deputee", code=65).stderr
    assert "is there already" in shipped.run("letters", "add", "fi.party", code=2).stderr


def test_a_copy_stays_a_copy_when_its_source_changes(shipped: Project) -> None:
    with (shipped.folder / "contacts.csv").open("a") as out:
        out.write("fi@d.example.org,N N,party,fi\n")
    shipped.run("letters", "add", "fi.party")
    for file in ("en.md", "en.party.md"):
        source = folder(shipped) / file
        source.write_text(source.read_text().replace("We", "All of us", 1))
        for tag in ("ru", "de", "fr", "es", "ar"):
            shipped.run("letters", "mark-current", f"solidarity/{file.replace('en', tag)}")
    refused(shipped, "solidarity/fi.party.md:1: still says", "--allow-fallback")
    done = shipped.run("letters", "mark-current", "fi.party.md", code=2)
    assert "translate it first" in done.stderr


def test_a_special_ask_begins_from_the_general_one(project: Project) -> None:
    project.contacts(1)
    project.run("letters", "new", "spring")
    project.run("letters", "add", "en.party", "spring")
    text = (project.folder / "templates/spring/en.party.md").read_text()
    assert text.startswith('Subject: Write the subject here\n\n{% extends "en.md" %}\n\n{% block ask %}\n')
    assert project.json("letters", "check", "spring", "--json")["problems"] == []
    project.letter()
    assert "no block" in project.run("letters", "add", "en.party", "hello", code=65).stderr


def test_a_regional_copy_of_the_source_is_no_untranslated_one(shipped: Project) -> None:
    shipped.run("letters", "add", "en-GB")
    document = shipped.json("letters", "check", "--json", code=65)
    states = {(one["language"], one["audience"]): one["state"] for one in document["cells"]}
    assert states["en-GB", ""] == "complete"
    assert states["en-GB", "party"] == "fallback"  # en-GB.md comes before en.party.md
    assert states["en", "party"] == "complete"


def test_mark_current_changes_nothing_but_its_line(shipped: Project) -> None:
    file = folder(shipped) / "de.md"
    before = file.read_bytes().replace(b"\n", b"\r\n").replace(b"8a4e963c", b"00000000")
    file.write_bytes(b"\xef\xbb\xbf" + before)
    assert "stale" in shipped.run("letters", "check", code=65).stdout
    shipped.run("letters", "mark-current", "de")  # as `letters add` names it; de.md does as well
    assert file.read_bytes() == b"\xef\xbb\xbf" + before.replace(b"00000000", b"8a4e963c")
    shipped.run("letters", "check")
    assert "source itself" in shipped.run("letters", "mark-current", "en.md", code=2).stderr
    assert "no file" in shipped.run("letters", "mark-current", "xx.md", code=2).stderr
    shipped.write("notes.md", "x")
    assert "no file of a letter" in shipped.run("letters", "mark-current", "notes.md", code=2).stderr


def test_a_new_letter_is_complete_as_it_is_and_never_overwrites(shipped: Project) -> None:
    shipped.run("letters", "new", "spring")
    assert shipped.json("letters", "check", "spring", "--json")["problems"] == []
    assert (
        "Write the subject here" in shipped.run("preview", "spring", "--to", "en.party@d.example.org").stdout
    )
    assert "is there already" in shipped.run("letters", "new", "spring", code=2).stderr
    assert "no name for a letter" in shipped.run("letters", "new", "../spring", code=2).stderr


def test_a_translation_without_a_source_line_is_noted_not_refused(project: Project) -> None:
    project.contacts(1)
    project.letter()
    project.write("templates/hello/de.md", "Subject: Hallo\n\nHallo\n")
    document = project.json("letters", "check", "--json")
    assert [one["file"] for one in document["notes"]] == ["hello/de.md"]
    project.run("letters", "mark-current", "hello/de.md")
    assert (project.folder / "templates/hello/de.md").read_text().startswith("Subject: Hallo\nSource: en ")
    assert project.json("letters", "check", "--json")["notes"] == []


def test_explain_says_each_step(shipped: Project) -> None:
    with (shipped.folder / "contacts.csv").open("a") as out:
        out.write("ch@d.example.org,N N,party,rm\n")
    shipped.write("contacts.csv", "email,language,country,audience\nch@d.example.org,rm,CH,party\n")
    said = shipped.run("preview", "--to", "ch@d.example.org", "--explain").stdout
    assert "1. rm, the contact's language: no rm.party.md, no rm.md" in said
    assert "2. de, a language of Switzerland: de.party.md" in said
    assert "a fallback" in said
    assert "_languages/de.toml: [greeting.comrades] unknown = 'Hallo,'" in said


# Test mails --------------------------------------------------------------------------------------


def test_test_mails_go_to_the_tester_only_and_are_no_deliveries(shipped: Project) -> None:
    with sink.run() as server:
        shipped.env["OUTREACH_SMTP_URL"] = server.url
        done = shipped.run("send", "--test-to", "me@outreach.example")
        assert server.recipients == ["me@outreach.example"] * 12, "one per language and audience, at most 12"
        assert "12 test mails to me@outreach.example" in done.stderr
        for one in server.record:
            mail = email.message_from_bytes(one.content, policy=email.policy.default)
            assert mail["Subject"].startswith("[TEST] ")
            assert [to.addr_spec for to in mail["To"].addresses] == ["me@outreach.example"]
            assert b"d.example.org" not in one.content, "no address of a contact, nowhere"
        ids = {email.message_from_bytes(one.content)["Message-ID"] for one in server.record}
        assert len(ids) == 12
        assert "nothing was sent yet" in shipped.run("status", code=2).stderr
        shipped.run("send", "--test-to", "me@outreach.example", "--to", "ar.deputy@d.example.org")
        assert len(server.record) == 13
        mail = email.message_from_bytes(server.record[-1].content, policy=email.policy.default)
        assert "أودالتسوف" in mail["Subject"]
        plan = shipped.json("plan", "--json")
        assert (plan["total"], plan["already"]) == (18, 0)
        send(shipped, server)
        assert len(server.record) == 13 + 18, "everybody still gets the letter"


def test_test_mails_count_against_the_limits_and_a_suppressed_tester_gets_none(shipped: Project) -> None:
    with sink.run() as server:
        shipped.env["OUTREACH_SMTP_URL"] = server.url
        done = shipped.run("send", "--test-to", "me@outreach.example", "--rate", "5/hour", code=75)
        assert "5/hour is used up" in done.stderr
        assert len(server.record) == 5
        shipped.run("suppress", "add", "ME@outreach.example")
        assert "suppressed" in shipped.run("send", "--test-to", "me@outreach.example", code=2).stderr
        shipped.run("send", "--test-to", "nobody", code=2)
        shipped.run("send", "--to", "en.party@d.example.org", code=2)
        done = shipped.run("send", "--test-to", "me@outreach.example", "--to", "nobody@d.example.org", code=2)
        assert "not in contacts.csv" in done.stderr
        shipped.run("send", "--test-to", "other@outreach.example", "--dry-run", code=2)
        assert len(server.record) == 5


def test_a_test_mail_that_is_refused_says_why(shipped: Project) -> None:
    with sink.run() as server:
        shipped.env["OUTREACH_SMTP_URL"] = server.url
        server.rcpt_replies = {"me@outreach.example": ["550 5.1.1 no such user"]}
        done = shipped.run("send", "--test-to", "me@outreach.example", code=77)
        assert "550 5.1.1 no such user" in done.stderr
        server.after_data = lambda mail: None
        shipped.run("send", "--test-to", "other@outreach.example", code=69)


# Consent by fingerprint --------------------------------------------------------------------------


def test_only_the_approved_mailing_is_sent(shipped: Project) -> None:
    fingerprint = shipped.json("plan", "--json")["fingerprint"]
    with sink.run() as server:
        shipped.env["OUTREACH_SMTP_URL"] = server.url
        done = shipped.run("send", *UNLIMITED, "--approved", "0123456789ab", code=2)
        assert fingerprint in done.stderr and "0123456789ab" in done.stderr
        source = folder(shipped) / "en.party.md"
        before = source.read_text()
        source.write_text(before + "\n")
        source.write_text(before.replace("earliest day", "first day"))
        shipped.run("send", *UNLIMITED, "--approved", fingerprint, "--allow-stale", code=2)
        source.write_text(before)
        assert not server.record
        shipped.run("send", *UNLIMITED, "--approved", fingerprint, "--limit", "5", code=75)
        assert len(server.record) == 5
        # A dead mailbox is left out from now on; what was approved still goes on.
        shipped.run("suppress", "add", "ar.party@d.example.org")
        with (shipped.folder / "contacts.csv").open("a") as out:
            out.write("new@d.example.org,N N,party,en\n")
        done = shipped.run("send", *UNLIMITED, "--approved", fingerprint, "--add-new", code=2)
        assert "not the mailing that was approved" in done.stderr
        shipped.run("send", *UNLIMITED, "--approved", fingerprint.upper())
        assert len(server.record) == 17
        assert "new@d.example.org" not in server.recipients


def test_an_approval_of_the_old_version_is_none_of_the_new_one(project: Project) -> None:
    project.contacts(4)
    project.letter(LETTER)
    fingerprint = project.json("plan", "--json")["fingerprint"]
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        project.run("send", *UNLIMITED, "--approved", fingerprint, "--limit", "1", code=75)
        project.letter(LETTER.replace("help", "help now"))
        project.run("send", *UNLIMITED, "--approved", fingerprint, "--revise", code=2)
        send(project, server, "--revise", "--limit", "1", code=75)
        project.run("send", *UNLIMITED, "--approved", fingerprint, code=2)
        assert len(server.record) == 2
        with (project.folder / "contacts.csv").open("a") as out:
            out.write("new@d.example.org,New,party,DE,en\n")
        now = project.json("plan", "--json")["fingerprint"]
        send(project, server, "--add-new", "--limit", "1", code=75)
        project.run("send", *UNLIMITED, "--approved", now)
        assert len(server.record) == 5


# Revising and cancelling -------------------------------------------------------------------------


def test_revise_gives_the_new_version_to_those_who_have_not_got_it(project: Project) -> None:
    addresses = project.contacts(6)
    project.letter(LETTER)
    with sink.run() as server:
        send(project, server, "--limit", "2", code=75)
        ids = {mail: row["message_id"] for mail, row in project.report().items()}
        project.letter(LETTER.replace("please help", "please help now"))
        words = send(project, server, code=2)
        assert "hello/en.md: was changed" in words
        assert "--revise" in words and "--name" in words
        lines = (project.folder / "contacts.csv").read_text().splitlines()
        project.write("contacts.csv", "\n".join(lines[:-1]) + "\n")  # one row vanishes, still to be sent
        send(project, server, "--revise")
        assert sorted(server.recipients) == sorted(addresses)
        said = [text(mails(server)[mail]) for mail in addresses]
        assert ["now" in one for one in said] == [False, False, True, True, True, True]
        assert {mail: row["message_id"] for mail, row in project.report().items()} == ids
        send(project, server)
        assert len(server.record) == 6


def test_a_revision_passes_the_gate_again(shipped: Project) -> None:
    with sink.run() as server:
        send(shipped, server, "--limit", "1", code=75)
        source = folder(shipped) / "en.party.md"
        source.write_text(source.read_text().replace("A picket of ten", "A picket of two"))
        words = send(shipped, server, "--revise", code=65)
        assert "de.party.md:2: is out of date" in words
        assert len(server.record) == 1
        send(shipped, server, "--revise", "--allow-stale")
        assert len(server.record) == 18


def test_a_revision_while_another_process_sends_mixes_nothing(project: Project) -> None:
    addresses = project.contacts(60)
    project.letter(LETTER)
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        slow = project.start("send", "--yes", "--rate", "20/second", "--rate-per-domain", "unlimited")
        while len(server.record) < 10:
            time.sleep(0.01)
        project.letter(LETTER.replace("Hello", "News").replace("help", "help now"))
        project.run(
            "send", "--yes", "--revise", "--limit", "1", "--no-wait", "--rate", "20/second", code=None
        )
        _, err = slow.communicate(timeout=60)
        assert slow.returncode in (0, 75), err
        send(project, server)
        assert sorted(server.recipients) == sorted(addresses)
        kinds = [
            (mail["Subject"].startswith("News"), "help now" in text(mail)) for mail in mails(server).values()
        ]
        assert set(kinds) == {(False, False), (True, True)}


def test_what_was_cancelled_is_never_sent(project: Project) -> None:
    addresses = project.contacts(8)
    project.letter(LETTER)
    with sink.run() as server:
        send(project, server, "--limit", "2", code=75)
        done = project.run("cancel", addresses[3].upper(), addresses[0])
        assert "hello: 1 cancelled" in done.stdout
        assert f"{addresses[0]}: has the letter already" in done.stderr
        assert "did you mean" in project.run("cancel", "person33@d3.example.org", addresses[4], code=2).stderr
        project.run("cancel", code=2)
        project.run("cancel", "--all", addresses[4], code=2)
        send(project, server, "--limit", "1", code=75)
        done = project.run("cancel", "--all", "--mailing", "hello")
        assert "hello: 4 cancelled" in done.stdout
        send(project, server)
        assert len(server.record) == 3
        counts = project.json("status", "--json")["counts"]
        assert (counts["sent"], counts["cancelled"], counts["planned"]) == (3, 5, 0)
        # Under another name they can be written to: cancelling is no refusal.
        send(project, server, "--name", "second")
        assert sorted(server.recipients) == sorted(addresses)


def test_a_running_mailing_can_be_cancelled_from_another_terminal(project: Project) -> None:
    project.contacts(60)
    project.letter(LETTER)
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        slow = project.start("send", "--yes", "--rate", "20/second", "--rate-per-domain", "unlimited")
        while len(server.record) < 5:
            time.sleep(0.01)
        project.run("cancel", "--all")
        out, err = slow.communicate(timeout=30)
        assert slow.returncode == 0, err
        assert "cancelled" in out
        assert len(server.record) < 30
        assert project.json("status", "--json")["counts"]["sent"] == len(server.record)


# Files that travel along -------------------------------------------------------------------------


def test_files_arrive_as_they_are_and_are_frozen_with_the_mailing(project: Project) -> None:
    project.contacts(3)
    picture, paper = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, b"%PDF-1.7\n" + b"\x00\xff.\r\n" * 5_000
    (project.folder / "files").mkdir()
    (project.folder / "files" / "Обращение.pdf").write_bytes(paper)
    head = "Subject: s\nAttach: files/Обращение.pdf\n\n"
    project.letter(f"{head}Look: ![the square, {{{{ name }}}}](square.png)\n")
    (project.folder / "templates" / "hello" / "square.png").write_bytes(picture)
    with sink.run() as server:
        send(project, server, "--limit", "1", code=75)
        (project.folder / "templates" / "hello" / "square.png").write_bytes(picture + b"x")
        words = send(project, server, code=2)
        assert "square.png: was changed" in words
        (project.folder / "templates" / "hello" / "square.png").write_bytes(picture)
        send(project, server)
        assert len(server.record) == 3
        project.run("preview", "--to", server.recipients[0], "-o", "one.eml")
        preview = email.message_from_bytes(
            (project.folder / "one.eml").read_bytes(), policy=email.policy.default
        )
        for mail in (*mails(server).values(), preview):
            assert mail.get_content_type() == "multipart/mixed"
            files = [part for part in mail.walk() if part.get_filename()]
            assert [(one.get_filename(), one.get_content_type()) for one in files] == [
                ("square.png", "image/png"),
                ("Обращение.pdf", "application/pdf"),
            ]
            assert [one.get_payload(decode=True) for one in files] == [picture, paper]
            html = mail.get_body(("html",)).get_content()
            assert f'src="cid:{files[0]["Content-ID"].strip("<>")}"' in html
            assert "[the square, Person" in mail.get_body(("plain",)).get_content()
            assert [part.defects for part in mail.walk()] == [[]] * 7


def test_a_reader_of_two_languages_gets_both_in_one_mail(shipped: Project) -> None:
    shipped.write("contacts.csv", "email,name,audience,language,gender\nx@d.example.org,N N,party,fr+ar,f\n")
    with sink.run() as server:
        send(shipped, server)
        mail = mails(server)["x@d.example.org"]
        french, arabic = mail["Subject"].split(" / ")
        assert "Solidarité" in french and "التضامن" in arabic
        said = text(mail)
        assert said.index("Chère camarade,") < said.index("* * *") < said.index("الرفيقة العزيزة")
        assert said.index("-- \n") < said.index("Répondez STOP") < said.index("بكلمة STOP")
        html = mail.get_body(("html",)).get_content()
        assert re.findall(r'<div lang="(\w+)" dir="(\w+)">', html) == [("fr", "ltr"), ("ar", "rtl")]
    (shipped.folder / "outreach.db").unlink()
    for half, missing in (("fr+it", ["it"]), ("it+fr", ["it"]), ("fr+pt", ["pt"]), ("nl+it", ["nl", "it"])):
        shipped.write("contacts.csv", f"email,audience,language,country\nx@d.example.org,party,{half},BE\n")
        refused(shipped, *(f"solidarity/{one}.party.md:1: is missing" for one in missing))
    said = shipped.run("preview", "--to", "x@d.example.org", "--explain").stdout
    assert said.count("a fallback") == 2, "each half is explained"
    shipped.write("contacts.csv", "email,audience,language\nx@d.example.org,party,fr+fr-BE\n")
    with sink.run() as server:
        send(shipped, server)
        assert len(server.record) == 1
