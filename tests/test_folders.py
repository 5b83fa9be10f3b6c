"""Folders of spam and of sent mail are known by their names."""

import re

import pytest

from outreach import folders


@pytest.mark.parametrize(
    ("names", "spam", "sent"),
    [
        (["INBOX", "INBOX.Spam", "INBOX.Sent", "INBOX.Archive.Sent"], ["INBOX.Spam"], ["INBOX.Sent"]),
        (
            ["INBOX", "Junk E-mail", "Sent Items", "Sent Messages"],
            ["Junk E-mail"],
            ["Sent Items", "Sent Messages"],
        ),
        (["INBOX", "[Gmail]/Spam", "[Gmail]/Gesendet"], ["[Gmail]/Spam"], ["[Gmail]/Gesendet"]),
        (["Courrier indésirable", "Éléments envoyés"], ["Courrier indésirable"], ["Éléments envoyés"]),
        (["Спам", "Отправленные"], ["Спам"], ["Отправленные"]),
        (["迷惑メール", "送信済み", "البريد العشوائي"], ["迷惑メール", "البريد العشوائي"], ["送信済み"]),
        (["INBOX", "Spam-Regeln", "Absent"], [], []),
    ],
)
def test_spam_and_sent_are_known_by_name(names: list[str], spam: list[str], sent: list[str]) -> None:
    assert [name for name in names if folders.is_for("spam", re.split(r"[./]", name))] == spam
    assert [name for name in names if folders.is_for("sent", re.split(r"[./]", name))] == sent
