import torch


def main(fast):
    torch.manual_seed(1337)
    if fast:
        torch.set_float32_matmul_precision("high")  # expect: REP304 possible


if __name__ == "__main__":
    main(fast=True)
