"""How well is mail understood? Measured on real mail that nobody of this project wrote, beside two libraries.

    make accuracy
    make accuracy ARGS="--corpora DIR --quiet"

Reads `bounces`, `autoreplies` and `replytext` with their labels.jsonl from a folder (by default
../shared/corpora), prints each figure with what it has to reach, and every miss with the evidence that
decided. Exit code 1 when a figure is missed. The mails are not part of the project: some are private, all
are somebody else's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any

from outreach import classify, quotes

ROOT = Path(__file__).parent.parent


@dataclass
class Figure:
    """A share, what it has to be, and what was missed."""

    name: str
    least: float | None = None
    most: float | None = None
    right: int = 0
    total: int = 0
    misses: list[str] = field(default_factory=list)

    def count(self, right: bool, miss: str = "") -> None:
        self.right += right
        self.total += 1
        if miss and right == (self.most is not None):
            self.misses.append(miss)

    @property
    def share(self) -> float:
        return self.right / self.total if self.total else 0.0

    @property
    def reached(self) -> bool:
        if self.least is not None:
            return self.share >= self.least
        return self.most is None or self.share <= self.most


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--corpora", type=Path, default=ROOT.parent / "shared" / "corpora")
    options.add_argument("--quiet", action="store_true", help="only the table")
    given = options.parse_args()
    if not given.corpora.is_dir():
        print(f"{given.corpora}: no such folder; name one with --corpora DIR")
        return 2
    figures = [
        *bounce_figures(given.corpora),
        *automatic_figures(given.corpora),
        *text_figures(given.corpora),
    ]
    for one in figures:
        if one.misses and not given.quiet:
            print(f"\n{one.name}: missed")
            for miss in one.misses:
                print(f"  {miss}")
    print(f"\n{'':44} {'share':>7} {'of':>5}  has to be")
    for one in figures:
        wanted = (
            f"≥ {one.least:.0%}"
            if one.least is not None
            else f"≤ {one.most:.0%}"
            if one.most is not None
            else ""
        )
        missed = "" if one.reached else "  MISSED"
        print(f"{one.name:44} {one.share:7.1%} {one.total:5}  {wanted}{missed}")
    return 0 if all(one.reached for one in figures) else 1


def labels(folder: Path) -> Iterator[dict[str, Any]]:
    for line in (folder / "labels.jsonl").read_text("utf-8").splitlines():
        yield json.loads(line)


def bounce_figures(corpora: Path) -> Iterator[Figure]:
    folder = corpora / "bounces"
    exact = Figure("bounces: the exact recipient", least=0.95)
    peer = Figure("  the same by flufl.bounce")
    found = Figure("bounces: told from other mail")
    fate = Figure("bounces: dead or living, right", least=0.92)
    killed = Figure("bounces: living called dead", most=0.02)
    slowest = 0.0
    for row in labels(folder):
        raw = (folder / row["file"]).read_bytes()
        start = time.process_time()
        answer = classify.read(raw)
        slowest = max(slowest, time.process_time() - start)
        said = classify.document(row["file"], answer)
        if row["kind"] not in ("bounce", "delayed") or not row["recipients"]:
            continue
        wanted = [one["addr"].lower() for one in row["recipients"]]
        got = (said["bounce"] or {}).get("recipient") or ""
        exact.count(got in wanted, f"{row['file']}: wanted {', '.join(wanted)}; got {got or 'nobody'}")
        peer.count(bool(set(wanted) & by_flufl(raw)))
        found.count(said["bounce"] is not None, f"{row['file']}: {said['kind']}: {said['evidence'][:90]}")
        for one in row["recipients"]:
            if one.get("hard") is None:
                continue
            mine = next((b for b in answer.bounces if b.recipient == one["addr"].lower()), None)
            mine = mine or next(iter(answer.bounces), None)
            dead = mine is not None and mine.permanent
            words = f"{mine.reason}: {mine.diagnostic[:90]}" if mine else "nothing"
            fate.count(dead == one["hard"], f"{row['file']}: {one.get('reason')}, but {words}")
            if not one["hard"]:
                killed.count(dead, f"{row['file']}: {one.get('reason')}, but {words}")
    yield from (exact, peer, found, fate, killed)
    print(f"slowest of the bounces: {slowest:.2f} s of processor time")


def by_flufl(raw: bytes) -> set[str]:
    from flufl.bounce import all_failures

    try:
        temporary, permanent = all_failures(message_from_bytes(raw))
    except Exception:
        return set()
    return {one.decode("utf-8", "replace").lower() for one in (*temporary, *permanent)}


def automatic_figures(corpora: Path) -> Iterator[Figure]:
    automatic = Figure("automatic answers found", least=0.95)
    human = Figure("humans called automatic or bounce", most=0.0)
    rows = [(corpora / "autoreplies", row, row["label"]) for row in labels(corpora / "autoreplies")]
    rows += [(corpora / "bounces", row, row["kind"]) for row in labels(corpora / "bounces")]
    for folder, row, label in rows:
        if label not in ("autoreply", "human"):
            continue
        answer = classify.read((folder / row["file"]).read_bytes())
        miss = f"{row['file']}: {answer.kind}: {answer.evidence[:90]}"
        if label == "autoreply":
            automatic.count(answer.kind == "auto-reply", miss)
        else:
            human.count(answer.kind in ("auto-reply", "bounce"), miss)
    yield from (automatic, human)


def text_figures(corpora: Path) -> Iterator[Figure]:
    folder = corpora / "replytext"
    exact = Figure("reply text: exact", least=0.60)
    peer = Figure("  the same by mail-parser-reply")
    kept = Figure("reply text: no line lost", least=0.98)
    clean = Figure("reply text: nothing foreign left")
    for row in labels(folder):
        wanted = row["constraints"]
        source = (folder / row["input"]).read_text("utf-8").replace("\r\n", "\n")
        text = quotes.visible(source)
        whole = wanted.get("eq") or wanted.get("body_equals")
        if whole is not None:
            exact.count(plain(text) == plain(whole), f"{row['input']}: {plain(text)[:90]!r}")
            peer.count(plain(by_peer(source, row["lang"])) == plain(whole))
        inside = [*wanted.get("body_contains", ()), *([wanted["in"]] if "in" in wanted else [])]
        inside += [line for line in (whole or "").split("\n") if any(map(str.isalnum, line))]
        if inside:
            lost = [line for line in inside if plain(line) not in plain(text)]
            kept.count(not lost, f"{row['input']}: {lost}")
        outside = [*wanted.get("body_not_contains", ()), *wanted.get("signature_contains", ())]
        outside += [wanted["notin"]] if "notin" in wanted else []
        if outside:
            left = [one for one in outside if one in text]
            clean.count(not left, f"{row['input']}: {left}")
    yield from (exact, peer, kept, clean)


def by_peer(source: str, language: str) -> str:
    from mailparser_reply import EmailReplyParser

    parsed = EmailReplyParser(languages=language.split(",")[:1]).read(source)
    return str(parsed.latest_reply or "") if hasattr(parsed, "latest_reply") else str(parsed.replies[0].body)


def plain(text: str) -> str:
    """Compare words, not blanks; a rule at the end belongs to nobody."""
    return " ".join(text.split()).rstrip("-_ ")


if __name__ == "__main__":
    raise SystemExit(main())
