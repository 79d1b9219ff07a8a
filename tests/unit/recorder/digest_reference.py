"""The tensor digests `ml128` and `sm128` in plain Python integers, straight from their definitions, and golden vectors.

Run as a program it prints `tests/golden/digests.json`.
"""

import hashlib
import json
import math
import struct

MASK = (1 << 64) - 1


def mixed(x: int) -> int:
    """The finalizer of splitmix64."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


FACTORS = [mixed((j + 1) * 0x9E3779B97F4A7C15 & MASK) for j in range(1024)]


def condensed(words: list[int]) -> list[int]:
    """The four words of two sums of products for each 1024 words."""
    found = []
    for begin in range(0, len(words), 1024):
        block = list(zip(words[begin : begin + 1024], FACTORS, strict=False))
        a = sum(word * (factor & 0xFFFFFFFF | 1) for word, factor in block) & MASK
        b = sum(word * (factor >> 32 | 1) for word, factor in block) & MASK
        found += [a & 0xFFFFFFFF, a >> 32, b & 0xFFFFFFFF, b >> 32]
    return found


def reference_digest(dtype: str, shape: list[int], content: bytes, algorithm: str = "ml128") -> str:
    """Digest a tensor's contiguous little-endian bytes."""
    padded = content + b"\0" * (-len(content) % 4)
    words = [word for (word,) in struct.iter_unpack("<I", padded)]
    a = b = 0
    for i, word in enumerate(condensed(words) if algorithm == "ml128" else words):
        x = mixed((word + (i + 1) * 0x9E3779B97F4A7C15) & MASK)
        a, b = (a + x) & MASK, (b + x * x) & MASK
    text = f"{dtype}|{'x'.join(map(str, shape))}|{len(content)}|{a:016x}{b:016x}"
    return f"{algorithm}:" + hashlib.sha256(text.encode()).hexdigest()[:32]


def content_of(vector: dict) -> bytes:
    """Return a vector's bytes: written out, or for the long ones words w_i = 2654435761 i modulo 2^32."""
    if "hex" in vector:
        return bytes.fromhex(vector["hex"])
    return b"".join(struct.pack("<I", i * 2654435761 & 0xFFFFFFFF) for i in range(vector["num_words"]))


def golden_vectors() -> list[dict]:
    """Return the vectors: name, dtype, shape, bytes."""

    def floats(*values: float) -> str:
        return struct.pack(f"<{len(values)}f", *values).hex()

    quiet, payload, signalling, negative = 0x7FC00000, 0x7FC12345, 0x7F812345, 0xFFC00001
    nans = struct.pack("<4I", quiet, payload, signalling, negative).hex()
    vectors = [
        ("float32 ones", "float32", [3], floats(1.0, 1.0, 1.0)),
        ("float32 plus zero", "float32", [1], floats(0.0)),
        ("float32 minus zero", "float32", [1], floats(-0.0)),
        ("float32 infinities", "float32", [2], floats(math.inf, -math.inf)),
        ("float32 NaN payloads", "float32", [4], nans),
        ("float32 quiet NaNs", "float32", [4], struct.pack("<4I", *[quiet] * 4).hex()),
        ("float32 scalar", "float32", [], floats(0.1)),
        ("float32 of one element", "float32", [1], floats(0.1)),
        ("float32 denormal", "float32", [2], struct.pack("<2I", 1, 0x80000001).hex()),
        ("float32 matrix", "float32", [2, 3], floats(1, 2, 3, 4, 5, 6)),
        ("float32 matrix of another shape", "float32", [3, 2], floats(1, 2, 3, 4, 5, 6)),
        ("float32 matrix, two elements swapped", "float32", [2, 3], floats(2, 1, 3, 4, 5, 6)),
        ("float32 empty", "float32", [0], ""),
        ("float32 empty matrix", "float32", [3, 0], ""),
        ("float64", "float64", [2], struct.pack("<2d", -0.0, 1 / 3).hex()),
        ("float16 odd length", "float16", [3], struct.pack("<3e", 1.5, -0.0, math.inf).hex()),
        ("bfloat16 odd length", "bfloat16", [3], "803f00c0c17f"),
        ("bfloat16 scalar", "bfloat16", [], "803f"),
        ("bfloat16 matrix", "bfloat16", [2, 2], "803f00c0c17f0080"),
        ("int64", "int64", [2], struct.pack("<2q", -1, 1 << 62).hex()),
        ("int32", "int32", [2], struct.pack("<2i", -1, 7).hex()),
        ("int16 odd length", "int16", [1], struct.pack("<h", -2).hex()),
        ("bool", "bool", [5], "0100010100"),
        ("bool scalar", "bool", [], "01"),
        ("uint8 of 1", "uint8", [1], "ff"),
        ("uint8 of 3", "uint8", [3], "010203"),
        ("uint8 of 3 and a zero", "uint8", [4], "01020300"),
        ("uint8 of 5", "uint8", [5], "0102030405"),
        ("complex64", "complex64", [1], floats(1.0, -0.0)),
        ("float8_e4m3fn odd length", "float8_e4m3fn", [3], "3840ff"),
        ("float32 of 65537 words", "float32", [65537], None),
        ("int32 of 70000 words in a matrix", "int32", [7, 10000], None),
        ("int64 of 131072 words", "int64", [65536], None),
        ("uint8 of 300000 bytes", "uint8", [300000], None),
        ("float32 of a block", "float32", [1024], None),
        ("float32 of a block and a word", "float32", [1025], None),
        ("bfloat16 of a block and a half word", "bfloat16", [2049], "ff7f" * 2049),
    ]
    named = []
    sizes = {"float32": 4, "int32": 4, "int64": 8, "uint8": 1}
    for name, dtype, shape, content in vectors:
        words = {} if content is not None else {"num_words": math.prod(shape) * sizes[dtype] // 4}
        named.append({"name": name, "dtype": dtype, "shape": shape} | ({"hex": content} if not words else words))
    for vector in named:
        of = vector["dtype"], vector["shape"], content_of(vector)
        vector |= {algorithm: reference_digest(*of, algorithm) for algorithm in ("ml128", "sm128")}
    return named


if __name__ == "__main__":
    print(json.dumps({"schema": 2, "vectors": golden_vectors()}, indent=1))
