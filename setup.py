"""Builds the forest kernel, and refuses a checkout whose links are text files; all else is in pyproject.toml.

src/millwork has four links to top-level folders. Where git can't make links (Windows, core.symlinks false) it writes
their targets into plain files, and setuptools would build a package without its four sub-packages, and not say so.

The kernel is a plain shared library without Python symbols, so that the same file is copied into artifacts and loaded
by any Python; Triton's backend of it is a second one. Each instruction set's source has flags of its own. Where there
is no C++ compiler the package installs without them, and the ``native`` backend says so.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import ClassVar

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LINKED = ("compile", "passes", "validators", "artifacts")

for name in LINKED:
    if not Path(__file__).with_name("src").joinpath("millwork", name, "__init__.py").is_file():
        raise SystemExit(
            f"src/millwork/{name}: expected a link to ../../{name}, and it isn't one.\n"
            "Check out again where links can be made: git -c core.symlinks=true clone …"
        )

KERNEL = Path("src/millwork/compile/kernel")
SOURCES = sorted(str(path) for path in KERNEL.glob("*.cpp"))
BACKEND_SOURCES = sorted(str(path) for path in KERNEL.glob("triton/*.cpp"))
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
]
OF_SOURCE = {
    "isa_avx2.cpp": ["-mavx2", "-mbmi2", "-mpopcnt"],
    "isa_avx512.cpp": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vbmi", "-mbmi2", "-mpopcnt"],
}
"""What a source needs beyond what every CPU of the architecture has; which is used is chosen when it runs."""
LINK = [
    "-shared",
    "-static-libstdc++",
    "-static-libgcc",
    "-pthread",
    "-Wl,--exclude-libs,ALL",
    "-s",
]


ALL_DEFINED = "-Wl,--no-undefined"
"""But in Triton's backend: what it calls of the server is in the server."""


class BuildKernel(build_ext):
    """Compiles with each source's own flags, into libraries of plain names."""

    compiled: ClassVar[set[str]] = set()

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        compiler = shlex.split(os.environ.get("CXX", "c++"))
        objects = Path(self.build_temp)
        objects.mkdir(parents=True, exist_ok=True)
        made = []
        for source in map(Path, ext.sources):
            made.append(str(objects / f"{source.stem}.o"))
            if made[-1] not in self.compiled:
                self.spawn([*compiler, *FLAGS, *OF_SOURCE.get(source.name, []), "-c", str(source), "-o", made[-1]])
                self.compiled.add(made[-1])
        library = Path(self.get_ext_fullpath(ext.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        self.spawn([*compiler, *made, *LINK, *ext.extra_link_args, "-o", str(library)])


def has_compiler() -> bool:
    try:
        return (
            subprocess.run([*shlex.split(os.environ.get("CXX", "c++")), "--version"], capture_output=True).returncode
            == 0
        )
    except OSError:
        return False


libraries = [
    Extension("millwork.compile.kernel.libmillwork_kernel", SOURCES, extra_link_args=[ALL_DEFINED], optional=True),
    Extension(
        "millwork.compile.kernel.libtriton_millwork",
        [*SOURCES, *BACKEND_SOURCES],
        extra_link_args=[f"-Wl,--version-script={KERNEL / 'triton' / 'exports.map'}"],
        optional=True,
    ),
]
setup(ext_modules=libraries if has_compiler() else [], cmdclass={"build_ext": BuildKernel})
