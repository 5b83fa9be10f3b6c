"""Mutate lists of contacts, and read them: no file may end in a traceback, in silence, or in a wrong count.

    make fuzz                              five minutes
    make fuzz ARGS="--minutes 1 --seed 7"
    make fuzz ARGS="--replay FILE"

Takes the lists of tests/data/contacts/, cuts, splices, repeats and poisons them, and reads each with random
options: mostly in this process, every twentieth by the real command. A file that breaks a rule is kept in
fuzz-failures/ and named with the command that replays it.
"""

from __future__ import annotations

import argparse
import io
import random
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from outreach import address, clean, contacts
from outreach.errors import OutreachError
from outreach.model import CONTACT_COLUMNS

ROOT = Path(__file__).parent.parent
LISTS = ROOT / "tests/data/contacts"
FAILURES = ROOT / "fuzz-failures"
CODES = (0, 1, 2, 65)
POISON = [
    *(bytes([one]) for one in b"\"',;|@<>{[\t\r\n\0"), b"\r\n", b"]}", b"@@", b"\xff", b"\xfe\xff",
    b"\xef\xbb\xbf", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\\u0000", b"\\ud800",
    b"1e999", b"-" * 50, b"[" * 2000, b'{"a":' * 500, b"=cmd|' /C calc'!A0", b"sep=;\n", b"email",
    b"mailto:", b"(at)", b" at ",
    "\u202e\u2066\u200b".encode(), "＠．；".encode(), "\u0301".encode() * 40, b"a@b.example ", b"x" * 3000,
    b" " * 3000, b"@" * 500, b"a@" * 300, b"<" * 300, b"&amp;&lt;", b"<!ENTITY a '&b;'>", b"A1:XFD1048576",
    b'table:number-columns-repeated="1048576"', b'r="XFD1048576"', b"PK\x03\x04", b"PK\x05\x06",
]  # fmt: skip
ENCODINGS = (None,) * 8 + (
    "utf-8",
    "cp1251",
    "cp1252",
    "utf-16",
    "shift_jis",
    "gb18030",
    "koi8-r",
    "utf-7",
    "idna",
)
MAPS = ({},) * 6 + ({"email": "2"}, {"email": "name"}, {"name": "email"}, {"organisation": "1", "email": "3"})
SETS = ({},) * 6 + ({"country": "DE"}, {"audience": "party", "city": "x"}, {"language": "de"})


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=5.0)
    options.add_argument("--seed", type=int, default=None, help="default: another one each time")
    options.add_argument("--files", type=int, default=None, help="stop after so many")
    options.add_argument("--replay", type=Path)
    given = options.parse_args()
    if given.replay:
        return replay(given.replay)
    seed = random.randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}")
    done, failed = run(seed, given.minutes * 60, given.files)
    print(f"{sum(done.values())} files: " + ", ".join(f"{n} {what}" for what, n in done.most_common()))
    print("no failure" if not failed else f"{failed} failures, in {FAILURES}")
    return 1 if failed else 0


def run(seed: int, seconds: float, files: int | None) -> tuple[Counter[str], int]:
    """Read mutated lists; return what became of them, and how many broke a rule."""
    dice = random.Random(seed)
    seeds = [path.read_bytes() for path in sorted(LISTS.iterdir()) if not path.name.endswith(".json.json")]
    suffixes = [path.suffix for path in sorted(LISTS.iterdir()) if not path.name.endswith(".json.json")]
    done: Counter[str] = Counter()
    failed = 0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        while time.monotonic() < end and (files is None or sum(done.values()) < files):
            at = dice.randrange(len(seeds))
            data = mutated(seeds[at], dice.choice(seeds), dice)
            path = Path(name) / f"list{suffixes[at] if dice.random() < 0.8 else '.csv'}"
            path.write_bytes(data)
            encoding, maps, sets = dice.choice(ENCODINGS), dice.choice(MAPS), dice.choice(SETS)
            try:
                if sum(done.values()) % 20 == 19:
                    done[by_command(path, encoding, maps, sets)] += 1
                else:
                    done[by_hand(path, encoding, maps, sets)] += 1
            except Exception:
                failed += 1
                done["broken"] += 1
                keep(path, encoding, maps, sets)
    return done, failed


def mutated(data: bytes, other: bytes, dice: random.Random, poison: Sequence[bytes] = POISON) -> bytes:
    """Return a file with a few things wrong; of a spreadsheet mostly inside, or it is only a bad ZIP."""
    if data[:2] == b"PK" and dice.random() < 0.7:
        return mutated_inside(data, dice)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(data) + 1)
        size = dice.choice((1, 2, 8, 64, 512))
        match dice.randrange(8):
            case 0:
                data = data[:at]
            case 1:
                data = data[at:]
            case 2:
                data = data[:at] + data[at + size :]
            case 3:
                data = data[:at] + dice.choice(poison) + data[at:]
            case 4:
                data = data[:at] + data[at : at + size] * dice.choice((2, 10, 100)) + data[at + size :]
            case 5:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 6:
                data = data[:at] + other[dice.randrange(len(other) + 1) :][:size] + data[at + size :]
            case 7:
                data = data[:at] + dice.choice(poison) * dice.choice((2, 30)) + data[at + size :]
    return data[:400_000]


def mutated_inside(data: bytes, dice: random.Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        chosen = dice.choice(names)
        for name in names:
            part = old.read(name)
            new.writestr(name, mutated(part, part, dice) if name == chosen and part[:2] != b"PK" else part)
    return made.getvalue()


def by_hand(path: Path, encoding: str | None, maps: dict[str, str], sets: dict[str, str]) -> str:
    """Read and clean a list in this process; what must hold is asserted."""
    try:
        people = contacts.read([path], encoding, maps, sets, keep_refused=True)
    except OutreachError as error:
        assert error.message
        return type(error).__name__
    kept = list(people.contacts)
    assert people.rows == len(kept) + people.joined + people.count("rejected"), "a row vanished"
    assert len(people.refused) == people.count("rejected")
    for one in kept:
        for mail in (one.email, *one.alternates):
            assert address.parse(mail) == mail, mail
        for value in (*(getattr(one, column) for column in CONTACT_COLUMNS), *one.fields.values()):
            assert not any(ord(char) < 32 and char not in "\n\t" for char in value), value
    if kept:
        first, second = path.with_name("clean.csv"), path.with_name("again.csv")
        clean.write(people, first)
        clean.write_rejects(people, path.with_name("rejects.csv"))
        again = contacts.read([first])
        clean.write(again, second)
        if not maps:  # a column whose meaning --map gave to another one has it again without --map
            assert first.read_bytes() == second.read_bytes(), "cleaning a clean list changed it"
        assert [one.email for one in again.contacts] == [one.email for one in kept]
    return "read"


def by_command(path: Path, encoding: str | None, maps: dict[str, str], sets: dict[str, str]) -> str:
    done = subprocess.run(command(path, encoding, maps, sets), capture_output=True, timeout=120, check=False)
    assert done.returncode in CODES, done.stderr.decode("utf-8", "replace")
    assert b"Traceback" not in done.stderr
    return f"exit {done.returncode}"


def command(path: Path, encoding: str | None, maps: dict[str, str], sets: dict[str, str]) -> list[str]:
    options = ["--encoding", encoding] if encoding else []
    options += [word for name, where in maps.items() for word in ("--map", f"{name}={where}")]
    options += [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", "outreach", "contacts", "check", str(path), "--json", *options]


def keep(path: Path, encoding: str | None, maps: dict[str, str], sets: dict[str, str]) -> None:
    FAILURES.mkdir(exist_ok=True)
    number = len(list(FAILURES.glob("*.options")))
    kept = FAILURES / f"{number:04}{path.suffix}"
    kept.write_bytes(path.read_bytes())
    kept.with_suffix(".options").write_text(repr((encoding, maps, sets)))
    traceback.print_exc()
    print(
        f"replay: make fuzz ARGS='--replay {kept}'\nor:     {shlex.join(command(kept, encoding, maps, sets))}"
    )


def replay(path: Path) -> int:
    options = path.with_suffix(".options")
    encoding, maps, sets = eval(options.read_text()) if options.exists() else (None, {}, {})  # our own file
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / f"list{path.suffix}"
        copy.write_bytes(path.read_bytes())
        print(by_hand(copy, encoding, maps, sets), by_command(copy, encoding, maps, sets))
    return 0


if __name__ == "__main__":
    sys.exit(main())
