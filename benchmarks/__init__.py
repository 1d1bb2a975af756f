"""Speed and memory, each against the alternative in the same run: ``python -m benchmarks``."""
