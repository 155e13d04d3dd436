"""The command line: ``millwork COMMAND``, and ``optimize`` by itself. Progress goes to stderr, answers to stdout.

Exit codes: 0 done; 2 usage; 3 model refused or unreadable; 4 no candidate passed parity; 5 the target isn't here; 6 the
latency limit isn't met; 7 publication failed (the old version still serves); 70 a bug of ours; 130 Ctrl-C.

A command's module imports its options, which ``--help`` needs. What the command does, and what shows that, is imported
when it runs.
"""

from __future__ import annotations

from .early import guarded

guarded()

from .app import main, optimize_main  # noqa: E402 -- what takes long to import comes after

__all__ = ["main", "optimize_main"]
