from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset


class DigitsDataModule(L.LightningDataModule):
    def __init__(self, path: str = "data/digits.npz", batch_size: int = 128) -> None:
        super().__init__()
        self.path = Path(path)
        self.batch_size = batch_size
        self.splits: dict[str, TensorDataset] = {}

    def prepare_data(self) -> None:
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} not found, run scripts/prepare_data.py first")

    def setup(self, stage: str) -> None:
        with np.load(self.path) as f:
            for name in ("train", "val", "test"):
                x = torch.from_numpy(f[f"x_{name}"]).float() / 16.0
                y = torch.from_numpy(f[f"y_{name}"]).long()
                self.splits[name] = TensorDataset(x, y)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.splits["train"], batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.splits["val"], batch_size=256)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.splits["test"], batch_size=256)
