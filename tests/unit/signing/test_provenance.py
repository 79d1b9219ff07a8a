import json

import pytest

from harness.documents.scope import Prefix
from harness.signing.statements import statements
from tests.made.run_documents import run_documents
from tests.made.synthetic import Quirks, resumed


def provenance(runner=None, **changes):
    certificate, verdict, manifest = run_documents(**changes)
    verdict = verdict.model_copy(update={"runner": runner or verdict.runner})
    return json.loads(statements(certificate, verdict, manifest)[1]), json.loads(certificate)


def test_it_is_slsa_provenance_v1_about_the_certificates_subjects():
    statement, certificate = provenance()
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == certificate["subject"]
    assert statement["predicate"].keys() == {"buildDefinition", "runDetails"}


def test_what_a_person_chose_is_external():
    assert provenance()[0]["predicate"]["buildDefinition"]["externalParameters"] == {
        "experiment": "tiny",
        "commit": "c" * 40,
    }
    prefix = provenance(scope=Prefix(steps=6, of=8))[0]["predicate"]["buildDefinition"]["externalParameters"]
    assert prefix["steps"] == 6


def test_dependencies_are_commit_code_locks_image_and_inputs():
    found = provenance()[0]["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {one["name"]: one.get("uri") for one in found} == {
        "commit": None,
        "code.tar": None,
        "lockfiles/base-bookworm.lock": None,
        "lockfiles/cpu.lock": None,
        "image cpu": None,
        "inputs/local": None,
        "inputs/model": f"pkg:huggingface/owner/name@{'7' * 40}",
        "inputs/page": "https://example.org/data.txt",
        "inputs/wheel": "pkg:pypi/some-data@1.2",
        "inputs/words": "pkg:deb/debian/wordnet-base@1:3.0-37",
    }
    digests = {one["name"]: one["digest"] for one in found}
    assert digests["commit"] == {"gitCommit": "c" * 40}
    assert digests["image cpu"] == {"sha256": "2" * 64}
    assert digests["inputs/words"] == {"sha256": "6" * 64}
    assert "sha256sum" in next(one for one in found if one["name"] == "inputs/model")["annotations"]["digestOf"]


def test_a_dirty_tree_depends_on_no_commit():
    found, _ = provenance(dirty=True)
    assert "commit" not in [one["name"] for one in found["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert found["predicate"]["buildDefinition"]["internalParameters"]["isWorkingTreeDirty"] is True


def test_the_builder_is_named_by_how_it_isolates():
    assert provenance()[0]["predicate"]["runDetails"]["builder"] == {
        "id": "urn:repro-harness:builder:v1:docker",
        "builderDependencies": [
            {"name": "recorder", "digest": {"sha256": "1" * 64}},
            {"name": "harness", "digest": {"sha256": "1" * 64}},
        ],
        "version": {"repro-harness": "1.2.3"},
    }
    host = provenance(runner="host")[0]
    assert host["predicate"]["runDetails"]["builder"]["id"] == "urn:repro-harness:builder:v1:host"


def test_moments_are_in_utc_whatever_zone_they_were_written_in():
    metadata = provenance()[0]["predicate"]["runDetails"]["metadata"]
    assert (metadata["startedOn"], metadata["finishedOn"]) == ("2026-11-23T16:06:46Z", "2026-11-23T16:07:25Z")


def test_byproducts_are_the_records_that_cannot_be_made_again():
    found = provenance()[0]["predicate"]["runDetails"]["byproducts"]
    assert [one["name"] for one in found] == ["manifest.json", "straight/runs/1/ledger.jsonl", "verdict.json"]


@pytest.mark.parametrize(
    "changes", [{}, {"resumed": resumed(quirks=Quirks(forget=("rng",)))}, {"problems": ("x",), "straight": None}]
)
def test_no_field_is_null_and_every_descriptor_names_something(changes):
    statement, _ = provenance(**changes)
    assert "null" not in json.dumps(statement)
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    lists = (definition["resolvedDependencies"], details["byproducts"], details["builder"]["builderDependencies"])
    assert all(one["digest"] or one["uri"] for found in lists for one in found)
