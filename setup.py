"""Builds the forest kernel, and refuses a checkout whose links are text files; all else is in pyproject.toml.

src/millwork has four links to top-level folders. Where git can't make links (Windows, core.symlinks false) it writes
their targets into plain files, and setuptools would build a package without its four sub-packages, and not say so.

The kernel is a plain shared library without Python symbols, so that the same file is copied into artifacts and loaded
by any Python; Triton's backend of it is a second one. compile/kernel/build.py compiles them. Where there is no C++
compiler the package installs without them, and the ``native`` backend says so.
"""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

LINKED = ("compile", "passes", "validators", "artifacts")

for name in LINKED:
    if not Path(__file__).with_name("src").joinpath("millwork", name, "__init__.py").is_file():
        raise SystemExit(
            f"src/millwork/{name}: expected a link to ../../{name}, and it isn't one.\n"
            "Check out again where links can be made: git -c core.symlinks=true clone …"
        )

KERNEL = Path("src/millwork/compile/kernel")


def build_script() -> ModuleType:
    """compile/kernel/build.py, of a package that isn't there yet."""
    spec = importlib.util.spec_from_file_location("build_kernel", KERNEL / "build.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{KERNEL / 'build.py'} can't be read")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = build_script()


class BuildKernel(build_ext):
    """Makes libraries of plain names."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        library = Path(self.get_ext_fullpath(ext.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        make = build.triton_backend if library.name == build.TRITON_LIBRARY else build.kernel
        try:
            make(library, Path(self.build_temp))
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(str(error)) from error


def extension(library: str, folders: Sequence[str]) -> Extension:
    paths = sorted(str(path) for folder in folders for path in KERNEL.glob(f"{folder}/*.cpp"))
    return Extension(f"millwork.compile.kernel.{library.removesuffix('.so')}", paths, optional=True)


libraries = [
    extension(build.LIBRARY, build.LIBRARY_FOLDERS),
    extension(build.TRITON_LIBRARY, build.TRITON_FOLDERS),
]
setup(ext_modules=libraries if build.has_compiler() else [], cmdclass={"build_ext": BuildKernel})
