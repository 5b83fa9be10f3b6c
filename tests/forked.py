"""Run the command in a process of its own that is forked from one which has the program loaded already.

Most of a short command is the loading of libraries, and the tests run a thousand of them. The rest is as
ever: a process with its own folder, environment, files and exit code. Tests that kill, trace or time a
command, or set what Python itself looks at, start it from nothing (`Project.start`).
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LOADED = [
    "pytest",
    "outreach.cli",
    "outreach.mailing",
    "outreach.report",
    "outreach.suppressions",
    "outreach.clean",
]
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(_LOADED)


def run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises subprocess.TimeoutExpired, and then it is killed."""
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        process = _processes.Process(target=_command, args=(arguments, folder, dict(environment), out, err))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["outreach", *arguments], timeout)
        texts = (path.read_bytes().decode().replace("\r\n", "\n") for path in (out, err))
        return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _command(
    arguments: Sequence[str], folder: Path, environment: dict[str, str], out: Path, err: Path
) -> None:
    from outreach import cli

    for number, path in enumerate((os.devnull, out, err)):
        given = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(given, number)
        os.close(given)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (a number, and for good)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["outreach", *arguments]
    cli.main()
