"""Files: written atomically, kept under what decides them, read without trust."""
