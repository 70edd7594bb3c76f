"""Command line: ``onescene``. Parses, calls, and says in a sentence what went wrong; the work is done elsewhere.

Exit codes: 0 done, 2 the caller's mistake, 1 ours, 130 interrupted.
"""

from onescene.cli.entry import main

__all__ = ["main"]
