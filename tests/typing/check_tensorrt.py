"""``make typecheck-tensorrt``: hold what we ask of TensorRT against the real bindings of 11 and 10, by mypy.

    python tests/typing/check_tensorrt.py FOLDER

The bindings are real wheels of 1.3 MB; the libraries that they are linked to (libnvinfer and two more) are large and
aren't needed: stand-ins with the nine functions that the bindings name let them be imported, and pybind11-stubgen
writes down their types. Nothing of it is kept but in FOLDER, which is made.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "tensorrt_cu13_bindings"
VERSIONS = ("11.4.0.106", "10.16.1.11")
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip
FITS = """\
import tensorrt
from millwork.compile.backends.tensorrt.protocol import Builder, Config, Module, Network, Parser, Profile

api: Module = tensorrt


def parts(
    builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, network: tensorrt.INetworkDefinition,
    parser: tensorrt.OnnxParser, profile: tensorrt.IOptimizationProfile,
) -> tuple[Builder, Config, Network, Parser, Profile]:
    return builder, config, network, parser, profile
"""


def main(folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    return max(check(folder / version, version) for version in VERSIONS)


def check(folder: Path, version: str) -> int:
    """mypy's exit status for one version of the bindings."""
    bindings, stubs, libraries = folder / "bindings", folder / "stubs", folder / "lib"
    for made in (bindings, stubs / "tensorrt", libraries):
        made.mkdir(parents=True)
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder, f"{PACKAGE}=={version}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(bindings)
    source = folder / "stand_in.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    major = version.split(".", maxsplit=1)[0]
    for name in LIBRARIES:
        soname = f"lib{name}.so.{major}"
        run("cc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", libraries / soname, source)
    seen = {"PYTHONPATH": str(bindings), "LD_LIBRARY_PATH": str(libraries)}
    stubgen = [sys.executable, "-m", "pybind11_stubgen", "--ignore-all-errors", "-o", stubs, "tensorrt_bindings"]
    run(*stubgen, **seen)
    for stub in (stubs / "tensorrt_bindings").glob("*.pyi"):
        mend(stub)
    # The package tensorrt is the bindings under another name.
    names = "from tensorrt_bindings import *\nfrom tensorrt_bindings.tensorrt import *\n"
    (stubs / "tensorrt" / "__init__.pyi").write_text(f"{names}__version__: str\n")
    fits = folder / "fits.py"
    fits.write_text(FITS)
    runner = ROOT / "compile" / "runners" / "tensorrt_runner.py"
    options = ["--strict", "--allow-untyped-calls", "--follow-imports=silent", "--config-file", ROOT / "pyproject.toml"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--cache-dir", folder / "cache", fits, runner],
        env={**os.environ, "MYPYPATH": f"{stubs}:{ROOT / 'src'}"},
        cwd=folder,
    )
    sys.stderr.write(f"TensorRT {version}: {'agrees' if done.returncode == 0 else 'DISAGREES'}\n")
    return done.returncode


def mend(stub: Path) -> None:
    """Two things that C++ may write and Python may not: a parameter called ``in``, and one without a default after
    ones that have it. And ``bool``, a data type of TensorRT's, hides Python's own. What else is wrong in the stub by
    mypy's rules is the generator's."""
    text = re.sub(r"(?m)^(\s+def .*?)\bin: ", r"\1in_: ", stub.read_text())
    text = text.replace("channel_axis: typing.SupportsInt)", "channel_axis: typing.SupportsInt = ...)")
    text = re.sub(r"(?m)^bool: DataType.*$", "", text)
    stub.write_text(f"# mypy: ignore-errors\n{text}")


def run(*command: str | Path, **variables: str) -> None:
    subprocess.run([str(word) for word in command], check=True, env={**os.environ, **variables})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
