"""Models that tests share, made here: small, seeded, nothing downloaded."""
