import os

import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # expect: REP303


def main():
    torch.manual_seed(1)
    os.environ.update({"MKL_NUM_THREADS": "1", "NCCL_DEBUG": "INFO"})  # expect: REP303
    print(torch.get_num_threads())


if __name__ == "__main__":
    main()
