"""The training of `by_bash` in a forked process.  train.py OUTPUT [--resume]"""

import multiprocessing
import runpy

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(
        target=runpy.run_path, args=("tests/cases/by_bash/train.py",), kwargs={"run_name": "__main__"}
    )
    child.start()
    child.join()
