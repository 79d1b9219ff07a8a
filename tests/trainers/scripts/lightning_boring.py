"""Lightning's Trainer with its own demo module: lightning_boring.py OUTPUT --save-every=STEPS [--resume]."""

import sys

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset


class Model(BoringModel):
    def __init__(self):
        super().__init__()
        self.data = RandomDataset(32, 32)  # drawn before a resume sets the generator

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.data, batch_size=4)  # in order: nothing is shuffled

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)]

    def on_save_checkpoint(self, checkpoint):
        checkpoint["rng"] = torch.get_rng_state()  # Lightning keeps no generator

    def on_load_checkpoint(self, checkpoint):
        torch.set_rng_state(checkpoint["rng"])


if __name__ == "__main__":
    lightning.seed_everything(1)
    output, every = sys.argv[1], int(sys.argv[2].partition("=")[2])
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_progress_bar=False,
        default_root_dir=output,
        callbacks=[ModelCheckpoint(output, every_n_train_steps=every, save_last=True, save_top_k=-1)],
    )
    trainer.fit(Model(), ckpt_path="last" if "--resume" in sys.argv else None)
    trainer.save_checkpoint(f"{output}/final.ckpt")
