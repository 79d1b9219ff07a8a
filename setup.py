"""Compile the sums of the recorder's digest, where there is a C compiler; everything else is in pyproject.toml.

The library needs no Python and no C library, so that it loads in any image: it is compiled by one command of its own,
not with the flags of the Python that builds.
"""

import os
import shlex
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FLAGS = "-std=gnu11 -O2 -shared -fPIC -ffreestanding -nostdlib -fno-stack-protector -Wl,-z,defs,-z,noexecstack"


class BuildLibrary(build_ext):
    """Makes `harness/recorder/ml128.so`; without a compiler nothing is made, and the digest goes on with numpy."""

    def get_ext_filename(self, fullname):
        return fullname.replace(".", "/") + ".so"

    def build_extension(self, ext):
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.spawn([*shlex.split(os.environ.get("CC", "cc")), *FLAGS.split(), "-o", str(target), *ext.sources, "-lgcc"])


class WheelOfAnyPython(bdist_wheel):
    """A wheel for this platform, and for every Python on it."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension("harness.recorder.ml128", ["harness/recorder/ml128.c"], optional=True)],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": WheelOfAnyPython},
)
