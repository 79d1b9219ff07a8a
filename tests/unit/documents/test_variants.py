"""Variants: what an experiment takes over from another, and what is set for one run."""

import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.documents.experiment import parse_experiment
from harness.errors import UsageError
from tests import ROOT

BASE = """
schema: 1
image: cpu
inputs: {train.jsonl: {file: data/train.jsonl}}
run: [python, train.py]
config: {lr: 0.1, model: {layers: 2, width: 8}}
outputs: [x]
policy: {required: [rerun], volatile: [seconds]}
"""
VARIANT = """
extends: base
config: {lr: 0.2, model: {layers: 3}}
outputs: [y]
policy: {volatile: []}
"""
TEXTS = {"base": BASE, "variant": VARIANT, "one": "extends: two", "two": "extends: one", "lost": "extends: gone"}
TEXTS |= {"path": "extends: ../base"} | {f"n{n}": f"extends: n{n + 1}" for n in range(12)}


def parse(name, *overrides):
    return parse_experiment(TEXTS[name], f"pipelines/experiments/{name}.yaml", TEXTS.get, overrides)


def refused(name, *overrides):
    with pytest.raises(UsageError) as caught:
        parse(name, *overrides)
    assert f"pipelines/experiments/{name}.yaml" in str(caught.value)
    return str(caught.value)


def test_mappings_are_merged_and_everything_else_is_replaced():
    found = parse("variant")
    assert found.config == {"lr": 0.2, "model": {"layers": 3, "width": 8}}
    assert (found.outputs, found.policy.volatile, found.policy.required) == (("y",), (), ("rerun",))


def test_what_is_archived_is_what_it_comes_to():
    whole = yaml.safe_dump({**parse("variant").to_json(), "description": "as it is written out"})
    assert "extends" not in parse("variant").to_json()
    assert parse_experiment(whole, "whole.yaml").digest == parse("variant").digest != parse("base").digest


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("one", "extends goes in a circle: one -> two -> one"),
        ("n0", "more than 8 experiments: n0 -> n1 -> n2 -> n3 -> n4 -> n5 -> n6 -> n7 -> n8 -> n9"),
        ("lost", "extends: there is no experiment gone"),
        ("path", "extends: path -> ../base: that is no name of an experiment"),
    ],
)
def test_a_chain_that_leads_nowhere_is_named(name, says):
    assert says in refused(name)


def test_editors_ask_a_variant_for_no_key_that_it_takes_over():
    schema = Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / "experiment.schema.json").read_text()))
    assert schema.is_valid(yaml.safe_load(VARIANT)) and not schema.is_valid({"schema": 1})


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("config.lr=0.001", "config.lr", 0.001),
        ("config.lr=1e-4", "config.lr", 1e-4),
        ("config.model.width=16", "config.model.width", 16),
        ("config.model={layers: 1}", "config.model", {"layers": 1}),
        ("steps=20", "steps", 20),
        ("environment.OMP_NUM_THREADS='2'", "environment.OMP_NUM_THREADS", "2"),
        ("policy.rerun=second_run", "policy.rerun", "second_run"),
    ],
)
def test_any_key_is_set_for_one_run(override, path, value):
    found = parse("base", override).to_json()
    for key in path.split("."):
        found = found[key]
    assert found == value and type(found) is type(value)


def test_a_name_with_dots_in_it_is_found():
    found = parse("base", "inputs.train.jsonl.file=/data/other.jsonl")
    assert found.inputs["train.jsonl"].file == "/data/other.jsonl"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("stepz=3", ["with --set stepz=3: unknown key `stepz`", "did you mean `steps`"]),
        ("policy.rerunn=prefix", ["unknown key `policy.rerunn`"]),
        ("steps=many", ["steps", "'many'"]),
        ("config.lrr=1", ["config has no `lrr`", "did you mean `lr`"]),
        ("config.model.depth=1", ["config has no `depth`"]),
        ("config.lr.x=1", ["--set config.lr.x=1", "no mapping"]),
        ("config.lr", ["sets no key", "KEY=VALUE"]),
        ("extends=variant", ["sets no key"]),
        ("config.lr=[1", ["not valid YAML"]),
    ],
)
def test_a_key_that_cannot_be_set_is_the_usual_error(override, says):
    text = refused("base", override)
    assert all(word in text for word in says), text
