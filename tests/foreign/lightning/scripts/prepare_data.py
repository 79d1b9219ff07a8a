"""Write data/digits.npz: noisy 8x8 pictures of ten patterns, split into train, val and test."""
from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().parents[1] / "data" / "digits.npz"


def main() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2, size=(10, 8, 8))
    labels = rng.integers(0, 10, size=1797)
    noise = rng.normal(2, 3, size=(1797, 8, 8))
    images = np.clip(patterns[labels] * 12 + noise, 0, 16).astype(np.uint8)[:, None]
    parts = {"train": slice(0, 1397), "val": slice(1397, 1597), "test": slice(1597, None)}
    arrays = {}
    for name, part in parts.items():
        arrays[f"x_{name}"], arrays[f"y_{name}"] = images[part], labels[part].astype(np.int64)
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(OUT, **arrays)
    print(f"{OUT.name}: " + ", ".join(f"{len(labels[part])} {name}" for name, part in parts.items()))


if __name__ == "__main__":
    main()
