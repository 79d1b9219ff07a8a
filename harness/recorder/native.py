"""The sums of `sm128` by machine code, many times faster than numpy: `sm128.c`, where it was compiled."""

import ctypes
import os
from collections.abc import Callable, Sequence

LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sm128.so")
# Of the first 0 to 256 of the bytes 0 to 255, added up: every rest that a loop over words can leave is among them.
_EXAMPLES = [bytes(range(size)) for size in range(257)]
_THEIR_SUMS = (0x71C430E678DBCC47, 0x86DD22475B5EADDF)


_INPUTS = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
Sums = Callable[[Sequence[int | bytes], Sequence[int]], tuple[list[int], list[int]]]
"""Of the sums a and b of byte strings, each given as bytes or as an address, and of their sizes."""


def load(path: str = LIBRARY) -> tuple[Sums | None, str]:
    """Return a function for the sums, or None, and what is the matter with the library.

    Other threads run while the function does.
    """
    try:
        compute = ctypes.CDLL(path).sm128
    except OSError:
        return None, "cannot be loaded" if os.path.exists(path) else "is not there"
    compute.argtypes, compute.restype = _INPUTS, None

    def sums(data: Sequence[int | bytes], sizes: Sequence[int]) -> tuple[list[int], list[int]]:
        num = len(data)
        found = (ctypes.c_uint64 * (2 * num))()
        places = (ctypes.c_char_p * num)(*data)  # type: ignore[misc]  # takes addresses as well as bytes
        compute(places, (ctypes.c_size_t * num)(*sizes), num, found)
        return found[::2], found[1::2]

    told = sums(_EXAMPLES, [len(example) for example in _EXAMPLES])
    if tuple(sum(some) % (1 << 64) for some in told) != _THEIR_SUMS:
        return None, "gives wrong sums"
    return sums, ""
