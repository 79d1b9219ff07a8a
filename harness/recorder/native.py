"""The sums of `ml128` by machine code, several times faster than numpy: `ml128.c`, where it was compiled."""

import ctypes
import os
from collections.abc import Callable, Sequence

LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ml128.so")
# The first so many of some bytes, of which no two words are equal, and of all the sums added up: every rest that a loop
# over words or blocks can leave is among them.
_BYTES = b"".join((place * 0x9E3779B1 & 0xFFFFFFFF).to_bytes(4, "little") for place in range(2100))
_EXAMPLES = [_BYTES[:size] for size in (*range(257), 4095, 4096, 4097, 8400)]
_THEIR_SUMS = (0xBE4F8DC63C46731F, 0x6C29D1BD114B8D25)


_INPUTS = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
Sums = Callable[[Sequence[int | bytes], Sequence[int]], tuple[list[int], list[int]]]
"""Of the sums a and b of byte strings, each given as bytes or as an address, and of their sizes."""


def load(path: str = LIBRARY) -> tuple[Sums | None, str]:
    """Return a function for the sums, or None, and what is the matter with the library.

    Other threads run while the function does.
    """
    try:
        compute = ctypes.CDLL(path).ml128
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
