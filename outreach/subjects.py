"""Subjects of answers: Re:, AW:, Отв:, 回复 and the like, taken off in any language. Pure."""

from __future__ import annotations

import re

from outreach import phrases

_PREFIX = re.compile(
    r"\s{0,3}(?:\[[^\]]{0,40}\]\s{0,3})?([^\s:：\[\]()]{1,12}(?: [^\s:：\[\]()]{1,12})?)"
    r"\s{0,2}(?:[\[(]\d{1,3}[\])]|\^\d|\d{1,2})?\s{0,2}[:：]\s{0,3}"
)
_MOST = 8  # prefixes of one subject


def bare(subject: str) -> str:
    """Return a subject without the prefixes of answers and forwarded mails."""
    text = subject.strip()
    for _ in range(_MOST):
        match = _PREFIX.match(text)
        if match is None or phrases.fold(match[1]) not in phrases.words("reply_prefix", "forward_prefix"):
            break
        text = text[match.end() :]
    return text.strip()


def is_answer(subject: str) -> bool:
    """Tell whether a subject begins as that of an answer or a forwarded mail does."""
    return bare(subject) != subject.strip()


def answering(subject: str) -> str:
    """Return the subject of a mail that goes on in the thread of another one (RFC 5322 §3.6.5)."""
    return subject if subject[:3].lower() == "re:" else f"Re: {subject}"


def folded(subject: str) -> str:
    """Return a subject as phrases are looked for in it, without marks in front."""
    return phrases.fold(subject).lstrip("[(*#<- ")
