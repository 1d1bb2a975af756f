"""Attacks on htunet that go on for as long as they are let: damaged files, and commands that are killed."""
