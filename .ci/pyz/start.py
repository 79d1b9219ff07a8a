"""The start of harness.pyz: unpack the packages for this interpreter, once, and run the command.

Compiled modules cannot be imported out of a zip, so they are unpacked below $XDG_CACHE_HOME (else ~/.cache), or, where
nothing can be written, into a folder that lasts as long as the process. This runs on whatever Python somebody has.
"""

import atexit
import os
import platform
import shutil
import sys
import tempfile
import zipfile

GLIBC = (2, 28)


def main():
    """Run the harness that lies in this file."""
    with zipfile.ZipFile(os.path.dirname(os.path.abspath(__file__))) as archive:
        tag = "cp%d%d" % sys.version_info[:2]
        known = sorted({name.partition("/")[0] for name in archive.namelist() if name.startswith("cp")})
        if not fits() or tag not in known:
            versions = ", ".join("%s.%s" % (name[2], name[3:]) for name in known)
            print("error: this file is for CPython %s on Linux, x86-64, with glibc" % versions, file=sys.stderr)
            print("  remedy: use one of these, or elsewhere: pip install repro-harness", file=sys.stderr)
            sys.exit(6)
        folder = unpacked(archive, tag)
    sys.path.insert(0, folder)
    from harness.cli import main as harness

    harness()


def fits():
    """Whether the compiled modules can be loaded here."""
    library, version = platform.libc_ver()
    is_glibc = library == "glibc" and tuple(map(int, version.split("."))) >= GLIBC
    here = (sys.implementation.name, sys.platform, platform.machine())
    return is_glibc and here == ("cpython", "linux", "x86_64")


def unpacked(archive, tag):
    """The folder with the packages for an interpreter; another process sees all of it or nothing."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    above = os.path.join(cache, "repro-harness-pyz")
    target = os.path.join(above, archive.read("build").decode()[:16] + "-" + tag)
    if os.path.isdir(target):
        return target
    try:
        os.makedirs(above, mode=0o700, exist_ok=True)
        folder = tempfile.mkdtemp(dir=above)
    except OSError:
        above, folder = None, tempfile.mkdtemp(prefix="repro-harness-pyz-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in archive.namelist():
        if name.startswith(("any/", tag + "/")):
            with archive.open(name) as stream, zipfile.ZipFile(stream) as wheel:
                wheel.extractall(folder)
    if above is None:
        return folder
    try:
        os.rename(folder, target)
    except OSError:  # another process was faster
        shutil.rmtree(folder)
    return target


main()
