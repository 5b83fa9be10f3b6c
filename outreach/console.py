"""What the terminal shows: tables, progress, errors, questions.

stdout carries data, stderr carries progress, questions and errors; colour and bars only on a terminal,
never with --plain or NO_COLOR. Texts from lists and servers are printed as text, never as markup.
rich is imported only when something is drawn.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from outreach.errors import OutreachError, printable
from outreach.times import clock, when

if TYPE_CHECKING:
    from outreach.delivery import Observer, Progress


_MOST_PROBLEMS = 100  # that one message shows


def _folded(text: str, used: int = 0) -> str:
    """Break a line between words on a terminal, `used` columns being taken; elsewhere it stays one line."""
    if not sys.stderr.isatty():
        return text
    width = max(shutil.get_terminal_size().columns - 1, 40)
    return textwrap.fill(
        text,
        width,
        initial_indent=" " * used,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )[used:]


@contextmanager
def heard(stream: int = 2) -> Iterator[None]:
    """Write to stderr (2) or stdout (1) as long as somebody listens.

    A pipe that was closed, a window that is gone, a log on a full disk: none of them may end a mailing.
    """
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


class Console:
    """Where a command prints."""

    def __init__(self, quiet: bool = False, plain: bool = False) -> None:
        self.quiet = quiet
        self.plain = plain or bool(os.environ.get("NO_COLOR"))

    @property
    def interactive(self) -> bool:
        """Tell whether a person is there to be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def on_terminal(self) -> bool:
        """Tell whether stdout is a terminal."""
        return sys.stdout.isatty()

    def out(self, text: str = "", newline: bool = True) -> None:
        """Print data."""
        click.echo(text, nl=newline)

    def folded(self, text: str, before: str) -> None:
        """Print data with something before each line, which on a terminal are as long as it is wide."""
        width = shutil.get_terminal_size().columns - 1 if self.on_terminal else 100_000
        lines = textwrap.wrap(text, max(width - len(before), 20), break_on_hyphens=False) or [""]
        for line in lines:
            self.out(f"{before}{line}".rstrip())

    def say(self, text: str = "") -> None:
        """Print what goes on, to stderr."""
        if not self.quiet:  # letters that are shown keep their lines
            with heard():
                click.echo(text if "\n" in text else _folded(text), err=True)

    def next_step(self, text: str) -> None:
        """End a command with its likely next step; on a terminal only."""
        if self.on_terminal and sys.stderr.isatty():
            self.say("\n" + self._styled(f"Next: {text}", dim=True))

    def ask(self, question: str) -> str:
        """Ask and return the answer in lower case."""
        answer = click.prompt(_folded(question), default="", show_default=False, err=True)
        return str(answer).strip().lower()

    def secret(self, prompt: str) -> str:
        """Ask for a password; what is typed is not shown."""
        return str(click.prompt(prompt, hide_input=True, err=True))

    def error(self, error: OutreachError) -> None:
        """Print what stops a command: the message, every problem, the next step."""
        head = self._styled("outreach: ", fg="red", bold=True)
        with heard():
            click.echo(head + _folded(printable(error.message), used=len("outreach: ")), err=True)
            for problem in error.problems[:_MOST_PROBLEMS]:
                click.echo(_folded(f"  {problem}"), err=True)
            if len(error.problems) > _MOST_PROBLEMS:
                click.echo(f"  … and {len(error.problems) - _MOST_PROBLEMS} more", err=True)
            if error.hint:
                click.echo(self._styled("  → ", fg="cyan") + _folded(printable(error.hint), used=4), err=True)

    def _styled(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if sys.stderr.isatty() and not self.plain else text

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows of text and numbers in aligned columns."""
        from rich.console import Console as Rich
        from rich.table import Table
        from rich.text import Text

        rich = Rich(width=None if self.on_terminal else 200, no_color=self.plain, highlight=False)
        grid = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
        for n, title in enumerate(head):
            number = bool(rows) and all(isinstance(row[n], int | float) for row in rows)
            grid.add_column(title, justify="right" if number else "left", overflow="fold")
        for row in rows:
            grid.add_row(*(Text(str(cell)) for cell in row))
        with rich.capture() as drawn:
            rich.print(grid)
        for line in drawn.get().splitlines():
            self.out(line.rstrip())

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show on a terminal that something goes on, and how far it is."""
        if self.quiet or self.plain or not sys.stderr.isatty():
            yield lambda words: None
            return
        from rich.console import Console as Rich

        rich = Rich(stderr=True, highlight=False)
        with rich.status(what) as shown:
            yield lambda words: shown.update(f"{what}: {words}")

    @contextmanager
    def progress(self) -> Iterator[Observer]:
        """Show a run: a bar with pace and expected end on a terminal, single lines elsewhere."""
        if self.quiet or self.plain or not sys.stderr.isatty():
            yield lambda progress, note: self.say(f"  {note}") if note else None
            return
        from rich.console import Console as Rich
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("  "),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.description}", markup=False),
            console=Rich(stderr=True, highlight=False),
            transient=True,
        )
        task = bar.add_task("", total=1)

        def observe(progress: Progress, note: str) -> None:
            with heard():
                bar.update(
                    task,
                    total=max(progress.total, 1),
                    completed=progress.done,
                    description=describe(progress),
                )
                if note:
                    bar.console.print(f"  {note}", markup=False)

        with heard():
            bar.start()
        try:
            yield observe
        finally:
            with heard():
                bar.stop()


def describe(progress: Progress) -> str:
    """Say in a few words how fast it goes, what it waits for, and when it ends."""
    parts = []
    spent = time.time() - progress.started_at
    if progress.done > 1 and spent > 1:
        pace = progress.done / spent * 3600
        parts.append(f"{pace:.0f}/hour" if pace < 10000 else f"{pace / 3600:.0f}/second")
    if progress.next_at is not None:
        parts.append(f"next {clock(progress.next_at)}")
    if progress.ends_at is not None:
        parts.append(f"until {when(progress.ends_at)}")
    if progress.note:
        parts.append(progress.note)
    return " · ".join(parts)
