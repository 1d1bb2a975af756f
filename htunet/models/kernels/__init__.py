"""The two operations that are written for speed, each beside the plain one that it equals: see kernels.md.

The page is ``documentation/explanation/kernels.md``; it holds the measurements by which these two were chosen.
"""
