"""The plain training, broken in one way: broken.py hang|log|memory|daemon|output ARGUMENTS."""

import os
import runpy
import subprocess
import sys
import time

from torch.optim.optimizer import register_optimizer_step_post_hook

how = sys.argv.pop(1)
count = 0


def after_step(_optimizer, _arguments, _keywords):
    global count
    count += 1
    if count != 3:
        return
    if how == "hang":
        time.sleep(3600)
    elif how == "log":
        line = b"x" * 1023 + b"\n"
        for _ in range(10 << 10):
            os.write(1, line * 1024)
    elif how == "memory":
        held = [bytearray(os.urandom(1 << 20)) * 64 for _ in range(1000)]
        print(len(held))
    elif how == "daemon":
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
    elif how == "output":
        folder = sys.argv[sys.argv.index("--output") + 1]
        with open(f"{folder}/much.bin", "wb") as file:
            for _ in range(20 << 10):
                file.write(os.urandom(1 << 20))


register_optimizer_step_post_hook(after_step)
sys.argv[0] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "train.py")
runpy.run_path(sys.argv[0], run_name="__main__")
