"""CatBoost's files to a program."""
