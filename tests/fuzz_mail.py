# ruff: noqa: E501 - tables read better with a case on a line
"""Mutate mails that came back, and read them: none may raise, none may take a second, each is understood
somehow.

    make fuzz                                   lists first, then mails, five minutes in all
    make fuzz ARGS="--minutes 1 --seed 7"
    PYTHONPATH=tests python tests/fuzz_mail.py --corpora DIR --replay FILE

Takes the mails of tests/data/inbox/, and any others in a folder of real ones, cuts, splices, repeats and
poisons them. A mail that breaks a rule is kept in fuzz-failures/. Time is the processor's, measured again
before it counts.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import fuzz

from outreach import classify, inbound
from outreach.errors import printable
from outreach.model import Came

ROOT = Path(__file__).parent.parent
INBOX = ROOT / "tests/data/inbox"
FAILURES = ROOT / "fuzz-failures"
SLOWEST = 1.0  # seconds of processor time
POISON = [
    b"\n\n", b"\r\n\r\n", b"\r", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\x1b$B", b"\x1b(B", b"~{",
    b"+2AA-", b"=?utf-8?b?", b"=?utf-7?q?+2AA-?=", b"=?x-unknown?q?=FF?=", b"=?idna?q?a?=", b"?=", b"=\n", b"=3D" * 50,
    b"--", b"\n--b\n", b"Content-Type: multipart/mixed; boundary=b\n\n--b\n", b"Content-Type: message/rfc822\n\n",
    b"Content-Type: message/delivery-status\n\n", b"Content-Transfer-Encoding: base64\n", b"; charset=utf-7",
    b"; charset=utf-16", b"; charset*0*=x''%FF", b"; format=flowed; delsp=yes", b"> " * 500, b">" * 3000, b" " * 3000,
    b"<div>" * 500, b"<blockquote>" * 300, b"</", b"<!--", b"<![CDATA[", b"&#" * 300, b"&#xD800;", b"&#1114112;",
    b"On \n" * 300, b"On Mon wrote:\n" * 50, b"-- \n" * 50, b"From: a@b.example\nSent: x\nTo: y\nSubject: z\n" * 5,
    b"Best regards,\n" * 50, b"a@b.example " * 200, b"@" * 2000, b"550 5.1.1 " * 100, b"Date: Fri, 99 Xxx 99999 +9999\n",
    b"\xe2\x80\xae\xe2\x81\xa6\xe2\x80\x8b", b"\xcc\x81" * 2000, b"1.1.2012 - " * 300, b"until 31.2.0000 ", b"\x1b[31m",
]  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=5.0)
    options.add_argument("--seed", type=int, default=None, help="default: another one each time")
    options.add_argument("--files", type=int, default=None, help="stop after so many")
    options.add_argument(
        "--corpora", type=Path, default=ROOT.parent / "shared" / "corpora", help="real mails"
    )
    options.add_argument("--replay", type=Path)
    given = options.parse_args()
    if given.replay:
        print(understood(given.replay.read_bytes()))
        return 0
    seed = random.randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}")
    seeds = samples(given.corpora)
    done, failed = run(seeds, seed, given.minutes * 60, given.files)
    print(
        f"{sum(done.values())} mails of {len(seeds)}: "
        + ", ".join(f"{n} {what}" for what, n in done.most_common())
    )
    print("no failure" if not failed else f"{failed} failures, in {FAILURES}")
    return 1 if failed else 0


def samples(corpora: Path) -> list[bytes]:
    """Return our mails, and real ones where there are any."""
    found = sorted(INBOX.glob("*.eml"))
    for kind in ("bounces", "autoreplies", "replytext"):
        found += sorted(
            path for path in (corpora / kind).rglob("*") if path.suffix in (".eml", ".msg", ".txt")
        )
    return [path.read_bytes() for path in found]


def run(seeds: list[bytes], seed: int, seconds: float, files: int | None) -> tuple[Counter[str], int]:
    """Read mutated mails; return what became of them, and how many broke a rule."""
    dice = random.Random(seed)
    done: Counter[str] = Counter()
    failed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end and (files is None or sum(done.values()) < files):
        raw = fuzz.mutated(dice.choice(seeds), dice.choice(seeds), dice, POISON)
        try:
            done[understood(raw)] += 1
        except Exception:
            failed += 1
            done["broken"] += 1
            FAILURES.mkdir(exist_ok=True)
            kept = FAILURES / f"mail-{len(list(FAILURES.glob('mail-*'))):04}.eml"
            kept.write_bytes(raw)
            traceback.print_exc()
            print(f"replay: PYTHONPATH=tests python tests/fuzz_mail.py --replay {kept}")
    return done, failed


def understood(raw: bytes) -> str:
    """Read a mail and hold it against what is promised of any; return its kind."""
    start = time.process_time()
    mail = inbound.read(raw)
    answer = classify.understand(mail)
    taken = time.process_time() - start
    if taken > SLOWEST:  # the machine may have been busy with itself
        start = time.process_time()
        classify.read(raw)
        assert time.process_time() - start <= SLOWEST, f"{taken:.1f} s"
    assert answer.kind in Came
    assert answer.evidence
    assert (answer.kind != Came.BOUNCE) or answer.bounces
    document = json.dumps(classify.document("x", answer), ensure_ascii=False).encode("utf-8")
    assert b"\\u0000" not in document
    assert printable(answer.evidence).isprintable()
    return str(answer.kind)


if __name__ == "__main__":
    sys.exit(main())
