"""Run the command in a process of its own that is forked from one which has the program loaded already.

Most of a short command is the loading of libraries, and the tests run a thousand of them. The rest is as
ever: a process with its own folder, environment, files and exit code. Tests that kill, trace or time a
command, or set what Python itself looks at, start it from nothing (`Project.start`).
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_processes = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str
    megabytes: int  # the most memory of it, and of any process that it started; 0 when it was killed


@functools.cache
def _start() -> None:
    _processes.set_forkserver_preload(["tests.warm"])
    with contextlib.chdir(_ROOT):  # where the server finds that module
        forkserver.ensure_running()


def run(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout: float = 120,
    cpu_seconds: int = 0,
) -> Done:
    """Run a command to its end, with so much processor time at most if it is given.

    Raises subprocess.TimeoutExpired, and then it is killed.
    """
    _start()
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("out", "err", "memory")]
        given = (arguments, folder, dict(environment), files, cpu_seconds)
        process = _processes.Process(target=_command, args=given)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["outreach", *arguments], timeout)
        out, err = (path.read_bytes().decode("utf-8", "replace") for path in files[:2])
        memory = int(files[2].read_text()) if files[2].exists() else 0
        return Done(process.exitcode, out, err, memory // 1024)


def _command(
    arguments: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    files: Sequence[Path],
    cpu_seconds: int,
) -> None:
    from outreach import cli

    out, err, memory = files
    for number, path in enumerate((os.devnull, out, err)):
        given = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(given, number)
        os.close(given)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (for good)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["outreach", *arguments]
    if cpu_seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    try:
        cli.main()
    finally:
        most = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        memory.write_text(str(max(most)))
