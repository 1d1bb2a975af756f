"""Heads: what turns the features of an encoder into the scores of a task."""
