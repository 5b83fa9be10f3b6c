"""The command line: options → settings → one story → print. No logic of the trade lives here.

The commands are in before.py, during.py and after.py; what they share, and `main`, in shell.py.
"""

from outreach import after, before, during
from outreach.shell import cli, main, run

__all__ = ["after", "before", "cli", "during", "main", "run"]
