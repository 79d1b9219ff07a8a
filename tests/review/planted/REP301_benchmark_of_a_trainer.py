import lightning as L

from data import Images
from network import Network


def main():
    L.seed_everything(3, workers=True)
    trainer = L.Trainer(max_epochs=3, deterministic=True, benchmark=True)  # expect: REP301
    trainer.fit(Network(), datamodule=Images())


if __name__ == "__main__":
    main()
