"""Damaged downloads of every kind, and what a conversion must never do with them."""
