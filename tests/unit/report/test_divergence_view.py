"""A divergence in words, tables and maps."""

from harness.report.divergence_view import DivergenceView
from harness.report.html import render_report
from tests.made import report_data as data


def view(**changes):
    return DivergenceView(data.verdict(data.DIVERGED, **changes))


def cells(table):
    return [tuple(map(str, row)) for row in table.rows]


def test_the_state_is_told_by_piece_and_what_is_not_known_says_so():
    found = view()
    assert cells(found.state) == [
        ("weights", "48 of 48", "48 of 48", "load_state_dict", "6"),
        ("torch's generator", "yes", "another", "torch.manual_seed", "no step"),
        ("place in the data", "not known", "2 of 2", "not seen", "6"),
    ]
    assert [row[2].tone for row in found.state.rows] == ["good", "bad", "good"]
    assert "checkpoint of step 6 is gone; the file is checkpoints/latest.pt, written after step 24" in found.state_note


def test_tensors_stand_under_the_names_of_the_runs():
    found = view().tensors
    assert found.title == "12 of 40 entries differ in rng at step 7; the first 2"
    assert [column.title for column in found.columns] == ["Name", "Type", "Straight", "Resumed", "Apart"]
    assert cells(found)[1] == ("1.1", "float32", "2.0668", "2.0653", "0.0015")


def test_an_older_verdict_shows_its_one_tensor_and_no_table_of_state():
    found = view(divergence=None)
    assert not found.state.rows and not found.state_note and not found.layers
    assert cells(found.tensors) == [("torch.cpu", "", "sha256:3f9a1c773f9a", "sha256:b09a1c77b09a", "")]


def test_a_rerun_shows_what_was_varied():
    first = data.DIVERGED["first_divergence"] | {"check": "rerun", "trajectory": "rerun"}
    facts = [{"name": "host name", "varied": True, "straight": "trainer"}]
    found = view(first_divergence=first, varied=facts)
    assert cells(found.varied) == [("host name", "another", "trainer")]
    assert found.tensors.columns[3].title == "Rerun" and not view(varied=facts).varied.rows


def test_modules_are_told_by_the_share_that_differs_without_what_their_names_share():
    found = view()
    assert found.layers_of == "base_model.model.model.layers"
    assert (found.layers[4].module, found.layers[4].shares[:3]) == ("2.self_attn.q_proj.lora_A", (0, 75, 100))
    assert found.layers[4].note == "from step 8, up to 4 of 4"


def test_where_no_cause_is_known_the_next_command_is_named():
    cause = data.DIVERGED["cause"] | {"class": "unknown"}
    text = "harness diagnose forgets-rng executes step 7 again and names the first operator that differs"
    assert view(cause=cause).next == text and text in render_report(data.verdict(data.DIVERGED, cause=cause), None)
    assert not view().next


def test_a_hostile_map_is_drawn_within_its_bounds():
    rows = [{"module": "m", "num_tensors": 0, "different": [7, -3]}]
    odd = data.DIVERGED["divergence"] | {"layers": {"steps": [1], "rows": rows}}
    assert view(divergence=odd).layers[0].shares == (100, 0)
    odd = data.DIVERGED["divergence"] | {"layers": {"steps": [], "rows": rows}}
    assert "The modules" not in render_report(data.verdict(data.DIVERGED, divergence=odd), None)
