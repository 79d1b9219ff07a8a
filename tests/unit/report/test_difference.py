"""What `harness diff` prints."""

import io

from harness.judge.elementwise import FileDiff, TensorDiff
from harness.report.results import print_difference
from harness.runs.compare_paths import FileResult, FolderDiff, Located

TENSOR = TensorDiff(
    name="lora_A",
    kind="differs",
    num_elements=1536,
    num_different=1,
    max_ulp=128,
    max_abs=2e-7,
    first_index=(6, 152),
    left="-0.1",
    right="-0.2",
)
FILES = FileDiff(left="a", right="b", num_tensors=3, num_equal=2, tensors=(TENSOR,), values=())
FOLDERS = FolderDiff(
    left="straight",
    right="resumed",
    is_equal=False,
    num_steps=6,
    differences=(
        Located(
            trajectory="resumed",
            run=2,
            stream="optim",
            phase="restore",
            step=3,
            tensor="w.exp_avg",
            left="sha256:aa",
            right="sha256:bb",
        ),
    ),
    files=(
        FileResult(path="latest.pt", equal=False, different=("a", "b", "c", "d")),
        FileResult(path="same.pt", equal=True, different=()),
    ),
    problems=("resumed/3: there is no ledger",),
)


def shown(document):
    stream = io.StringIO()
    print_difference(document, stream)
    return stream.getvalue()


def test_a_tensor_is_shown_with_count_ulp_and_index():
    text = shown(FILES)
    for word in ("lora_A", "1 of 1,536", "128", "[6, 152]", "2 of 3 tensors are equal"):
        assert word in text
    assert text.endswith("DIFFERENT\n")


def test_runs_files_and_problems_are_shown_and_long_lists_cut():
    text = shown(FOLDERS)
    for word in ("restore 3", "w.exp_avg", "a, b and 2 more", "problem: resumed/3"):
        assert word in text
    assert "same.pt" not in text


def test_equal_sides_end_with_equal():
    assert shown(FILES.model_copy(update={"tensors": (), "num_equal": 3})).endswith("EQUAL\n")
