"""Signals: what they raise, when they are only noted, and that no lock is left half-way wherever one comes."""

import subprocess
import sys

import pytest

from tests import ROOT

HEARD = ("SIGINT", "SIGTERM", "SIGHUP")

CLEANING_UP = """
with signals_as_ctrl_c():
    try:
        signal.raise_signal(signal.{first})
    except KeyboardInterrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)
        print("cleaned up")
        time.sleep(1.1)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("somebody insists")
"""

HELD = """
with signals_as_ctrl_c():
    try:
        with deferred(), deferred():
            signal.raise_signal(signal.SIGTERM)
            print("done")
        print("never")
    except KeyboardInterrupt:
        print("raised")
    with deferred():
        signal.raise_signal(signal.SIGTERM)
    print("once")
"""

# Every instruction of a pool's life is hit by a signal: a lock that stays taken hangs, one released twice raises.
AT_EVERY_INSTRUCTION = """
import _thread, faulthandler
from harness.system.deferred_signals import Pool, wait_for
faulthandler.dump_traceback_later(100, exit=True)
OURS = ("/harness/system/", "/threading.py", "/concurrent/futures/")

def hit(place):
    count = 0
    def trace(frame, event, _):
        nonlocal count
        if not any(part in frame.f_code.co_filename for part in OURS):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == place:
                sys.settrace(None)
                for number in {numbers}:
                    _thread.interrupt_main(number)
        return trace
    stop = threading.Event()
    try:
        with signals_as_ctrl_c():
            sys._getframe().f_trace_opcodes = True  # Python 3.12 looks at it only when a trace is set
            sys.settrace(trace)
            try:
                with Pool(1) as pool:
                    try:
                        first = pool.submit(stop.wait, 0.002)
                        wait_for([first, pool.submit(int)])
                    finally:
                        stop.set()
            finally:
                sys.settrace(None)
    except Interrupted:
        return True
    finally:
        sys.settrace(None)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
    assert count < place, "a signal was lost"
    return False

place = 1
while hit(place):
    place += 1
print(place > 500)
"""


def in_a_process(program, ignored=()):
    """What a program prints that is started with some signals ignored, and the others not."""
    names = "import signal, sys, threading, time\nfrom harness.errors import Interrupted\n"
    names += "from harness.system.deferred_signals import deferred, interruption_named, signals_as_ctrl_c\n"
    told = {name: "SIG_IGN" if name in ignored else "SIG_DFL" for name in HEARD}
    set_up = "".join(f"signal.signal(signal.{name}, signal.{how})\n" for name, how in told.items())
    command = [sys.executable, "-c", names + set_up + program]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("first", HEARD)
def test_while_it_cleans_up_only_a_later_ctrl_c_is_heard_again(first):
    assert in_a_process(CLEANING_UP.format(first=first)) == "cleaned up\nsomebody insists\n"


def test_what_is_held_is_done_to_its_end_and_then_interrupted_once():
    assert in_a_process(HELD) == "done\nraised\nonce\n"


@pytest.mark.parametrize("numbers", ["(2,)", "(1, 2)"])
def test_wherever_a_signal_comes_a_pool_ends(numbers):
    assert in_a_process(AT_EVERY_INSTRUCTION.format(numbers=numbers)) == "True\n"


def test_whoever_is_started_behind_nohup_does_not_end_with_the_terminal():
    program = "with signals_as_ctrl_c():\n    signal.raise_signal(signal.SIGHUP)\n    print('still here')"
    assert in_a_process(program, ignored=("SIGHUP",)) == "still here\n"


def test_what_breaks_after_a_signal_is_the_interruption_and_before_it_is_not():
    program = """
try:
    with signals_as_ctrl_c():
        raise RuntimeError("a defect")
except RuntimeError as error:
    print(error)
try:
    with signals_as_ctrl_c(), interruption_named("go on"):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            threading.Lock().release()
except Interrupted as error:
    print(error)
"""
    assert in_a_process(program) == "a defect\ninterrupted\n  remedy: go on\n"


def test_a_process_that_was_just_started_when_the_signal_came_is_ended(tmp_path):
    program = f"""
import subprocess
from pathlib import Path
from harness.runs import host, sandbox

host.namespaces(), host._search_paths(Path(sys.executable))

class StruckPopen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        started.append(self)
        signal.raise_signal(signal.SIGTERM)

folder, started = Path({str(tmp_path)!r}), []
order = sandbox.ProcessSpec(
    name="x/1/1", argv=("sleep", "60"), mounts={{"code": sandbox.Mount(source=folder, target="/code")}},
    environment={{}}, memory_bytes=1 << 30, timeout_s=60, log=folder / "log.txt",
)
host.subprocess.Popen = StruckPopen
try:
    with signals_as_ctrl_c():
        host.HostSandbox(Path(sys.executable)).execute(order, lambda: False)
except Interrupted:
    print(started[0].poll())
"""
    assert in_a_process(program) == "-9\n"
