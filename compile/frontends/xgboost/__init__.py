"""XGBoost's files to a program."""
