import json

import pytest


@pytest.fixture(scope="module")
def pairs(trainings, work):
    lines = (work / "prepared" / "pairs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_preparing_twice_writes_the_same_bytes(trainings):
    files = trainings["prepared"]["files"]
    assert files == trainings["prepared again"]["files"]
    assert {"pairs.jsonl", "model/model.safetensors", "model/tokenizer.json"} <= set(files)


def test_there_are_as_many_pairs_as_were_asked_for(pairs):
    assert [pair["split"] for pair in pairs] == ["validation"] * 6 + ["train"] * 20


def test_no_word_and_no_gloss_is_in_both_splits(pairs):
    splits = [[pair for pair in pairs if pair["split"] == split] for split in ("validation", "train")]
    for key in ("word", "answer"):
        first, second = ({pair[key].lower() for pair in split} for split in splits)
        assert not first & second


def test_a_pair_is_what_the_dictionary_says(pairs, miniature):
    glosses = {
        (word.split("(")[0].replace("_", " "), suffix): gloss
        for suffix, sets in miniature.synsets().items()
        for words, gloss in sets
        for word in words
    }
    suffixes = {"noun": "noun", "verb": "verb", "adjective": "adj", "adverb": "adv"}
    for pair in pairs:
        assert pair["answer"] == glosses[pair["word"], suffixes[pair["part"]]]
        assert pair["prompt"] == f"Define: {pair['word']} ({pair['part']})\n"


def test_a_pair_is_tokenized_byte_by_byte_and_ends_with_the_end(pairs):
    for pair in pairs:
        assert pair["prompt_length"] == len(pair["prompt"])
        assert len(pair["input_ids"]) == len(pair["prompt"]) + len(pair["answer"]) + 1
        assert pair["input_ids"][-1] == 2


def test_a_pair_that_is_too_long_is_left_out(pairs):
    assert all(len(pair["input_ids"]) <= 120 for pair in pairs)
    assert "Cast Iron" not in {pair["word"] for pair in pairs}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no dictionary", ["cannot read", "index.noun"]),
        ("malformed dictionary", ["index.noun, line 2", "no synset at offset"]),
        ("too few pairs", ["train pairs have at most 120 tokens, not 1000"]),
        ("no gguf", ["holds 0 GGUF files, expected one"]),
    ],
)
def test_what_can_be_put_right_is_an_error_with_a_remedy_and_code_2(trainings, name, words):
    result = trainings["preparations"][name]
    assert result["exit"] == 2
    assert "Traceback" not in result["err"]
    assert "remedy: " in result["err"]
    for word in words:
        assert word in result["err"]
