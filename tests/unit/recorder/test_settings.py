"""What a training computes under is noted when it changes: modes, switches, clipping; and what sets a generator."""

import pytest

CODE = """
import torch
from torch import nn

torch.manual_seed(1)
state = torch.get_rng_state()
model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
model.load_state_dict({"0.weight": torch.zeros(2, 3), "other": torch.zeros(1)}, strict=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
torch.random.set_rng_state(state)


def step(limit=None):
    model(torch.ones(1, 3)).sum().backward()
    if limit is not None:
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=limit)
    optimizer.step()


step(1.0)
step(1.0)
model.eval()
torch.backends.mkldnn.enabled = False
with torch.autocast("cpu"):
    step()
model.train()
torch.manual_seed(2)
step(0.5)
"""


def test_what_a_training_computes_under_is_noted_when_it_changes(new_trajectory):
    trajectory = new_trajectory()
    script = trajectory.folder / "script.py"
    script.write_text(CODE)
    run = trajectory.run(script)
    assert run.returncode == 0, run.stderr
    settings = {(event["name"], event["step"]): event["value"] for event in run.events("setting")}
    assert [step for name, step in settings if name == "evaluating"] == [3, 4]
    assert (
        settings["evaluating", 3] == {"num": 3, "of": 3, "names": ["", "0", "1"]} and settings["evaluating", 4] is None
    )
    limits = [
        (step, value and float.fromhex(value["limit"])) for (name, step), value in settings.items() if name == "clip"
    ]
    assert limits == [(1, 1.0), (3, None), (4, 0.5)]
    switches = [settings["switches", step] for step in (1, 3, 4)]
    assert [one["autocast_cpu"] for one in switches] == [None, "torch.bfloat16", None]
    assert [one["mkldnn"] for one in switches] == [True, False, False]


def test_what_sets_a_generator_and_what_a_load_left_out_are_noted(new_trajectory):
    trajectory = new_trajectory()
    script = trajectory.folder / "script.py"
    script.write_text(CODE)
    run = trajectory.run(script)
    events = [event for kind in ("seed", "set_rng") for event in run.events(kind) if event["states"]]
    calls = [(event["function"], event["step"], event["states"]["torch"]) for event in events]
    before = run.tensors(1, "step", "rng")["torch"][2]
    assert [call[:2] for call in calls] == [
        ("torch.manual_seed", 0),
        ("torch.manual_seed", 4),
        ("torch.set_rng_state", 0),
    ]
    assert calls[0][2] == calls[2][2] == before != calls[1][2]
    (load,) = run.events("load_state")
    assert (load["missing"], load["unexpected"]) == ([1, "0.bias"], [1, "other"])


ATTRIBUTES = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.rate, self.queue = nn.Linear(3, 2), 0, 0.5, torch.zeros(4)
        self.pair, self.words, self.itself = None, ["a"], lambda: self

    def forward(self, x):
        self.calls, self.rate, self.pair = self.calls + 1, self.rate / 2, (torch.ones(1), 2)
        return self.layer(x)


model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
for step in range(3):
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    plateau.step(1.0)
    if step == 1:
        torch.save(model.state_dict(), TARGET)
"""


@pytest.mark.parametrize("target", ["'model.pt'", "__import__('io').BytesIO()"])
def test_what_modules_hold_beside_their_state_is_noted_at_the_start_and_after_a_save(new_trajectory, target):
    trajectory = new_trajectory()
    script = trajectory.folder / "script.py"
    script.write_text(ATTRIBUTES.replace("TARGET", target.replace("model.pt", str(trajectory.folder / "model.pt"))))
    run = trajectory.run(script)
    assert run.returncode == 0, run.stderr
    first, second = run.events("attributes")
    assert first["step"] == 1 and first["values"]["calls"] == 0 and first["values"]["layer.in_features"] == 3
    assert first["values"]["rate"] == (0.5).hex() and first["values"]["queue"].startswith("ml128:")
    pair = second["values"].pop("pair.0")
    assert pair.startswith("ml128:") and second["step"] == 3
    assert second["values"] == {"calls": 2, "rate": (0.125).hex(), "pair.1": 2}
    assert "scheduler0.num_bad_epochs" in run.tensors(1, "step", "lr")
