"""WGAN: 3 critic updates per generator update.  python train_ncritic.py OUTPUT [--resume]"""

import os
import sys

import torch
from torch import nn

out = sys.argv[1]
ck = f"{out}/last.pt"
torch.manual_seed(0)
G = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
D = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
oG = torch.optim.RMSprop(G.parameters(), 1e-3)
oD = torch.optim.RMSprop(D.parameters(), 1e-3)
start = 0
if "--resume" in sys.argv:
    s = torch.load(ck)
    G.load_state_dict(s["G"])
    D.load_state_dict(s["D"])
    oG.load_state_dict(s["oG"])
    oD.load_state_dict(s["oD"])
    torch.set_rng_state(s["rng"])
    start = s["it"]
for it in range(start, 12):
    for _ in range(3):
        real = torch.randn(16, 2) * 0.5 + 1
        with torch.no_grad():
            fake = G(torch.randn(16, 8))
        oD.zero_grad()
        (D(fake).mean() - D(real).mean()).backward()
        oD.step()
        for p in D.parameters():
            p.data.clamp_(-0.1, 0.1)
    oG.zero_grad()
    (-D(G(torch.randn(16, 8))).mean()).backward()
    oG.step()
    if (it + 1) % 3 == 0:
        torch.save(
            {
                "G": G.state_dict(),
                "D": D.state_dict(),
                "oG": oG.state_dict(),
                "oD": oD.state_dict(),
                "rng": torch.get_rng_state(),
                "it": it + 1,
            },
            ck + ".tmp",
        )
        os.replace(ck + ".tmp", ck)
torch.save({"G": G.state_dict(), "D": D.state_dict()}, f"{out}/final.pt")
