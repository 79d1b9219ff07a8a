import os
from pathlib import Path

from torch.utils.data import Dataset


class Images(Dataset):
    def __init__(self, root):
        self.root = root
        self.files = [name for name in os.listdir(root) if name.endswith(".png")]  # expect: REP204
        self.masks = list(Path(root, "masks").glob("*.png"))  # expect: REP204

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.files[index], self.masks[index]
