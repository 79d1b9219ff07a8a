"""How much may be made of a file: in proportion to its size, whatever its format.

A few bytes can stand for a great deal: a long key of a list is part of the path of each item, a pickle names one value
a million times, a tensor repeats one element. Who reads a file spends from its budget before it builds anything.
"""

from __future__ import annotations

from harness.errors import EvidenceError

_FREE_BYTES = 128 << 20
_BYTES_PER_BYTE = 64  # a list of tokens as JSON has six bytes for each, and takes about 400 of memory
_MAX_BYTES = 4 << 30
_VALUE_BYTES = 256
_REMEDY = "write it in several files, or as tensors; if it is neither output nor checkpoint, do not declare it"


class Budget:
    """What is left for one file.

    Args:
        name: of the file, for the message.
        size_bytes: of the file.
    """

    def __init__(self, name: str, size_bytes: int) -> None:
        self._name, self._size_bytes = name, size_bytes
        self._limit = self._left = min(_FREE_BYTES + _BYTES_PER_BYTE * size_bytes, _MAX_BYTES)

    def spend(self, num_values: int, num_bytes: int = 0) -> None:
        """Take from it what some values need, and the bytes of their texts and paths.

        Raises:
            EvidenceError: more than the file's size allows.
        """
        self._left -= num_values * _VALUE_BYTES + num_bytes
        if self._left < 0:
            problem = (
                f"{self._name}: what it describes needs more than {self._limit >> 20} MiB of memory, the bound for a "
                f"file of {self._size_bytes} bytes"
            )
            raise EvidenceError(problem, _REMEDY)
