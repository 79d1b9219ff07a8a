"""What is shown of seeds and loaders; what is found stands in tests/review/."""

import pytest

from harness.review.code.analysis import ENTRY_CHECKS, MODULE_CHECKS
from harness.review.finding import Finding, Showing
from harness.review.source.module import read_module
from harness.review.source.program import Program
from tests import ROOT

LOOP = "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\nmodel(torch.ones(1, 4)).sum().backward()\n"


def said_of(entry, modules):
    """What every check says of a program and of these files."""
    yield from (one for check in ENTRY_CHECKS for one in check(entry))
    yield from (one for module in modules for check in MODULE_CHECKS for one in check(entry.program, module))


def said(text, path="main.py", **files):
    texts = {path: text, **{f"{name}.py": other for name, other in files.items()}}
    program = Program(texts, lambda one: read_module(one, texts[one].encode()))
    module = program.module(path)
    return tuple(said_of(program.entry(module), [module]))


def shown(item, *args, **files):
    return [(one.state, one.text) for one in said(*args, **files) if isinstance(one, Showing) and one.item == item]


def test_seeds_are_shown_with_their_places():
    text = f"import torch\nfrom torch import nn\ntorch.manual_seed(1)\nmodel = nn.Linear(4, 1)\n{LOOP}"
    ((state, words),) = shown("T1", text)
    assert (state, words) == ("holds", "seeded: torch at main.py:3; random and numpy not drawn from")
    ((state, words),) = shown("V1", text)
    assert state == "holds"
    assert "torch at main.py:3" in words


def test_a_seed_that_may_be_left_out_shows_nothing_for_sure():
    text = "import torch\nfrom torch import nn\nif config:\n    torch.manual_seed(1)\n"
    assert [state for state, _ in shown("V1", f"{text}model = nn.Linear(4, 1)\n{LOOP}")] == ["unknown"]


def test_a_program_that_does_not_train_shows_nothing_of_seeds():
    assert shown("T1", "import torch\ntorch.manual_seed(1)\nprint(torch.rand(1))\n") == []


def test_where_something_is_found_nothing_is_shown():
    text = "import random\nimport torch\ntorch.manual_seed(1)\nrandom.shuffle(rows)\n"
    found = said(f"{text}model = torch.nn.Linear(4, 1)\n{LOOP}")
    assert [one.rule for one in found if isinstance(one, Finding) and one.rule.startswith("REP1")] == ["REP101"]
    assert [one for one in found if isinstance(one, Showing) and one.item in ("T1", "V1")] == []


def test_a_finding_counts_the_other_draws_of_its_file():
    text = "import random\nimport torch\ntorch.manual_seed(1)\nrandom.shuffle(a)\nrandom.shuffle(b)\nrandom.random()\n"
    found = said(f"{text}model = torch.nn.Linear(4, 1)\n{LOOP}")
    (message,) = (one.message for one in found if isinstance(one, Finding) and one.rule == "REP101")
    assert message.endswith("(and 2 more such calls in this file)")


def test_an_unknown_library_could_seed_so_nothing_is_proven():
    text = "import random\nimport torch\nimport mystery\ntorch.manual_seed(1)\nrandom.shuffle(a)\n"
    found = said(f"{text}model = torch.nn.Linear(4, 1)\n{LOOP}")
    assert [one.certainty for one in found if isinstance(one, Finding) and one.rule == "REP101"] == ["possible"]


@pytest.mark.parametrize(
    ("more", "certainty"),
    [
        ("", "proven"),
        ("for one in model.parameters():\n    torch.nn.init.normal_(one, generator=own)\n", "possible"),
        ('model.load_state_dict(torch.load("init.pt"))\n', "possible"),
        ('if resume:\n    model.load_state_dict(torch.load("last.pt"))\n', "proven"),
    ],
)
def test_weights_that_are_set_once_more_may_have_been_drawn_unseeded(more, certainty):
    text = f"import torch\nown = torch.Generator().manual_seed(1)\nmodel = torch.nn.Linear(4, 1)\n{more}{LOOP}"
    found = [one for one in said(text) if isinstance(one, Finding) and one.rule == "REP103"]
    assert [one.certainty for one in found] == [certainty]


def test_a_seeded_loader_is_shown():
    loader = "from torch.utils.data import DataLoader\n"
    loader += "a = DataLoader(data, shuffle=True, generator=generator, num_workers=2, worker_init_fn=seed)\n"
    assert [state for state, _ in shown("T3", loader)] == ["holds"]
    assert [state for state, _ in shown("T3", loader.replace("generator=generator, ", ""))] == []


def test_a_program_without_a_loader_has_nothing_to_seed_in_workers():
    text = f"import torch\ntorch.manual_seed(1)\nmodel = torch.nn.Linear(4, 1)\n{LOOP}"
    assert [state for state, _ in shown("T3", text)] == ["does not apply"]


@pytest.mark.parametrize("script", ["pipelines/plain/train.py", "pipelines/lora/train.py", "pipelines/lora/prepare.py"])
def test_the_projects_own_programs_break_none_of_these_rules(script):
    paths = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "pipelines").rglob("*.py"))]
    program = Program(paths, lambda path: read_module(path, (ROOT / path).read_bytes()))
    entry = program.entry(program.module(script))
    found = said_of(entry, entry.closure)
    assert [one for one in found if isinstance(one, Finding) and one.rule[:4] in ("REP1", "REP2")] == []


def test_the_mutants_seed_from_the_system_is_possible_and_told_once():
    text = (ROOT / "tests" / "mutants" / "train.py").read_text(encoding="utf-8")
    found = [one for one in said(text) if isinstance(one, Finding) and one.rule[:4] in ("REP1", "REP2")]
    assert [(one.rule, one.certainty) for one in found] == [("REP105", "possible")]
