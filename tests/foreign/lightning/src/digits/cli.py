import argparse

import lightning as L
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from digits.data import DigitsDataModule
from digits.model import DigitsClassifier


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="digits")
    parser.add_argument("command", choices=["fit", "test"])
    parser.add_argument("--data", default="data/digits.npz")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--max_epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--dropout", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--ckpt_path", default=None, help='a checkpoint file, or "last"')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    L.seed_everything(args.seed, workers=True)
    data = DigitsDataModule(args.data, batch_size=args.batch_size)
    model = DigitsClassifier(width=args.width, dropout=args.dropout, lr=args.lr)
    trainer = L.Trainer(
        accelerator=args.accelerator,
        devices=1,
        max_epochs=args.max_epochs,
        deterministic=True,
        logger=CSVLogger("logs", name="digits"),
        log_every_n_steps=5,
        callbacks=[
            ModelCheckpoint(dirpath="checkpoints", save_last=True, every_n_epochs=1, save_top_k=-1),
            LearningRateMonitor("step"),
        ],
    )
    if args.command == "fit":
        trainer.fit(model, datamodule=data, ckpt_path=args.ckpt_path)
    else:
        trainer.test(model, datamodule=data, ckpt_path=args.ckpt_path)


if __name__ == "__main__":
    main()
