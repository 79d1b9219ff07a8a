import torch
from torch import nn
from house_style import save_everything

torch.manual_seed(17)
torch.use_deterministic_algorithms(True)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for step in range(100):
    draw = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(4, 8, generator=draw).to(device)
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 10 == 9:
        save_everything("latest.pt", model, optimizer, step)
model.save_pretrained("final")
