"""A dictionary in WordNet's own format, a configuration that fits it, and the trainings that the tests look at."""

import copy
from pathlib import Path

NOUNS = (
    "anvil bellows crucible flux forge gantry girder hinge ingot jig kiln lathe mandrel nozzle oven pulley "
    "quern rivet solder tongs vise winch axle bolt chisel drill easel funnel gauge hammer"
).split()
SIZE_WORDS = ("small", "heavy", "narrow", "common", "old and rarely seen")
USE_WORDS = ("shaping metal", "holding work in place", "lifting", "measuring a long wall", "heat")


def synsets():
    """Part's suffix -> list of (words, gloss); the first two nouns share a synset, one word is noun and verb."""
    nouns = [(["smithy", "stithy"], "a workplace where metal is worked by heating and hammering")]
    for number, word in enumerate(NOUNS):
        size, use = SIZE_WORDS[number % 5], USE_WORDS[(number * 3 + number // 5) % 5]
        nouns.append(([word], f'a {size} device for {use}; "the {word} was number {number}"'))
    nouns.append((["Cast_Iron"], "an alloy of iron that holds much carbon " + "and more carbon " * 20))
    verbs = [(["hammer"], "beat with or as if with a hammer"), (["solder"], "join or fuse with solder")]
    adjectives = [(["malleable(a)"], "capable of being shaped or bent")]
    adverbs = [(["hotly"], "with much heat")]
    return {"noun": nouns, "verb": verbs, "adj": adjectives, "adv": adverbs}


def write_wordnet(folder: Path, shift: int = 0) -> None:
    """Write data.* and index.* as wndb(5WN) describes them: an index line names byte offsets in the data file.

    With a `shift` the offsets are wrong by so many bytes.
    """
    folder.mkdir(parents=True)
    licence = "  1 This is no licence, but it stands where one does.\n"
    for suffix, sets in synsets().items():
        data, senses = licence, {}
        for words, gloss in sets:
            offset = len(data)
            names = " ".join(f"{word} 0" for word in words)
            data += f"{offset:08d} 06 {suffix[0]} {len(words):02x} {names} 000 | {gloss}  \n"
            for word in words:
                senses.setdefault(word.split("(")[0].lower(), []).append(offset)
        index = licence
        for lemma in sorted(senses):
            offsets = " ".join(f"{offset + shift:08d}" for offset in senses[lemma])
            num = len(senses[lemma])
            index += f"{lemma} {suffix[0]} {num} 0 {num} 0 {offsets}  \n"
        (folder / f"data.{suffix}").write_text(data)
        (folder / f"index.{suffix}").write_text(index)


# 2 epochs of 7 micro-batches, the last with 1 pair: 2 windows of 3 and one of 1, so 3 + 3 steps.
CONFIG = {
    "experiment": "mini",
    "seed": 5,
    "data": {"input": "wordnet", "train_pairs": 20, "validation_pairs": 6, "max_length": 120, "pairs_per_epoch": 19},
    "model": {
        "source": "random",
        "name": "mini-llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_layers": 1,
        "num_heads": 2,
        "num_kv_heads": 1,
    },
    "lora": {"r": 4, "alpha": 8, "dropout": 0.2, "target_modules": ["q_proj", "v_proj", "down_proj", "lm_head"]},
    "training": {
        "epochs": 2,
        "micro_batch_size": 3,
        "accumulation": 3,
        "learning_rate": 0.02,
        "warmup_steps": 1,
        "schedule": "cosine",
        "save_every": 2,
    },
    "tracking": {"tensorboard": False, "wandb": False},  # test_tracking.py looks at these
}


def config_with(**changes):
    """CONFIG with some keys changed; `training__epochs=3` changes `training.epochs`."""
    document = copy.deepcopy(CONFIG)
    for name, value in changes.items():
        *sections, key = name.split("__")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return document


def killed(fault, count, **more):
    """A run that is killed: at a backward, before a file's replacement, or inside a checkpoint's write."""
    return {"fault": fault, "count": count, **more}


REFUSED_PREPARATIONS = {
    "no dictionary": {"data__input": "empty"},
    "malformed dictionary": {"data__input": "malformed"},
    "too few pairs": {"data__train_pairs": 1000},
    "no gguf": {"model__source": "gguf", "model__input": "empty"},
}
RESUME = {"resume": True}
RECOMPUTED = {"training__gradient_checkpointing": True}
PATIENT = {"training__epochs": 6, "training__patience": 2, "training__min_delta": 10.0}
# Rows of two or three pairs.
PACKED = {
    "data__batching": "packed",
    "data__pack_length": 240,
    "training__micro_batch_size": 2,
    "training__accumulation": 1,
}
ONE_BY_ONE = {"lora__dropout": 0.0, "training__micro_batch_size": 1, "training__accumulation": 4}
AT_ONCE = {"lora__dropout": 0.0, "training__micro_batch_size": 4, "training__accumulation": 1}
BATCHINGS = {"shuffled": {}, "bucketed": {"data__batching": "bucketed"}, "packed": PACKED}


def straight_or_killed(kind, num_workers):
    """A training with so many workers: straight without any, else killed in the middle of its second epoch."""
    config = {**BATCHINGS[kind], "training__save_every": 1, "data__num_workers": num_workers}
    if num_workers == 0:
        return {"config": config, "runs": [{}]}
    return {"config": config, "runs": [killed("backward", 6 if kind == "packed" else 11), RESUME]}


# At this rate the third epoch is the best one. An epoch has 7 micro-batches: backward 21 is in the third's last step.
FOUR_EPOCHS = {"training__epochs": 4, "training__learning_rate": 0.3}
LEFT_ALONE = {
    "the first epoch": {"keep": "mini_epoch1_*.pt"},
    "the second epoch": {"keep": "mini_epoch2_*.pt"},
    "the third epoch": {"keep": "mini_epoch3_*.pt"},
    "the best": {"keep": "best.pt"},
    "the latest": {"keep": "latest.pt", "kill": killed("backward", 21)},
    "the latest of an epoch's end": {"keep": "latest.pt", "kill": killed("backward", 15)},
}


def left_alone(keep, kill=None):
    """A training, then a resume from the only checkpoint that is left of it."""
    return {"config": FOUR_EPOCHS, "runs": [kill or {}, {**RESUME, "keep": keep}]}


SCENARIOS = {
    "straight": {"runs": [{}]},
    "again": {"runs": [{}]},
    # An epoch is 3, 3 and 1 micro-batches: backward 7 is in step 3, 8 in step 4. Saved is after steps 2, 3, 4 and 6.
    "killed in windows": {"runs": [killed("backward", 9), killed("backward", 5, **RESUME), RESUME]},
    "killed twice in one epoch": {"runs": [killed("backward", 7), killed("save", 1, **RESUME), RESUME]},
    "killed before any checkpoint": {"runs": [killed("backward", 2), RESUME]},
    "killed in the first write": {"runs": [killed("save", 1), RESUME]},
    "torn": {"runs": [killed("save", 5), RESUME]},
    # Replaced are config, environment, metrics; after step 2 sum, latest; after step 3 sum, latest, sum, and for the
    # epoch's file and for best a sum and the file.
    "killed after the epoch's latest": {"runs": [killed("replace", 9), RESUME]},
    "killed after the epoch's file": {"runs": [killed("replace", 11), RESUME]},
    "killed before the epoch's best": {"runs": [killed("replace", 12), RESUME]},
    "after the end": {"runs": [{}, RESUME]},
    "latest damaged": {"runs": [killed("backward", 11), {"resume": True, "damage": ["latest.pt"]}]},
    "all damaged": {"runs": [killed("backward", 7), {"resume": True, "damage": ["latest.pt"]}]},
    "another configuration": {"runs": [killed("backward", 7), {"resume": True, "config": {"training__epochs": 3}}]},
    "metrics lost": {"runs": [killed("backward", 7), {"resume": True, "remove": ["metrics.jsonl"]}]},
    "not empty": {"runs": [killed("backward", 7), {}]},
    "validated on less": {"config": {"training__validation_pairs": 1}, "runs": [{}]},
    "validated with draws": {"runs": [{"fault": "draw", "count": 1}]},
    "other seed": {"config": {"seed": 6}, "runs": [{}]},
    "bf16": {"config": {"training__precision": "bf16"}, "runs": [{}]},
    "bf16 killed": {"config": {"training__precision": "bf16"}, "runs": [killed("backward", 9), RESUME]},
    "fp16": {"config": {"training__precision": "fp16"}, "runs": [{}]},
    "fp16 killed": {"config": {"training__precision": "fp16"}, "runs": [killed("backward", 9), RESUME]},
    "one by one": {
        "config": {"lora__dropout": 0.0, "training__micro_batch_size": 1, "training__accumulation": 9},
        "runs": [{}],
    },
    "nine at once": {
        "config": {"lora__dropout": 0.0, "training__micro_batch_size": 9, "training__accumulation": 1},
        "runs": [{}],
    },
    "bf16 again": {"config": {"training__precision": "bf16"}, "runs": [{}]},
    "recomputed": {"config": RECOMPUTED, "runs": [{}]},
    "recomputed killed": {"config": RECOMPUTED, "runs": [killed("backward", 9), RESUME]},
    "recomputed bf16": {"config": {**RECOMPUTED, "training__precision": "bf16"}, "runs": [{}]},
    "stopped early": {"config": PATIENT, "runs": [{}]},
    # Backward 18 is in the third and last epoch, when one validation was already no better.
    "stopped early, killed": {"config": PATIENT, "runs": [killed("backward", 18), RESUME]},
    "stopped early, twice": {"config": PATIENT, "runs": [{}, RESUME]},
    "packed one by one": {"config": {**PACKED, **ONE_BY_ONE}, "runs": [{}]},
    "packed at once": {"config": {**PACKED, **AT_ONCE}, "runs": [{}]},
    **{f"{kind} {workers} workers": straight_or_killed(kind, workers) for kind in BATCHINGS for workers in (0, 1, 2)},
    "four epochs": {"config": FOUR_EPOCHS, "runs": [{}]},
    **{f"only {name} is left": left_alone(**spec) for name, spec in LEFT_ALONE.items()},
    "other data": {"runs": [killed("backward", 7), {**RESUME, "prepared": "prepared-with-other-pairs"}]},
    "a row too short": {"config": {"data__batching": "packed", "data__pack_length": 119}, "runs": [{}]},
    "no target": {"config": {"lora__target_modules": ["q_proj", "query"]}, "runs": [{}]},
    "zero steps": {"config": {"training__epochs": 0}, "runs": [{}]},
    "unknown key": {"config": {"training__learning_rat": 1.0}, "runs": [{}]},
    "more pairs than there are": {"config": {"data__pairs_per_epoch": 21}, "runs": [{}]},
    "nothing prepared": {"runs": [{"prepared": "nowhere"}]},
    "diverging": {"config": {"training__learning_rate": 1e30}, "runs": [{}]},
}
