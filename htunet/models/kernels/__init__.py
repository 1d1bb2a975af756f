"""Operations that are written for speed, beside the plain ones that they equal.

``documentation/explanation/kernels.md`` has the measurements by which they were chosen.
"""
