"""Where answers arrive: an IMAP account, a Maildir, an mbox file, a folder of .eml files. Only read.

Fails with MailboxError (65: files, and folders that are not there) and ServerError (69 unreachable or cut
off, 77 login refused); then the mailbox is to be closed, and opened anew. imap.py and files.py are its kinds.
"""

from __future__ import annotations

from outreach.batches import MOST, Batch, Mail, Mailbox
from outreach.files import Letters, Maildir, Mbox
from outreach.imap import Imap
from outreach.model import Source

__all__ = ["MOST", "Batch", "Mail", "Mailbox", "open_mailbox"]

_FILES = {"maildir": Maildir, "mbox": Mbox, "eml": Letters}


def open_mailbox(source: Source, password: str | None) -> Mailbox:
    """Open a source of mail: log in, or look whether the files are there."""
    if source.server is not None:
        return Imap(source, source.server, password)
    return _FILES[source.kind](source)
