"""How long a first and a second reading of a large mailbox take, and how much memory: beside imaplib alone.

    python benchmarks/mailbox.py [MAILS]        (default: 50000)

Needs root and Debian's dovecot-imapd. The peer only fetches every mail and throws it away; a reading also
understands it, looks for its letter and keeps it. Prints seconds, megabytes and ratios.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import answering  # noqa: E402
import dovecot  # noqa: E402

TEXT = "Thank you for your letter.\n\n" + "We have talked about it in our meeting on Tuesday. " * 12


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    folder = Path(tempfile.mkdtemp())
    try:
        with dovecot.run(folder) as box:
            for number in range(count):
                mail = f"person{number}@d{number % 997}.example.org"
                box.deliver(answering.mail(mail, f"{TEXT}\n\nNumber {number}"))
            alone = fetch_all(box)
            print(f"imaplib, every mail fetched: {alone:.1f} s")
            first, megabytes = read(box, folder)
            print(f"first reading of {count}: {first:.1f} s ({first / alone:.0f} x), {megabytes} MB at most")
            second, megabytes = read(box, folder)
            print(f"second reading: {second:.2f} s ({second / alone:.2f} x), {megabytes} MB at most")
            print(f"ledger: {(folder / 'outreach.db').stat().st_size / count:.0f} bytes a mail")
    finally:
        shutil.rmtree(folder)


def fetch_all(box: dovecot.Dovecot) -> float:
    begun = time.monotonic()
    with box.client() as client:
        client.select("INBOX", readonly=True)
        last = int(client.response("EXISTS")[1][0] or 0)
        for start in range(1, last + 1, 50):
            client.fetch(f"{start}:{start + 49}", "(BODY.PEEK[])")
    return time.monotonic() - begun


def read(box: dovecot.Dovecot, folder: Path) -> tuple[float, int]:
    """Return seconds and megabytes of one reading."""
    settings = {
        "OUTREACH_IMAP_URL": f"imap://{box.user.replace('@', '%40')}@127.0.0.1:{box.port}",
        "OUTREACH_IMAP_PASSWORD": box.password,
    }
    begun = time.monotonic()
    command = [sys.executable, "-m", "outreach", "-q", "replies", "sync", "--json"]
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | settings, stdout=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.monotonic() - begun, used.ru_maxrss // 1024


if __name__ == "__main__":
    main()
