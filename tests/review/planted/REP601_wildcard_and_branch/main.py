"""Counts words, the same way each time."""

import json
from pathlib import Path


def main():
    counts = {}
    for word in Path("corpus.txt").read_text(encoding="utf-8").split():
        counts[word] = counts.get(word, 0) + 1
    Path("counts.json").write_text(json.dumps(counts, sort_keys=True), encoding="utf-8")


if __name__ == "__main__":
    main()
