"""What is copied beside an artifact that Triton's python backend serves. Not imported here."""
