"""Experiments: what is accepted, and how each mistake is named."""

import copy
import datetime
import json
import random
import re

import pytest
import yaml

from harness.documents.experiment import Experiment, parse_experiment
from harness.documents.names import check_experiment_name
from harness.errors import UsageError
from tests import ROOT

VALID = {
    "schema": 1,
    "image": "cpu",
    "run": ["python", "train.py", "--output", "{output}"],
    "resume": ["python", "train.py", "--output", "{output}", "--resume"],
    "steps": 12,
    "outputs": ["model.safetensors"],
    "interruptions": [{"kind": "micro_batch", "step": 4, "micro_batch": 1}],
}


def parse(**changes):
    document = {**VALID, **changes}
    return parse_experiment(yaml.safe_dump({k: v for k, v in document.items() if v is not None}), "x.yaml")


def problem_of(**changes):
    with pytest.raises(UsageError) as caught:
        parse(**changes)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_minimal_experiment_is_read_with_its_defaults():
    experiment = parse()
    assert experiment.steps == 12
    assert experiment.policy.required == ("rerun", "resume", "rebuild")
    assert experiment.interruptions[0].fault.to_json() == {
        "kind": "micro_batch",
        "step": 4,
        "by": "self",
        "micro_batch": 1,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stepz": 3}, ["unknown key `stepz`", "did you mean `steps`"]),
        ({"policy": {"volatil": []}}, ["unknown key `policy.volatil`", "`volatile`"]),
        ({"interruptions": [{"kind": "after_step", "stp": 2, "step": 1}]}, ["interruptions.0.stp", "`step`"]),
        ({"steps": 0}, ["steps", "greater than or equal to 1"]),
        ({"steps": "twelve"}, ["steps", "whole number", "'twelve'"]),
        ({"steps": True}, ["steps", "whole number"]),
        ({"steps": 10**30}, ["steps", "less than"]),
        ({"steps": datetime.date(2026, 1, 2)}, ["steps", "2026-01-02"]),
        ({"memory_gib": float("inf")}, ["memory_gib", "inf"]),
        ({"memory_gib": "12"}, ["memory_gib", "a number is expected"]),
        ({"run": [""]}, ["run", "names no program"]),
        ({"prepare": [" "]}, ["prepare", "names no program"]),
        ({"run": ["python", "a\0b"]}, ["run.1", "NUL"]),
        ({"outputs": ["\ud800"]}, ["outputs.0", "half of a character"]),
        ({"environment": {"A=B": "x"}}, ["environment", "'A=B'"]),
        ({"environment": {"": "x"}}, ["environment", "''"]),
        ({"environment": {"A": "x\0"}}, ["environment.A", "NUL"]),
        ({"config": {"a": [{"lr": float("nan")}]}}, ["config.a.0.lr", "(nan)"]),
        ({"config": {"a": {1: 2, "b": 3}}}, ["config.a", "some of its keys are text"]),
        ({"config": {"\ud800": 1}}, ["config", "half of a character"]),
        ({"outputs": None}, ["`outputs` is missing"]),
        ({"schema": 2}, ["schema"]),
        ({"run": "python train.py"}, ["run", "a list is expected"]),
        ({"resume": None}, ["resume: the command that continues is missing", "required: [rerun]"]),
        ({"interruptions": "sometimes"}, ["interruptions"]),
        ({"interruptions": [{"kind": "after_step", "step": 13}]}, ["step 13 is beyond the last step (12)"]),
        ({"interruptions": [{"kind": "micro_batch", "step": 3}]}, ["micro_batch"]),
        ({"interruptions": [{"kind": "in_write", "step": 3}]}, ["byte"]),
        ({"interruptions": [{"kind": "signal", "step": 3}]}, ["`signal` (SIGTERM, SIGINT or SIGUSR1)"]),
        ({"interruptions": [{"kind": "after_step", "step": 3, "grace_s": 3}]}, ["go with kind signal"]),
        ({"interruptions": [{"kind": "signal", "signal": "SIGHUP", "step": 3}]}, ["interruptions.0.signal", "SIGHUP"]),
        ({"interruptions": [{"kind": "signal", "signal": "SIGINT", "step": 3, "rank": 0}]}, ["to every rank"]),
        ({"interruptions": [{"kind": "signal", "signal": "SIGINT", "step": 3, "grace_s": 0}]}, ["grace_s"]),
        ({"interruptions": [{"kind": "signal", "signal": "SIGINT", "step": 12}]}, ["interrupts nothing"]),
        ({"interruptions": [{"kind": "explode", "step": 3}]}, ["interruptions.0.kind"]),
        ({"interruptions": []}, ["at least one"]),
        ({"interruptions": [], "policy": {"required": ["rerun"], "rerun": "prefix"}}, ["at least one", "prefix"]),
        ({"policy": {"required": []}}, ["policy", "name rerun or resume"]),
        ({"policy": {"required": ["rebuild"]}}, ["policy", "name rerun or resume"]),
        ({"derived": ["/etc/passwd"]}, ["leaves the output folder"]),
        ({"outputs": ["../../etc/passwd"]}, ["leaves the output folder"]),
        ({"resume": ["a", "--from={latest:/etc/*}"]}, ["leaves the output folder"]),
        ({"environment": {"HF_TOKEN": "x"}}, ["HF_TOKEN", "secret"]),
        ({"inputs": {"a": {"file": "../passwd", "sha256": "0" * 64}}}, ["../passwd"]),
        ({"inputs": {"a": {"pypi": "six", "version": "1.0", "sha256": "123"}}}, ["sha256"]),
        ({"inputs": {"a": {"sha256": "0" * 64}}}, ["exactly one of file, folder, pypi, deb, hf and https"]),
        ({"inputs": {"a": {"https": "https://example.org/a"}}}, ["`sha256` is missing", "inputs.md"]),
    ],
)
def test_a_mistake_is_named_with_its_key(changes, words):
    text = problem_of(**changes)
    assert "x.yaml" in text
    for word in words:
        assert word in text


def test_mistakes_in_several_keys_are_told_together():
    text = problem_of(stepz=3, gpus="one", outputs=None, interruptions=[{"kind": "explode", "step": 3}])
    assert "x.yaml has 4 mistakes" in text
    for words in (
        "the key `outputs` is missing",
        "gpus: a whole number",
        "interruptions.0.kind",
        "did you mean `steps`?",
    ):
        assert text.count(words) == 1, text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "line 1"),
        ("steps: 1\nsteps: 2", "comes twice"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("- 1", "not a mapping"),
        ("a: !!python/object:os.system {}", "line 1"),
        ("[" * 100_000, "cannot be read"),
        ("a: '" + "x" * (2 << 20) + "'", "larger than"),
    ],
)
def test_text_that_is_no_experiment_is_one_clear_error(text, words):
    with pytest.raises(UsageError) as caught:
        parse_experiment(text, "x.yaml")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["../tiny", "/etc/passwd", "tiny/../tiny", "tiny;ls", "", "-x", "tiny\n", "T" * 500])
def test_a_name_that_is_a_path_trick_is_refused(name):
    with pytest.raises(UsageError, match="there is no experiment"):
        check_experiment_name(name, ("tiny", "smollm2"))


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean smollm2"):
        check_experiment_name("smolm2", ("tiny", "smollm2"))


def test_the_description_does_not_change_the_digest_and_the_seed_does():
    assert parse(description="a").digest == parse(description="b").digest
    assert parse(config={"seed": 1}).digest != parse(config={"seed": 2}).digest


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines" / "experiments").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_experiment_is_valid(path):
    assert parse_experiment(path.read_text(), path.name).steps > 0


def test_the_guide_has_every_key():
    guide = (ROOT / "docs" / "guide" / "experiment.md").read_text()
    keys = [field.alias or name for name, field in Experiment.model_fields.items()]
    assert sorted(re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE)) == sorted(keys)


ODD = [
    *(None, True, -1, 10**30, 1.5, float("nan"), float("inf"), "", " ", "\n", "a\0b", "=", "\ud800", "..", "/", "{"),
    *([], [[]], [""], ["a", 1], {}, {"": 1}, {1: 2}, {None: 1}, {1: 2, "a": 3}, {"A=B": "x"}, {"A": "x\0"}),
    *(datetime.date(2026, 1, 2), b"\xff", {"a"}, "a" * 5000, "*" * 300, "{latest:}", {"a": {"b": []}}, "2026-01-02"),
]
KEYS = sorted({*(field.alias or name for name, field in Experiment.model_fields.items()), "step", "kind", "byte"})


def places(value):
    """Every (container, key) below a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)


def test_whatever_stands_in_an_experiment_is_read_or_named():
    rng = random.Random(15)
    document = {**VALID, "inputs": {"a": {"file": "a.txt"}}, "config": {"a": [1]}, "environment": {"A": "1"}}
    num_read = 0
    for _ in range(600):
        changed = copy.deepcopy(document)
        for _ in range(rng.randint(1, 2)):
            container, key = rng.choice([*places(changed)])
            if rng.random() < 0.3:
                container, key = changed, rng.choice(KEYS)
            container[key] = copy.deepcopy(rng.choice(ODD))
        try:
            experiment = parse_experiment(yaml.safe_dump(changed), "x.yaml")
        except UsageError as error:
            str(error).encode()
            continue
        num_read += 1
        json.dumps(experiment.to_json()).encode()
        assert experiment.digest and all("\0" not in word for word in experiment.run)
    assert num_read > 20


def test_steps_may_be_left_out():
    assert parse(steps=None).steps is None


@pytest.mark.parametrize("value", ["!!bool yess", "!!int ''", "!!timestamp abc", "2026-02-30"])
def test_a_value_that_is_not_of_its_kind_is_named_with_its_line(value):
    with pytest.raises(UsageError) as caught:
        parse_experiment(f"image: cpu\nconfig: {{a: {value}}}\n", "x.yaml")
    assert "line 2" in str(caught.value), str(caught.value)
