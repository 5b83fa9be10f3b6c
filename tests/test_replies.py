"""`outreach replies classify`, as a user and a script run it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import Project

INBOX = Path(__file__).parent / "data" / "inbox"


def test_scripts_get_each_mail_in_the_order_given(project: Project) -> None:
    names = [
        str(INBOX / f"{name}.eml") for name in ("mta-exim-user-unknown", "de-absence-lotus", "en-gmail-reply")
    ]
    files = [name for name in names if Path(name).exists()]
    done = project.run("replies", "classify", "--json", *files)
    found = json.loads(done.stdout)
    assert [one["file"] for one in found] == files
    assert found[0]["bounce"]["permanent"] is True
    assert found[1]["kind"] == "auto-reply"
    assert found[1]["returns"]
    assert not list(project.folder.glob("outreach.db*"))  # nothing is kept


def test_people_see_why_and_what_was_written(project: Project) -> None:
    mail = project.write(
        "answer.eml",
        "From: ann@party.example\nSubject: Re: Solidarity\n\nWe sign.\n\nRegards\nAnn\n\n> please help\n",
    )
    done = project.run("replies", "classify", mail.name)
    assert done.stdout.splitlines() == [
        "answer.eml: reply in English",
        "  from ann@party.example: Re: Solidarity",
        "  because of: no sign of a machine",
        "",
        "  │ We sign.",
    ]


def test_many_mails_are_a_table_and_a_sum(project: Project) -> None:
    done = project.run("replies", "classify", *(str(path) for path in sorted(INBOX.glob("fr-*.eml"))))
    assert "file" in done.stdout.splitlines()[0]
    assert "opt-out" in done.stdout.splitlines()[-1]


def test_a_mail_can_come_from_a_pipe(project: Project) -> None:
    process = project.start("replies", "classify", "--json", "-", stdin=subprocess.PIPE)
    out, _ = process.communicate("Subject: unsubscribe\n\n", timeout=60)
    assert [(one["file"], one["kind"]) for one in json.loads(out)] == [("-", "opt-out")]


def test_what_cannot_be_read_is_named_and_the_rest_is_read(project: Project) -> None:
    project.write("good.eml", "Subject: x\n\nWe sign.\n")
    project.write("empty.eml", "")
    project.write("box", "From a@b Mon\nSubject: x\n\nOne.\n\nFrom a@b Mon\nSubject: y\n\nTwo.\n")
    (project.folder / "outlook.msg").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100))
    (project.folder / "folder").mkdir()
    files = ("missing.eml", "good.eml", "empty.eml", "outlook.msg", "folder", "box")
    done = project.run("replies", "classify", "--json", *files, code=65)
    assert [one["file"] for one in json.loads(done.stdout)] == ["good.eml", "box"]
    for name in (
        "missing.eml: cannot be read",
        "empty.eml: is empty",
        "outlook.msg: is a message of Outlook",
    ):
        assert name in done.stderr
    assert "folder: cannot be read: Is a directory (name the files in it: folder/*)" in done.stderr
    assert "box: holds several mails: only the first was read" in done.stderr


def test_without_a_file_it_says_how(project: Project) -> None:
    assert "Missing argument" in project.run("replies", "classify", code=2).stderr


@pytest.mark.parametrize("json_too", [True, False])
def test_a_hostile_mail_cannot_command_the_terminal(project: Project, json_too: bool) -> None:
    head = "Subject: =?utf-8?q?=1B[31mRe:_x?=\nX-Autoreply: \x1b]0;x\x07\n"
    text = f"{head}\nhello \x1b[2J \x9b31m \u202e there\n\n> q\n"
    project.write("a.eml", text)
    done = project.run("replies", "classify", *(["--json"] if json_too else []), "a.eml")
    assert done.returncode == 0
    assert not set(done.stdout) & {"\x1b", "\x9b", "\x07", "\u202e"}
    if json_too:
        json.loads(done.stdout)


def test_it_works_anywhere(project: Project) -> None:
    """A broken project must not keep anybody from reading a mail."""
    project.write(".env", "OUTREACH_NONSENSE=1\n")
    project.write("a.eml", "Subject: x\n\nWe sign.\n")
    assert project.run("replies", "classify", "a.eml").returncode == 0
