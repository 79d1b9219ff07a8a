"""From executions of a step to the first operator that differs: which it is, what goes in, in how many."""

import pytest

from harness.documents.diagnosis import InputTensor, Operator, OutputTensor
from harness.errors import EvidenceError
from harness.evidence.operators import parse_operators
from harness.judge.deterministic import advice_for
from harness.judge.operators import compare, wilson

BATCH, WEIGHT, GENERATOR = ("data", "1.0"), ("param", "a.weight"), ("rng", "torch")


def operator(name, reads, makes, *, step=3, arguments="*", phase="forward"):
    """An operator that reads `{source: bits}` and makes `bits`."""
    inputs = [InputTensor("float32", (2,), bits, source) for source, bits in reads.items()]
    outputs = [OutputTensor("float32", (2,), bits) for bits in makes]
    where = {"module": "a", "line": "train.py:7", "phase": phase, "step": step, "arguments": arguments}
    return Operator(name=name, inputs=tuple(inputs), outputs=tuple(outputs), **where)


def execution(batch="x", weight="w", product="p", result="r", generator="g", step=3):
    return (
        operator("aten.mm.default", {BATCH: batch, WEIGHT: weight}, [product], step=step),
        operator("aten.bernoulli.default", {GENERATOR: generator, ("op", 0): product}, ["n"], step=step),
        operator("aten.index_add.default", {("op", 0): product}, [result], step=step, phase="backward"),
    )


def found(straight, *others, is_resume=False):
    finding = compare(straight, others, is_resume=is_resume)
    place = finding.operator.place if finding.operator is not None else None
    return finding.found, place, finding.differ, finding.executions


def test_an_operator_is_named_that_gives_other_bits_from_equal_inputs():
    one = execution()
    finding = compare(one, [one, execution(result="s"), execution(result="t"), one], is_resume=False)
    assert (finding.found, finding.operator.name, finding.differ, finding.executions) == (
        "operator", "aten.index_add.default", 2, 5,
    )  # fmt: skip
    sentence = "`aten.index_add.default` in a (backward of train.py:7) gives other bits from equal inputs, at step 3"
    assert finding.sentence == f"{sentence}, in 2 of 5 executions."
    assert "use_deterministic_algorithms(True)" in finding.advice.fix and finding.advice.source.startswith("https://")
    assert [(row.place, row.inputs, row.outputs) for row in finding.nearby] == [
        (1, True, True),
        (2, True, True),
        (3, True, False),
    ]


def test_the_straight_execution_may_be_the_odd_one_of_reruns_but_not_of_resumes():
    odd, usual = execution(result="s"), execution()
    assert found(odd, usual, usual) == ("operator", 3, 1, 3)
    assert found(odd, usual, usual, is_resume=True) == ("operator", 3, 2, 2)


def test_an_operator_that_every_resume_computes_otherwise_is_not_called_nondeterministic():
    steady = compare(execution(), [execution(result="s")] * 2, is_resume=True)
    assert steady.sentence.endswith("in 2 of 2 executions, and each time the same.")
    assert steady.advice.fix.startswith("It repeats itself") and not steady.advice.source
    varying = compare(execution(), [execution(result="s"), execution(result="t")], is_resume=True)
    assert varying.sentence.endswith("in 2 of 2 executions.") and "deterministic" in varying.advice.fix


def test_two_operators_of_one_name_that_read_what_others_made_are_not_the_same_one():
    one, other = execution(), list(execution())
    other[2] = operator("aten.index_add.default", {("op", 1): "n"}, ["s"], phase="backward")
    finding = compare(one, [tuple(other)], is_resume=True)
    assert finding.found == "sequence" and finding.sentence.endswith(
        "the resumed step runs it on what other operators made: from here on other operators run, at step 3, "
        "in 1 of 1 executions."
    )


@pytest.mark.parametrize(
    ("other", "states", "words"),
    [
        (execution(weight="v", product="q"), ("param a.weight",), "reads the parameter a.weight with other bits"),
        (execution(batch="y", product="q"), ("data 1.0",), "reads the batch, input 0 of micro-batch 1 with other bits"),
        (
            execution(batch="y", product="q", generator="h"),
            ("data 1.0", "rng torch"),
            "micro-batch 1 and 1 more, with other bits",
        ),
        (execution(generator="h"), ("rng torch",), "reads the generator torch with other bits"),
    ],
)
def test_what_no_operator_made_is_named_if_it_differs_first(other, states, words):
    finding = compare(execution(), [other, other], is_resume=True)
    assert (finding.found, finding.states, finding.differ) == ("input", states, 2)
    assert words in finding.sentence and finding.sentence.endswith("at step 3, in 2 of 2 executions.")


def test_a_batch_that_differs_with_its_generator_is_mended_at_the_generator():
    alone, drawn = execution(batch="y"), execution(batch="y", generator="h")
    fixes = [compare(execution(), [one], is_resume=True).advice.fix for one in (alone, drawn)]
    assert "Look at what makes the batch" in fixes[0] and "generator's state" in fixes[1]
    assert compare(execution(), [drawn], is_resume=False).advice.fix == fixes[0]


def test_other_inputs_are_told_as_what_they_are():
    make = operator("aten.empty.memory_format", {}, [])
    unfilled, foreign, moved = (
        (make, operator("aten.sum.default", {source: bits}, ["s"]))
        for source, bits in ((("empty", 0), "x"), (None, "x"), (("op", 0), "x"))
    )
    other = {
        source: (make, operator("aten.sum.default", {source: "y"}, ["s"])) for source in (("empty", 0), None, ("op", 0))
    }
    number = [(operator("aten.mul.Scalar", {WEIGHT: "w"}, ["s"], arguments=f"*, {rate}"),) for rate in (0.1, 0.2)]
    pairs = {
        "reads memory that `aten.empty.memory_format` in a (train.py:7) leaves unfilled": (unfilled, other["empty", 0]),
        "reads a tensor of shape [2] that no operator of its thread made": (foreign, other[None]),
        "made and something else than an operator changed": (moved, other["op", 0]),
        "reads another number: 0.2 instead of 0.1": number,
    }
    for words, (one, two) in pairs.items():
        assert words in compare(one, [two], is_resume=True).sentence


def test_other_operators_are_told_as_a_sequence():
    evaluated = (execution()[0], execution()[2])
    finding = compare(execution(), [evaluated], is_resume=True)
    assert (finding.found, finding.states) == ("sequence", ())
    assert "the straight step runs `aten.bernoulli.default`" in finding.sentence
    assert "the resumed step runs `aten.index_add.default`" in finding.sentence
    shorter = compare(execution(), [execution()[:2]], is_resume=True)
    assert (shorter.found, shorter.operator) == ("sequence", None) and "runs nothing more" in shorter.sentence


def test_state_that_operators_change_in_place_unseen_is_named_only_where_it_differs_first():
    running = ("buffer", "a.running_mean")
    sides = [
        (
            operator("aten.mm.default", {BATCH: bits}, [bits]),
            operator("aten.native_batch_norm.default", {running: "m"}, ["n"]),
            operator("aten.native_batch_norm.default", {running: bits}, ["n"]),
        )
        for bits in "xy"
    ]
    assert compare(sides[0], [sides[1]], is_resume=True).states == ("data 1.0",)


def test_reruns_that_differed_before_the_first_operator_are_left_out():
    usual, odd, earlier = execution(), execution(result="s"), execution(weight="v", product="q", result="t")
    finding = compare(usual, [usual, odd, earlier, usual], is_resume=False)
    assert (finding.found, finding.differ, finding.executions, finding.num_left_out) == ("operator", 1, 4, 1)
    first = execution(step=1)
    drawn = compare(first, [execution(weight="v", product="q", step=1)], is_resume=False)
    assert (drawn.found, drawn.states, drawn.num_left_out) == ("input", ("param a.weight",), 0)


def test_equal_executions_have_no_first_difference():
    finding = compare(execution(), [execution()] * 4, is_resume=False)
    assert (finding.found, finding.differ, finding.executions) == ("nothing", 0, 5)
    assert finding.interval == pytest.approx((0, 0.4345), abs=1e-4)


def test_wilsons_interval():
    # Newcombe, Stat. Med. 17 (1998), table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aten.index_add_.default", "makes it take a deterministic algorithm"),
        ("aten.convolution_backward.default", "makes it take a deterministic algorithm"),
        ("aten.upsample_bilinear2d_backward.default", "raises an error"),
        ("aten._scaled_dot_product_efficient_attention_backward.default", "sdpa_kernel"),
        ("aten.mm.default", "does not list it"),
        ("mine.race.default", "is not torch's own"),
    ],
)
def test_the_advice_is_what_torch_documents(name, words):
    assert words in advice_for(operator(name, {}, [])).fix


def test_operators_are_read_without_trust():
    lines = [one.model_dump_json() for one in execution()]
    assert parse_operators(("\n".join(lines) + "\n" + lines[0][:9]).encode(), "it") == execution()
    for line in ("{}", "[]", "x", lines[0].replace('"step":3', '"step":"3"'), lines[0].replace("forward", "sideways")):
        with pytest.raises(EvidenceError, match="it has a line that is no operator"):
            parse_operators(f"{line}\n".encode(), "it")
