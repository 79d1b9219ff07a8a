import torch
from saving import complete_state, save
from torch import nn


def main():
    torch.manual_seed(17)
    torch.use_deterministic_algorithms(True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = nn.Linear(8, 1).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)
    for step in range(100):
        draw = torch.Generator().manual_seed(1000 + step)
        loss = model(torch.randn(4, 8, generator=draw).to(device)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        if step % 10 == 9:
            save(complete_state(model, optimizer, step), "latest.pt")


if __name__ == "__main__":
    main()
