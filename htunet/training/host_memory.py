"""How a process that computes on a CPU treats the memory that it frees."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``, by their numbers in malloc.h."""


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next step; returns whether it agreed. Without glibc nothing happens.

    Left alone, glibc gives large blocks back to the system when they are freed. A training step frees and takes the
    same gigabytes each time, and the system clears and maps each page anew: an eighth of the time of a step of a UNet.
    In exchange the gaps between blocks are not given back; that UNet's process takes a tenth more memory.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; another system
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
