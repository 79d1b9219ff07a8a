"""What `harness diff` prints."""

import io

from harness.images.image import BuildResult, FileDifference, RebuildRecord
from harness.judge.elementwise import FileDiff, TensorDiff
from harness.report.results import print_build, print_difference
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
FILES = FileDiff(
    left="a", right="b", formats=("torch", "torch"), num_tensors=3, num_equal=2, tensors=(TENSOR,), values=()
)
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


def test_files_that_are_no_checkpoints_are_told_so():
    nothing = {"tensors": (), "num_tensors": 0, "num_equal": 0}
    text = shown(FILES.model_copy(update={**nothing, "formats": ("bytes", "bytes")}))
    assert "neither file holds tensors: no checkpoints, compared byte for byte" in text
    text = shown(FILES.model_copy(update={**nothing, "formats": ("json", "jsonl")}))
    assert "compared value by value (json and jsonl)" in text


def test_files_of_an_image_that_differ_are_grouped():
    """One wheel that differs leaves hundreds of lines of its bytecode."""
    paths = [f"lib/a/__pycache__/m{n}.pyc" for n in range(445)] + ["lib/a/m.py", "etc/machine-id"]
    rebuild = RebuildRecord(
        image="cpu",
        key="k",
        image_ids=("sha256:a", "sha256:b"),
        built_at=("", ""),
        seconds=(1.0, 1.0),
        engines=("x", "y"),
        differences=tuple(FileDifference(path=path, how="content from byte 17") for path in paths),
    )
    stream = io.StringIO()
    built = BuildResult(
        name="cpu",
        image_id="sha256:a",
        engine_id="e",
        tag="t",
        key="k",
        size_bytes=1,
        seconds=(),
        was_cached=False,
        rebuild=rebuild,
    )
    print_build(built, is_check=True, stream=stream)
    lines = [line for line in stream.getvalue().splitlines() if line.startswith(" ")]
    assert [line.split(":")[1].strip() for line in lines[:3]] == ["lib/a/m.py", "etc/machine-id", paths[0]]
    assert lines[3].strip() == "and 444 more: bytecode that Python compiled (.pyc)" and len(lines) == 4
