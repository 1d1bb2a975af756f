"""The operation that is written for speed, with the plain one that it equals beside it: see kernels.md.

The page is ``documentation/explanation/kernels.md``; it holds the measurements by which it was chosen.
"""
