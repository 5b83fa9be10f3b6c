"""What a person sees in a real mail client: the index of Debian's mutt, sorted by thread.

`threads()` shows a Maildir, `threads_imap()` the mailbox of an IMAP server; both answer with one line a mail:
the branch that mutt draws, and the subject. Only In-Reply-To and References join mails (strict_threads).

Needs Debian's packages mutt and tmux: `available()` says what is missing, `require()` skips the test then.
mutt runs in a terminal of 300 columns in a private tmux, with a configuration and a HOME of its own, and
read-only: no mail gets another flag, name or folder. It sends nothing, and connects to the given IMAP server
alone. What it does not show in 20 s, or shows as an error, is a RuntimeError with its screen.

Limits: up to 500 mails; a line is cut at the width. After a killed test run mutt and tmux go within about a
minute, but their folder in TMPDIR stays.
"""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import postfix

COLUMNS, ROWS = 300, 500
SECONDS = 20.0
INSTALL = "apt-get install mutt tmux"

# The status line stands first and says that mutt has read everything, and how much that is.
MUTTRC = """\
set sort=threads strict_threads=yes sort_aux=date-sent
set index_format="%s" hide_thread_subject=no ascii_chars=yes arrow_cursor=no
set help=no status_on_top=yes status_format="ready: %m mails in %f"
set folder=~ read_only=yes mark_old=no mail_check=600 sleep_time=0
set hostname=mail.example.org sendmail=/bin/false record="" postponed="" header_cache="" crypt_use_gpgme=no
"""
READY = re.compile(r"ready: (\d+) mails in (?!.*no mailbox)")
# Whatever happens, the terminal is closed after a minute, and what mutt said last can be read before.
RUN = 'timeout --foreground --kill-after=5 60 "$0" "$@"; echo "mutt has ended: $?"; sleep 5'


def available() -> str | None:
    """What is missing for `threads()`, in one sentence, or None."""
    if missing := [name for name in ("mutt", "tmux") if not shutil.which(name, path=postfix.PATH)]:
        return f"the test mail client lacks {' and '.join(missing)}: {INSTALL}"
    return None


def require() -> None:
    """Skip the running test when mutt cannot run here; fail it under REQUIRE_SERVERS=1."""
    postfix.skip_without(available())


def threads(maildir: Path) -> list[str]:
    """The index of a Maildir; an earlier thread comes first."""
    return _index(str(maildir.resolve(strict=True)), "")


def threads_imap(url: str, password: str, ca_file: Path | None = None) -> list[str]:
    """The index of `imaps://user@host:port/INBOX`, or of `imap://…`: with STARTTLS, unless the CA is missing.

    An `@` in the user is written `%40`. The mailbox is opened with EXAMINE: nothing becomes \\Seen.
    """
    settings = f"set imap_pass={_quoted(password)} imap_passive=yes\n"
    if ca_file:
        settings += f"set ssl_force_tls=yes ssl_ca_certificates_file={_quoted(str(ca_file))}\n"
    else:
        settings += "set ssl_force_tls=no ssl_starttls=no\n"
    return _index(url, settings)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'


def _index(mailbox: str, settings: str) -> list[str]:
    if reason := available():
        raise RuntimeError(reason)
    with tempfile.TemporaryDirectory(prefix="mutt-") as home:
        muttrc = Path(home, "muttrc")
        muttrc.write_text(MUTTRC + settings)
        mutt = ["mutt", "-n", "-R", "-F", str(muttrc), "-f", mailbox]
        start = ["new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS + 2), "sh", "-c", RUN, *mutt]
        try:
            _tmux(home, *start)
            return _read(home)
        finally:
            _tmux(home, "kill-server", check=False)


def _read(home: str) -> list[str]:
    """The lines below the status line, once the screen stays as it is."""
    end, before = time.monotonic() + SECONDS, ""
    while True:
        screen = _tmux(home, "capture-pane", "-p")
        ready = READY.match(screen)
        if ready and screen == before:
            break
        if "mutt has ended:" in screen or time.monotonic() > end:
            said = "\n".join(line for line in screen.splitlines() if line)
            raise RuntimeError(f"mutt showed no mailbox but:\n{said}")
        before = screen
        time.sleep(0.05)
    if (count := int(ready[1])) > ROWS:
        raise RuntimeError(f"{count} mails are more than the {ROWS} that a screen can show")
    return screen.splitlines()[1 : 1 + count]


def _tmux(home: str, *arguments: str, check: bool = True) -> str:
    command = ["tmux", "-u", "-f", "/dev/null", "-S", f"{home}/tmux", *arguments]
    # No locale of a person, no configuration but ours, no mailbox or terminal around us.
    env = {"PATH": postfix.PATH, "HOME": home, "LC_ALL": "C.UTF-8", "TERM": "xterm", "TZ": "UTC"}
    done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, check=False, timeout=20)
    if check and done.returncode:
        raise RuntimeError(f"tmux {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
