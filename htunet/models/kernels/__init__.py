"""The operations that are written for speed, with the plain ones that they equal: see kernels.md.

The page is ``documentation/explanation/kernels.md``; it holds the measurements by which they were chosen.
"""
