"""LoRA on a frozen base; every 4 steps the adapter is merged for an evaluation and unmerged again (real peft)."""

import json
import os
import pathlib
import sys

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file

config = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(sys.argv[2])
ck = out / "checkpoint.pt"
torch.manual_seed(config["seed"])


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(8, 32)
        self.b = torch.nn.Linear(32, 4)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


model = get_peft_model(Net(), LoraConfig(r=4, lora_alpha=8, target_modules=["a", "b"]))
opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
step = 0
if "--resume" in sys.argv and ck.exists():
    s = torch.load(ck, weights_only=True)
    set_peft_model_state_dict(model, s["adapter"])
    opt.load_state_dict(s["opt"])
    step = s["step"]
while step < config["steps"]:
    g = torch.Generator().manual_seed(1000 * config["seed"] + step)
    x = torch.randn(16, 8, generator=g)
    loss = torch.nn.functional.mse_loss(model(x), x[:, :4] * 2)
    opt.zero_grad()
    loss.backward()
    opt.step()
    step += 1
    if step % 4 == 0:
        if config["merge"]:
            model.merge_adapter()
            with torch.no_grad():
                model(torch.ones(2, 8))
            model.unmerge_adapter()
        torch.save({"adapter": get_peft_model_state_dict(model), "opt": opt.state_dict(), "step": step}, out / "c.tmp")
        os.replace(out / "c.tmp", ck)
save_file({k: v.contiguous() for k, v in get_peft_model_state_dict(model).items()}, out / "adapter.safetensors")
