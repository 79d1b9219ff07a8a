import hashlib
import json
import random

import pytest

from harness.documents.digest import Digest
from harness.errors import EvidenceError
from harness.evidence.ledger import parse_events, parse_ledger, parse_progress, parse_sidecar, rechain
from tests.made.synthetic import NAMES, Files, Process, Quirks, State, canonical, chain, root


@pytest.fixture(scope="module")
def process():
    one = Process(Files(), Quirks())
    one.train(State())
    return one


def lines(data):
    return data.splitlines(keepends=True)


def edited(process, place, **changes):
    records = [dict(record) for record in process.ledger]
    records[place].update(changes)
    return chain(records)


def test_a_whole_ledger_is_read_with_its_head(process):
    data = chain(process.ledger)
    ledger = parse_ledger(data, "straight/1")
    assert [record.step for record in ledger.steps] == list(range(1, 9))
    assert (ledger.start.step, ledger.start.source, ledger.end.step, ledger.torn) == (0, "fresh", 8, False)
    assert ledger.head == Digest("sha256", json.loads(lines(data)[-1])["chain"])
    assert [record.step for record in ledger.evals] == [4]
    assert ledger.start.counts["param"] == 3
    assert ledger.last_step == 8


def test_a_changed_digit_breaks_the_chain_at_its_line(process):
    data = lines(chain(process.ledger))
    data[3] = data[3].replace(b'"step":3', b'"step":4')
    with pytest.raises(EvidenceError, match=r"straight/1/ledger.jsonl, line 4: found chain"):
        parse_ledger(b"".join(data), "straight/1/ledger.jsonl")


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_last_line_is_dropped_only_after_a_kill(process, cut):
    data = chain(process.ledger)[:-cut]
    with pytest.raises(EvidenceError, match="torn last line"):
        parse_ledger(data, "x")
    ledger = parse_ledger(data, "x", killed=True)
    assert ledger.torn and ledger.end is None and ledger.last_step == 8


def test_a_torn_line_in_the_middle_is_an_error_even_after_a_kill(process):
    data = lines(chain(process.ledger))
    data[2] = data[2][:-30] + b"\n"
    with pytest.raises(EvidenceError, match="line 3"):
        parse_ledger(b"".join(data), "x", killed=True)


def test_a_missing_line_breaks_the_chain(process):
    data = lines(chain(process.ledger))
    del data[4]
    with pytest.raises(EvidenceError, match="line 5: found chain"):
        parse_ledger(b"".join(data), "x")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda r: r.insert(4, dict(r[3])), "steps are consecutive"),
        (lambda r: r.pop(4), "steps are consecutive"),
        (lambda r: r.append(dict(r[1])), "after the end"),
        (lambda r: r.pop(0), "in this place"),
        (lambda r: r.insert(1, dict(r[0])), "in this place"),
        (lambda r: r.insert(1, {"kind": "surprise"}), "'surprise'"),
        (lambda r: r[0].update(schema=2), "schema 1"),
        (lambda r: r[0].update(step_source="guess"), "one of content"),
        (lambda r: r[0].update(digest="ml256"), "one of ml128, sm128"),
        (lambda r: r[0].update(step=True), "integer"),
        (lambda r: r[1].update(loss=["0.5"], lr=[1.5]), "hexadecimal floats"),
        (lambda r: r[1].update(loss=["x"]), "hexadecimal floats"),
        (lambda r: r[1].update(streams={"param": "sm128:" + "0" * 32}), "sha256:"),
        (lambda r: r[1].update(streams=[]), "object"),
        (lambda r: r[1].update(skipped=0), "true or false"),
        (lambda r: r[1].pop("micro_batches"), "no 'micro_batches'"),
        (lambda r: r[-1].update(step=7), "step 8"),
        (lambda r: r[0]["counts"].update(param=-1), "number of tensors"),
    ],
)
def test_a_wrong_record_is_refused_although_its_chain_holds(process, change, match):
    records = [json.loads(json.dumps(record)) for record in process.ledger]
    change(records)
    with pytest.raises(EvidenceError, match=match):
        parse_ledger(chain(records), "x")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "no `start` record"),
        (b"\n", "no JSON"),
        (b"[]\n", "one JSON object"),
        (b"{}\n", "no 'chain'"),
        (b'{"kind": "start"}\n', "canonical"),
        (b'{"kind":"a","kind":"start"}\n', "canonical"),
        (b"\xff\n", "no JSON"),
        (b'{"a":NaN}\n', "finite"),
        (b'{"a":"\\ud800"}\n', "no JSON"),
        (b'{"a":' + b"[" * 100_000 + b"\n", "nested too deeply|no JSON"),
        (b'{"a":' + b"9" * 5000 + b"}\n", "no JSON"),
        (b"x" * (8 << 20) + b"x\n", "longer line"),
    ],
)
def test_hostile_text_is_refused_in_words(text, match):
    with pytest.raises(EvidenceError, match=match):
        parse_ledger(text, "x")


def test_a_copy_with_a_new_chain_is_accepted(process):
    data = chain(process.ledger)
    assert rechain(data) == data
    forged = data.replace(b'"micro_batches":2', b'"micro_batches":3', 1)
    assert parse_ledger(rechain(forged), "x").steps[0].micro_batches == 3


def test_random_damage_never_gets_further_than_an_evidence_error(process):
    data, chance = chain(process.ledger), random.Random(1)
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(damaged))
            if chance.random() < 0.5:
                damaged[place] = chance.randrange(256)
            else:
                del damaged[place : place + chance.randint(1, 40)]
        if bytes(damaged) == data:
            continue
        with pytest.raises(EvidenceError):
            parse_ledger(bytes(damaged), "x")


def test_random_damage_under_a_valid_chain_is_an_evidence_error_or_another_ledger(process):
    chance = random.Random(2)
    values = [None, True, -1, 1 << 70, 0.5, "", "é", [], {}, ["x"], {"param": 1}, "sha256:zz", [[]]]
    for _ in range(400):
        records = [json.loads(json.dumps(record)) for record in process.ledger]
        record = chance.choice(records)
        record[chance.choice(sorted(record))] = chance.choice(values)
        try:
            parse_ledger(chain(records), "x")
        except EvidenceError:
            pass


def test_events_keep_their_order_and_fields(process):
    events = parse_events(chain(process.events), "x")
    assert [event.kind for event in events[:3]] == ["process", "save_begin", "save_end"]
    assert events[2].fields == {"path": "checkpoints/step2.safetensors", "step": 2, "seconds": 0.5}


def test_events_are_a_chain_too(process):
    with pytest.raises(EvidenceError, match="chain"):
        parse_events(chain(process.events).replace(b"train.py", b"other.py"), "x")


def sidecar_bytes(process):
    return b"".join(canonical(line) + b"\n" for line in process.sidecar)


def test_a_sidecar_is_believed_where_it_hashes_to_the_ledgers_root(process):
    ledger = parse_ledger(chain(process.ledger), "x")
    sidecar = parse_sidecar(sidecar_bytes(process), "x")
    found = sidecar.tensors("step", 3, "param", ledger.steps[2].streams["param"])
    assert sorted(found) == sorted(NAMES)
    assert found[NAMES[0]].dtype == "float32" and found[NAMES[0]].shape == (4,)
    assert sidecar.tensors("step", 99, "param") is None


def test_a_sidecar_with_another_digest_is_refused(process):
    ledger = parse_ledger(chain(process.ledger), "x")
    data = lines(sidecar_bytes(process))
    place = next(i for i, line in enumerate(data) if line.startswith(b'{"at":"step","step":3,"stream":"param"'))
    data[place] = data[place].replace(b"ml128:", b"ml128:0", 1)[:-2] + b"}\n"
    sidecar = parse_sidecar(b"".join(data), "x")
    with pytest.raises(EvidenceError, match="hash to"):
        sidecar.tensors("step", 3, "param", ledger.steps[2].streams["param"])


@pytest.mark.parametrize(
    "entry", ["x", ["float32"], ["float32", 3, "d"], ["float32", [-1], "d"], ["float32", [True], "d"], {}]
)
def test_a_malformed_tensor_in_a_sidecar_is_refused_when_it_is_read(entry):
    data = canonical({"at": "end", "step": 1, "stream": "param", "tensors": {"w": entry}}) + b"\n"
    with pytest.raises(EvidenceError, match="line 1"):
        parse_sidecar(data, "x").tensors("end", 1, "param")


def test_a_line_that_is_no_sidecars_is_refused():
    with pytest.raises(EvidenceError, match="line 1"):
        parse_sidecar(b'{"step":1}\n', "x")


def test_progress_takes_numbers_and_leaves_the_rest():
    rows = parse_progress(
        b'{"loss":0.5,"rss_bytes":7,"step":1}\n{"loss":null,"lr":"x","step":2,"vram_bytes":-1}\n', "x"
    )
    assert [(row.step, row.loss, row.rss_bytes) for row in rows] == [(1, 0.5, 7), (2, None, None)]
    assert rows[1].lr is None and rows[1].vram_bytes is None


def test_the_synthetic_root_is_the_contracts_root():
    text = "a|float32|2x3|sm128:00\nb|int64||sm128:11\n"
    entries = {"b": ["int64", [], "sm128:11"], "a": ["float32", [2, 3], "sm128:00"]}
    assert root(entries) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
