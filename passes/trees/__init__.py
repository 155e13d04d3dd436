"""Passes on forests, one a file. No row's answer moves by a bit through any of them."""
