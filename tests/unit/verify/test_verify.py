"""Verifying archives, folders, published manifests and certificates of made-up runs with every verdict."""

import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import rfc8785

from harness.archive.writing import publish, write_archive
from harness.errors import HostError, UsageError
from harness.report.results import print_verification
from harness.signing.bundle import parse_bundle
from harness.signing.keys import create_key, load_signer
from harness.signing.known_keys import trust_key
from harness.system.sources import sources_digest
from harness.system.store import tree_digest
from harness.verify.record import experiment_digest
from harness.verify.verification import RELEASED
from harness.workflow.verify import verify
from tests import ROOT
from tests.tamper.made_archive import certify_again, derive_again, edit_json, silent
from tests.tamper.made_run import EXPERIMENT, KILL, STEPS, Plan, Quirks, make_replay, make_run

OTHER = "sha256:" + "0" * 64
UNSEEDED = """\
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

folder = Path(sys.argv[2])
inputs = torch.randn(8, 4)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(8):
    model(inputs).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
save_file(model.state_dict(), folder / "model.safetensors")
"""


def archived(folder, tmp_path, name="me"):
    create_key(name)
    target = tmp_path / f"{name}.oci.tar"
    write_archive(folder, target, load_signer(name), full=None, progress=silent)
    return target


def verified(path, root=None):
    return verify(path, root, None, silent)


def as_another_version(folder):
    """The same run, as if another version of the harness had judged it: its words are its own."""
    edit_json(folder / "manifest.json", lambda manifest: manifest["harness"].update(sources=OTHER, version="9.9"))
    edit_json(folder / "verdict.json", lambda verdict: verdict.update(summary="In other words.", novelty=[1]))
    (folder / "report.html").write_text("<p>another report</p>")
    certify_again(folder)


VARIANT = {
    "experiment": "extends: whole\nconfig: {lr: 0.1}\n",
    "more": (("pipelines/experiments/whole.yaml", EXPERIMENT),),
}
PLANS = {
    "certified": (Plan(), "CERTIFIED"),
    "diverged-rerun": (Plan(rerun=Quirks(noise=(3, "grad"))), "DIVERGED"),
    "diverged-resume": (Plan(resumed=Quirks(forget=("moments",))), "DIVERGED"),
    "starts-over": (Plan(resumed=Quirks(forget=("everything",))), "DIVERGED"),
    "failed": (Plan(exit_code=1), "INCONCLUSIVE"),
    "no-controls": (Plan(has_controls=False), "INCONCLUSIVE"),
    "prefix": (Plan(steps=7), "CERTIFIED"),
    "variant": (Plan(overrides=("config.lr=1e-4",), **VARIANT), "CERTIFIED"),
    "vetoed": (Plan(has_review=True, training=UNSEEDED), "VETOED"),
    "reviewed": (Plan(has_review=True), "CERTIFIED"),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_run_of_any_verdict_is_consistent_and_keeps_its_word(tmp_path, name):
    plan, word = PLANS[name]
    folder = make_run(tmp_path, plan)
    found = verified(archived(folder, tmp_path))
    assert (found.word, found.exit_code, found.problem) == ("CONSISTENT", 0, "")
    assert found.claimed == word == found.record.verdict.verdict, found.record.verdict.problems
    bound = {"prefix": " of the first 7 of 8 steps", "variant": " with config.lr=1e-4"}.get(name, "")
    assert f"says {word}{bound}, and" in found.summary
    assert "CERTIFIED" not in found.word
    assert "word for word" in next(check.text for check in found.checks if check.name == "verdict")


@pytest.mark.parametrize("name", PLANS)
def test_a_run_of_another_version_is_judged_by_its_decisions(tmp_path, name):
    plan, word = PLANS[name]
    folder = make_run(tmp_path, plan)
    as_another_version(folder)
    found = verified(archived(folder, tmp_path))
    assert (found.word, found.exit_code, found.claimed, found.problem) == ("PARTIAL", 3, word, "")
    assert "nobody released (it calls itself '9.9')" in found.summary and "In other words" not in found.summary
    assert "every decision" in next(check.text for check in found.checks if check.name == "verdict")
    assert any("the reports" in text for text in found.not_checked)
    assert plan.has_review == any("the review of the code" in text for text in found.not_checked)


def test_a_version_that_was_released_is_known_by_its_sources(tmp_path):
    folder = make_run(tmp_path, Plan())
    as_another_version(folder)
    sources = next(digest for digest, version in RELEASED.items() if version == "0.2.0")
    edit_json(folder / "manifest.json", lambda manifest: manifest["harness"].update(sources=sources))
    certify_again(folder)
    found = verified(archived(folder, tmp_path))
    assert "version 0.2.0, as it was released, wrote it by its own" in found.summary


def test_every_released_version_is_known():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[([0-9.]+)\]", text, re.MULTILINE)
    assert set(RELEASED.values()) >= set(released[1:]), "a release adds the digest of the one before it"


def test_what_another_version_says_was_not_checked_is_not_believed(tmp_path):
    folder = make_run(tmp_path, Plan())
    as_another_version(folder)
    edit_json(folder / "verdict.json", lambda verdict: verdict.update(not_checked=["nothing"]))
    certify_again(folder)
    found = verified(archived(folder, tmp_path))
    assert found.word == "PARTIAL" and "nothing" not in found.not_checked
    assert "replay from an archived commit" in found.not_checked


@pytest.mark.parametrize(("said", "word"), [("", "PARTIAL"), ("memory_gib: 12\n", "TAMPERED")])
def test_a_limit_that_the_code_leaves_out_is_that_of_the_version_that_ran(tmp_path, said, word):
    folder = make_run(tmp_path, Plan(experiment=EXPERIMENT + said))

    def with_another_default(manifest):
        manifest["experiment"]["memory_gib"] = 8.0
        manifest["experiment_digest"] = str(experiment_digest(manifest["experiment"]))

    edit_json(folder / "manifest.json", with_another_default)
    as_another_version(folder)
    found = verified(archived(folder, tmp_path))
    assert found.word == word, found.problem


@pytest.mark.parametrize("edit", ["checks", "compared"])
def test_a_certificate_without_a_compared_step_is_tampered_though_signed(tmp_path, edit):
    folder = make_run(tmp_path, Plan())
    as_another_version(folder)

    def without(verdict):
        for name in ("rerun", "resume"):
            check = verdict["checks"][name]
            check["required"] = False
            check |= {"verdict": "NOT_CHECKED"} if edit == "checks" else {"compared": {**check["compared"], "steps": 0}}

    edit_json(folder / "verdict.json", without)
    certify_again(folder)
    assert verified(archived(folder, tmp_path)).word == "TAMPERED"


@pytest.mark.parametrize("name", [name for name, (_, word) in PLANS.items() if word != "CERTIFIED"])
@pytest.mark.parametrize("is_other_version", [False, True])
def test_a_run_that_was_not_certified_cannot_be_made_to_say_so(tmp_path, name, is_other_version):
    folder = make_run(tmp_path, PLANS[name][0])
    if is_other_version:
        as_another_version(folder)
    edit_json(folder / "verdict.json", lambda verdict: verdict.update(verdict="CERTIFIED", exit_code=0))
    if not is_other_version:
        derive_again(folder)
    certify_again(folder)
    found = verified(archived(folder, tmp_path))
    assert (found.word, found.exit_code) == ("TAMPERED", 5)


def test_the_run_s_folder_is_verified_before_anybody_signed(tmp_path):
    found = verified(make_run(tmp_path))
    assert (found.word, found.kind, found.signer) == ("CONSISTENT", "run", None)
    assert any(text.startswith("signatures") for text in found.not_checked)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "straight/log-1.txt").write_text("x"), "straight/log-1.txt is not what the certificate lists"),
        (lambda f: (f / "code/train.py").write_text("x"), "code.tar is not what the certificate lists"),
        (lambda f: (f / "rerun/run-1.json").unlink(), "rerun/run-1.json is missing"),
        (lambda f: (f / "straight/output/new").write_text("x"), "straight/output/new is not in the certificate's list"),
        (lambda f: (f / "straight/output/new").symlink_to("/etc"), "holds something that no certify left there"),
        (lambda f: (f / "straight/output/new").mkdir(), "holds something that no certify left there"),
        (lambda f: (f / "certificate.json").write_text("{}"), "keys of an in-toto statement"),
    ],
)
def test_a_changed_folder_is_tampered(tmp_path, change, words):
    folder = make_run(tmp_path)
    change(folder)
    found = verified(folder)
    assert found.word == "TAMPERED"
    assert words in found.problem


def test_a_folder_of_an_early_version_which_listed_no_evidence_is_told_apart_from_a_changed_one(tmp_path):
    folder = make_run(tmp_path)
    statement = json.loads((folder / "certificate.json").read_text())
    listed = statement["predicate"]["evidence"]
    statement["predicate"]["evidence"] = [one for one in listed if one["name"] in ("manifest.json", "verdict.json")]
    (folder / "certificate.json").write_bytes(rfc8785.dumps(statement))
    with pytest.raises(UsageError, match="an early version"):
        verified(folder)


def test_a_published_folder_is_verified_as_far_as_it_reaches(tmp_path):
    folder = make_run(tmp_path)
    create_key("me")
    published = publish(folder, tmp_path / "manifests", load_signer("me"))
    found = verified(published)
    assert (found.word, found.kind, found.level, found.claimed) == ("CONSISTENT", "published", "manifest", "CERTIFIED")
    assert any(text.startswith("the verdict") for text in found.not_checked)
    assert ("ledger", f"{STEPS} steps") in [(check.name, check.amount) for check in found.checks]


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "verdict.json",
        "certificate.intoto.jsonl",
        "key.json",
        "straight/run-1.json",
        "straight/runs/1/ledger.jsonl",
    ],
)
def test_a_published_folder_in_which_a_byte_is_changed_or_a_file_is_gone_is_tampered(tmp_path, name):
    create_key("me")
    published = publish(make_run(tmp_path), tmp_path / "manifests", load_signer("me"))
    data = bytearray((published / name).read_bytes())
    for place in (0, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        (published / name).write_bytes(changed)
        assert verified(published).word == "TAMPERED", place
    (published / name).unlink()
    shutil.rmtree(tmp_path / "config")
    try:
        assert verified(published).word == "TAMPERED" or name.startswith("straight/run-1")
    except UsageError as error:
        assert "neither" in error.problem


def test_a_published_ledger_of_another_run_is_tampered_though_signed(tmp_path):
    folder = make_run(tmp_path, Plan(rerun=Quirks(noise=(3, "grad"))))
    shutil.copyfile(folder / "rerun/runs/1/ledger.jsonl", folder / "straight/runs/1/ledger.jsonl")
    certify_again(folder)
    create_key("me")
    found = verified(publish(folder, tmp_path / "manifests", load_signer("me")))
    assert (found.word, found.problem) == ("TAMPERED", "the straight ledger is not the one that manifest.json names")


def test_a_certificate_alone_needs_a_key_beside_it_or_one_that_is_known_here(tmp_path):
    folder = make_run(tmp_path)
    create_key("me")
    published = publish(folder, tmp_path / "manifests", load_signer("me"))
    bundle = published / "certificate.intoto.jsonl"
    assert verified(bundle).level == "certificate"
    alone = tmp_path / "renamed.jsonl"
    alone.write_bytes(bundle.read_bytes())
    assert verified(alone).word == "CONSISTENT", "this machine's own key"
    shutil.rmtree(tmp_path / "config")
    with pytest.raises(UsageError, match="neither beside the certificate nor known here"):
        verified(alone)
    trust_key(published / "key.json", "somebody")
    assert verified(alone).signer.name == "somebody"
    alone.write_bytes(bundle.read_bytes().replace(b"A", b"B", 1))
    assert verified(alone).word == "TAMPERED"


def test_who_signed_is_said_by_name_by_the_checkout_s_word_or_by_key_id(tmp_path):
    target = archived(make_run(tmp_path), tmp_path)
    assert "Signed by me (key " in verified(target).summary
    key = (tmp_path / "config/repro-harness/keys/me.json").read_text()
    shutil.rmtree(tmp_path / "config")
    found = verified(target)
    assert found.signer.name is None
    assert f"Signed by key {found.signer.key_id}, which nobody here knows." in found.summary
    keys = tmp_path / "checkout" / "manifests" / "keys"
    keys.mkdir(parents=True)
    (keys / "project.json").write_text(key)
    assert "project" in verified(target, tmp_path / "checkout").signer.name


@pytest.mark.parametrize("what", ["nothing", "empty", "text", "certificate.json", "half", "device", "pipe"])
def test_what_cannot_be_verified_is_refused_in_words(tmp_path, what):
    path = tmp_path / what
    if what == "empty":
        path.mkdir()
    elif what == "half":
        path = make_run(tmp_path)
        (path / "certificate.json").unlink()
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "pipe":
        os.mkfifo(path)
    elif what != "nothing":
        path.write_text("{}")
    with pytest.raises(UsageError, match="is no file" if what in ("device", "pipe") else None):
        verified(path)


def _says(word):
    def edit(verdict):
        verdict.update(verdict=word)

    return edit


@pytest.mark.parametrize(
    ("plan", "edit", "words"),
    [
        (Plan(rerun=Quirks(noise=(3, "grad"))), _says("CERTIFIED"), "it says CERTIFIED, and otherwise of check rerun"),
        (Plan(), lambda verdict: verdict["checks"]["resume"].update(verdict="DIVERGED"), "of check resume"),
        (Plan(), lambda v: v["control"]["controls"][0].update(detected=False), "otherwise of control"),
        (Plan(), lambda verdict: verdict.update(problems=["nothing fits"]), "of problem: nothing fits"),
    ],
    ids=["word", "check", "control", "problem"],
)
def test_a_certificate_that_contradicts_itself_is_tampered_though_signed(tmp_path, plan, edit, words):
    folder = make_run(tmp_path, plan)
    edit_json(folder / "verdict.json", edit)
    certify_again(folder)
    create_key("me")
    published = publish(folder, tmp_path / "manifests", load_signer("me"))
    for path in (published, published / "certificate.intoto.jsonl"):
        found = verified(path)
        assert found.word == "TAMPERED"
        assert found.problem.startswith("the certificate contradicts itself") and words in found.problem


def test_a_path_that_cannot_even_be_looked_at_is_told_in_words(tmp_path):
    with pytest.raises(HostError, match="cannot be read: File name too long"):
        verified(tmp_path / ("x" * 300))


@pytest.mark.parametrize("what", ["result", "kind"])
def test_a_certificate_alone_whose_companions_say_something_else_is_tampered_though_signed(tmp_path, what):
    folder = make_run(tmp_path, Plan(rerun=Quirks(noise=(3, "grad"))))
    create_key("me")
    bundle = publish(folder, tmp_path / "manifests", load_signer("me")) / "certificate.intoto.jsonl"
    assert verified(bundle).word == "CONSISTENT"
    payloads = [envelope.payload for envelope in parse_bundle(bundle.read_bytes())]
    third = json.loads(payloads[2])
    if what == "result":
        third["predicate"]["result"] = "PASSED"
    else:
        third["predicateType"] = "https://example.org/anything"
    bundle.write_bytes(load_signer("me").sign([*payloads[:2], rfc8785.dumps(third)]))
    found = verified(bundle)
    assert found.word == "TAMPERED"
    assert ("the test result 'PASSED'" if what == "result" else "not its provenance") in found.problem


def test_a_folder_in_which_a_training_left_a_name_that_is_no_utf8_is_verified(tmp_path):
    folder = make_run(tmp_path)
    before = verified(folder).amounts["bytes"]
    Path(os.fsdecode(os.fsencode(folder) + b"/straight/\xff.txt")).write_bytes(b"12345")
    certify_again(folder)
    found = verified(folder)
    assert (found.word, found.problem) == ("CONSISTENT", "")
    assert found.amounts["bytes"] == before + 5


def test_commit_and_times_are_told_as_testimony(tmp_path):
    assert any("the commit, the clean tree and the times" in one for one in verified(make_run(tmp_path)).not_checked)


def test_amounts_and_checks_are_told(tmp_path):
    found = verified(archived(make_run(tmp_path), tmp_path)).to_json()
    assert found["amounts"]["compared_steps"] == STEPS + STEPS - KILL.step + 2
    assert found["amounts"]["files"] > 50
    names = [check["name"] for check in found["checks"]]
    assert names == [
        "form",
        "signatures",
        "evidence",
        "certificate",
        "records",
        "code",
        "ledgers",
        "tensors",
        "contents",
        "controls",
        "verdict",
        "crate",
        "reports",
    ]
    assert json.loads(json.dumps(found)) == found


def test_the_digest_of_the_sources_is_the_one_that_manifests_have(tmp_path):
    manifest = json.loads((make_run(tmp_path) / "manifest.json").read_text())
    assert manifest["harness"]["sources"] == str(sources_digest())


def test_what_was_compiled_is_no_source(tmp_path):
    (tmp_path / "ml128.c").write_text("int main;")
    digest = tree_digest(tmp_path)
    compiled = tmp_path / "ml128.so"
    compiled.write_bytes(b"\x7fELF")
    assert tree_digest(tmp_path, without=compiled) == digest != tree_digest(tmp_path)


def test_controls_of_an_earlier_certify_are_taken_as_testimony_and_listed(tmp_path):
    folder = make_run(tmp_path, Plan(has_controls=False, cites_controls=True))
    found = verified(archived(folder, tmp_path))
    assert (found.word, found.claimed) == ("CONSISTENT", "CERTIFIED")
    assert any("flip_param, flip_optim: they ran in an earlier certify" in text for text in found.not_checked)


REPLAYS = {
    "certified": (Plan(run_id="20260103T000000Z-ccccccc-0003"), "CERTIFIED"),
    "diverged": (Plan(run_id="20260103T000000Z-ccccccc-0003", straight=Quirks(noise=(3, "grad"))), "DIVERGED"),
    "failed": (Plan(run_id="20260103T000000Z-ccccccc-0003", exit_code=1), "INCONCLUSIVE"),
}


def replayed(tmp_path, name, is_from_archive=False):
    create_key("recorder")
    folder = make_run(tmp_path / "recorded")
    record = publish(folder, tmp_path / "manifests", load_signer("recorder"))
    if is_from_archive:
        record = tmp_path / "record.oci.tar"
        write_archive(folder, record, load_signer("recorder"), full=None, progress=silent)
    return make_replay(tmp_path / "replayed", record, REPLAYS[name][0])


@pytest.mark.parametrize("is_from_archive", [False, True])
@pytest.mark.parametrize("name", REPLAYS)
def test_a_replay_is_held_against_its_record_again(tmp_path, name, is_from_archive):
    found = verified(archived(replayed(tmp_path, name, is_from_archive), tmp_path))
    assert (found.word, found.claimed, found.problem) == ("CONSISTENT", REPLAYS[name][1], "")
    assert "with the record" in next(check.text for check in found.checks if check.name == "verdict")


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        (
            "diverged",
            lambda f: edit_json(f / "verdict.json", lambda v: v.update(verdict="CERTIFIED", exit_code=0)),
            "does not follow from the evidence and the record",
        ),
        (
            "certified",
            lambda f: edit_json(f / "verdict.json", lambda v: v["replay"].update(tier="other")),
            "the manifests say same machine",
        ),
        (
            "certified",
            lambda f: edit_json(f / "verdict.json", lambda v: v["replay"]["record"].update(run_id="x")),
            "names another record",
        ),
        (
            "certified",
            lambda f: edit_json(f / "record/verdict.json", lambda v: v.update(verdict="DIVERGED")),
            "verdict.json is not what the certificate lists",
        ),
        ("certified", lambda f: shutil.rmtree(f / "record"), "record/manifest.json is missing"),
        ("certified", lambda f: (f / "record/key.json").unlink(), "record/key.json is missing"),
    ],
)
def test_a_forged_replay_is_tampered(tmp_path, name, edit, words):
    folder = replayed(tmp_path, name)
    edit(folder)
    derive_again(folder)
    certify_again(folder)
    found = verified(archived(folder, tmp_path))
    assert found.word == "TAMPERED"
    assert words in found.problem


def test_a_script_asks_for_a_verdict_and_for_who_signed(tmp_path):
    target = archived(make_run(tmp_path, PLANS["diverged-rerun"][0]), tmp_path)
    found = verified(target)
    signer = found.signer.key_id
    assert found.held_to(None, None) == found == found.held_to("DIVERGED", signer)
    for verdict, key_id, words in (
        ("CERTIFIED", signer, "the archive says DIVERGED, and CERTIFIED is required"),
        (None, "0" * 64, f"a signature of key {'0' * 64} is required. Signed by me"),
    ):
        refused = found.held_to(verdict, key_id)
        assert (refused.word, refused.exit_code) == ("CONSISTENT", 1)
        assert words in refused.unmet and refused.to_json()["unmet"] == refused.unmet
        out = io.StringIO()
        print_verification(refused, out)
        assert out.getvalue().splitlines()[-1].startswith(f"REFUSED: {refused.unmet[:20]}")


def test_what_nobody_signed_has_no_required_signature_and_what_is_tampered_stays_that(tmp_path):
    folder = make_run(tmp_path)
    assert verified(folder).held_to("CERTIFIED", "0" * 64).exit_code == 1
    (folder / "straight/log-1.txt").write_text("x")
    assert verified(folder).held_to("DIVERGED", "0" * 64).exit_code == 5


def test_what_was_set_for_a_run_is_signed_and_a_certificate_alone_says_it(tmp_path):
    create_key("me")
    plan = PLANS["variant"][0]
    bundle = publish(make_run(tmp_path, plan), tmp_path / "manifests", load_signer("me")) / "certificate.intoto.jsonl"
    assert "the certificate says CERTIFIED with config.lr=1e-4, and" in verified(bundle).summary
    provenance = json.loads(parse_bundle(bundle.read_bytes())[1].payload)
    assert provenance["predicate"]["buildDefinition"]["externalParameters"]["overrides"] == ["config.lr=1e-4"]
