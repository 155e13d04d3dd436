"""What each command does, a module a command: ``cli/X.py`` parses, ``commands/X.py`` does."""
