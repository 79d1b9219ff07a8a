import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.documents.schemas import rendered
from tests import ROOT

SCHEMAS = ROOT / "docs" / "schemas"
EXPERIMENTS = sorted((ROOT / "pipelines" / "experiments").glob("*.yaml"))
MANIFESTS = sorted((ROOT / "manifests").glob("*/*/manifest.json"))


@pytest.mark.parametrize("name", rendered())
def test_a_published_schema_is_that_of_its_model(name):
    published = (SCHEMAS / name).read_text(encoding="utf-8")
    assert published == rendered()[name], "run: python -m harness.documents.schemas docs/schemas"
    Draft202012Validator.check_schema(json.loads(published))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_fits_its_schema_and_names_it_for_editors(path):
    text = path.read_text(encoding="utf-8")
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == SCHEMAS / "experiment.schema.json"
    Draft202012Validator(json.loads((SCHEMAS / "experiment.schema.json").read_text())).validate(yaml.safe_load(text))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.parent.name)
def test_what_is_published_in_manifests_is_read_by_the_models(path):
    from harness.documents.manifest import Manifest
    from harness.documents.verdict import Verdict

    manifest = Manifest.load(path.read_bytes(), "manifest.json")
    verdict = Verdict.load((path.parent / "verdict.json").read_bytes(), "verdict.json")
    for name, found in (("manifest", manifest), ("verdict", verdict)):
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        Draft202012Validator(schema).validate(json.loads(found.write()))
