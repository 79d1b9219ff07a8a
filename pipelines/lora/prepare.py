"""Prepare the data and the base model once, before any training; done twice it writes the same bytes.

    python pipelines/lora/prepare.py --config C.json --inputs DIR --output DIR

Reads WordNet's own database files (format: wndb(5WN)) and, for `model.source: gguf`, a GGUF file; writes

    pairs.jsonl   one pair a line: split, word, part, prompt, answer, input_ids, prompt_length
    model/        the frozen base, float32, and its tokenizer, as from_pretrained loads them
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from config import EXIT_USAGE, Config, PipelineError, load_config
from data import fill_prompt
from determinism import seed_everything, set_determinism
from model import BYTE_SPECIALS, random_base
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PARTS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}  # the files' suffixes
Encode = Callable[[str], list[int]]


# ----------------------------------------------------------------------------- WordNet
@dataclass(frozen=True, slots=True)
class Entry:
    """A word, its part of speech, and the gloss of its most frequent sense."""

    word: str
    part: str
    gloss: str


def read_wordnet(folder: Path) -> dict[str, list[Entry]]:
    """Read every lemma's first sense of each part of speech; keys are the lemmas in lower case, sorted.

    An index line names the synsets of a lemma by their byte offset in the data file, the most frequent first.

    Raises:
        PipelineError: a file is missing or does not have WordNet's format.
    """
    entries: dict[str, list[Entry]] = {}
    for suffix, part in PARTS.items():
        index, data = _read(folder / f"index.{suffix}"), _read(folder / f"data.{suffix}")
        for number, line in enumerate(index.decode("ascii").splitlines(), start=1):
            if line.startswith(" "):  # the licence, at the top of each file
                continue
            try:
                lemma, word, gloss = _first_sense(line, data)
            except (ValueError, IndexError) as error:
                raise PipelineError(
                    f"{folder / f'index.{suffix}'}, line {number}, is not in WordNet's format: {error}",
                    "give an unpacked wordnet-base as the input",
                ) from error
            entries.setdefault(lemma, []).append(Entry(word, part, gloss))
    return dict(sorted(entries.items()))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = "give an unpacked wordnet-base as the input"
        raise PipelineError(f"cannot read {path}: {error.strerror}", remedy) from error


def _first_sense(line: str, data: bytes) -> tuple[str, str, str]:
    """Return lemma, word as it is written, and gloss of the first synset that an index line names."""
    fields = line.split()
    lemma, num_senses = fields[0], int(fields[2])
    offset = int(fields[-num_senses])
    record = data[offset : data.index(b"\n", offset)].decode("ascii")
    if record[:9] != f"{offset:08d} ":
        raise ValueError(f"no synset at offset {offset}")
    head, gloss = record.split(" | ", maxsplit=1)
    names = head.split()
    written = [re.sub(r"\((a|p|ip)\)$", "", names[4 + 2 * i]) for i in range(int(names[3], 16))]
    word = next((name for name in written if name.lower() == lemma), lemma)
    return lemma, word.replace("_", " "), gloss.strip()


# ----------------------------------------------------------------------------- pairs
def make_pairs(config: Config, lemmas: dict[str, list[Entry]], encode: Encode, end: int) -> Iterator[dict[str, Any]]:
    """Choose the validation pairs, then the training pairs, and tokenize them.

    Lemmas are taken in the order of a hash of seed and lemma: a sample that depends on no generator. All pairs of
    a lemma go to one split, and a gloss of the validation pairs is in no training pair (synonyms share theirs).
    Pairs longer than `data.max_length` tokens are left out.

    Raises:
        PipelineError: there are not as many pairs as the configuration wants.
    """
    wanted = {"validation": config.data.validation_pairs, "train": config.data.train_pairs}
    order = iter(sorted(lemmas, key=lambda lemma: hashlib.sha256(f"{config.seed} {lemma}".encode()).digest()))
    chosen: set[str] = set()
    held_out: set[str] = set()
    for split, num_wanted in wanted.items():
        num_pairs = 0
        while num_pairs < num_wanted:
            lemma = next(order, None)
            if lemma is None:
                raise PipelineError(
                    f"only {num_pairs} {split} pairs have at most {config.data.max_length} tokens, not {num_wanted}",
                    f"lower data.{split}_pairs or raise data.max_length",
                )
            for entry in lemmas[lemma]:
                record = make_pair(config, split, entry, encode, end)
                too_long = len(record["input_ids"]) > config.data.max_length
                if too_long or entry.gloss in held_out or num_pairs == num_wanted:
                    continue
                num_pairs += 1
                yield record
                if split == "validation":
                    chosen.add(entry.gloss)
        held_out = chosen


def make_pair(config: Config, split: str, entry: Entry, encode: Encode, end: int) -> dict[str, Any]:
    """Tokenize one pair: prompt, gloss, and the token that ends an answer."""
    prompt = fill_prompt(config.data.prompt, entry.word, entry.part)
    prompt_ids = encode(prompt)
    return {
        "split": split,
        "word": entry.word,
        "part": entry.part,
        "prompt": prompt,
        "answer": entry.gloss,
        "input_ids": [*prompt_ids, *encode(entry.gloss), end],
        "prompt_length": len(prompt_ids),
    }


# ----------------------------------------------------------------------------- base model and tokenizer
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each byte, and pad, begin and end (ids 0, 1, 2)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*BYTE_SPECIALS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in BYTE_SPECIALS])
    pad, begin, end = BYTE_SPECIALS
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, bos_token=begin, eos_token=end)


def prepare_random(config: Config, folder: Path) -> PreTrainedTokenizerBase:
    """Write a small Llama with seeded random weights, and a byte-level tokenizer."""
    seed_everything(config.seed)
    random_base(config).save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    return tokenizer


def prepare_gguf(config: Config, inputs: Path, folder: Path) -> PreTrainedTokenizerBase:
    """Convert the one GGUF file of an input: its weights, dequantized to float32, and its tokenizer.

    Raises:
        PipelineError: the input does not hold exactly one GGUF file.
    """
    # Only a conversion needs these imports, and they are slow.
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = inputs / str(config.model.input)
    found = sorted(source.rglob("*.gguf"))
    if len(found) != 1:
        raise PipelineError(f"{source} holds {len(found)} GGUF files, expected one", "check model.input")
    where = {"pretrained_model_name_or_path": str(found[0].parent), "gguf_file": found[0].name}
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    tokenizer.save_pretrained(folder)
    return tokenizer


# ----------------------------------------------------------------------------- all of it
def prepare(config: Config, inputs: Path, output: Path) -> None:
    """Write the base model, its tokenizer, and the pairs.

    Raises:
        PipelineError: an input is missing or malformed, or there are too few pairs.
    """
    set_determinism(config.determinism, "cpu")
    lemmas = read_wordnet(inputs / config.data.input / "usr" / "share" / "wordnet")
    folder = output / "model"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    if config.model.source == "gguf":
        tokenizer = prepare_gguf(config, inputs, folder)
    else:
        tokenizer = prepare_random(config, folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # some are written for their owner only, and the training may be another user
    encode: Encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    counts = {"validation": 0, "train": 0}
    with (output / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for record in make_pairs(config, lemmas, encode, int(tokenizer.eos_token_id)):
            file.write(json.dumps(record, sort_keys=True) + "\n")
            counts[record["split"]] += 1
    print(f"{len(lemmas)} lemmas; {counts['train']} training pairs, {counts['validation']} validation pairs")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, prepare, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the configuration, a JSON file")
    parser.add_argument("--inputs", type=Path, required=True, help="the folder of the inputs")
    parser.add_argument("--output", type=Path, required=True, help="where to write")
    options = parser.parse_args(arguments)
    try:
        prepare(load_config(options.config), options.inputs, options.output)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
