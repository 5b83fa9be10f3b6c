"""What the journey tests share: a project folder and the command, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forked
import pytest

# Nothing of the developer's own settings may reach a test.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OUTREACH_")} | {
    "PYTHONUTF8": "1",
    "COLUMNS": "200",
    "TZ": "UTC",
}
# A background job of a shell ignores some signals, and so would all that it starts; as under nohup.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

COMMAND = [sys.executable, "-m", "outreach"]


@dataclass
class Project:
    """A project folder under test."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def contacts(self, count: int, domains: int = 7) -> list[str]:
        """Write a list of `count` contacts; return their addresses."""
        mails = [f"person{n}@d{n % domains}.example.org" for n in range(count)]
        rows = [f"{mail},Person {n},party,DE,en" for n, mail in enumerate(mails)]
        self.write("contacts.csv", "email,name,audience,country,language\n" + "\n".join(rows) + "\n")
        return mails

    def letter(self, text: str = "Subject: Hello {{ name }}\n\nDear {{ name }},\n\nplease help.\n") -> None:
        self.write("templates/hello/en.md", text)

    def start(self, *arguments: str, under: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
        """Start a command, perhaps under another one, like strace."""
        return subprocess.Popen(
            [*under, *COMMAND, *arguments],
            cwd=self.folder,
            env=ENVIRONMENT | self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"stdin": subprocess.DEVNULL} | options,
        )

    def run(self, *arguments: str, code: int | None = 0, timeout: float = 120) -> forked.Done:
        """Run a command; `code` is the exit code it must end with (None: any)."""
        if any(name.startswith(("PYTHON", "LC_", "LANG")) for name in self.env):
            process = self.start(*arguments)
            out, err = process.communicate(timeout=timeout)
            done = forked.Done(process.returncode, out, err, 0)
        else:
            done = forked.run(arguments, self.folder, ENVIRONMENT | self.env, timeout)
        assert "Traceback" not in done.stderr, done.stderr
        words = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, words
        return done

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, code=code).stdout)

    def report(self) -> dict[str, dict[str, Any]]:
        """Return the delivery report by address."""
        document = self.json("report", "--format", "json")
        return {row["email"]: row for row in document["deliveries"]}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty folder with a sender set."""
    return Project(tmp_path, {"OUTREACH_FROM": "Solidarity Committee <press@outreach.example>"})
