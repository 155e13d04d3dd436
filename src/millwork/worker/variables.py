"""Which environment variables a process gets that reads or serves somebody's model: none that holds a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAMES = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TZDIR", "TMPDIR", "XDG_CACHE_HOME",
    "LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "MILLWORK_CACHE", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION",
})  # fmt: skip
PREFIXES = (
    "LC_", "PYTHON", "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "NUMEXPR_", "NPY_", "NUMPY_",
    "DNNL_", "ONEDNN_", "ATEN_", "TORCH", "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "ORT_", "ONNXRUNTIME_",
    "XGBOOST_", "TREELITE_", "TVM_", "JOBLIB_", "MALLOC_", "ASAN_", "UBSAN_", "LSAN_",
)  # fmt: skip
"""What Python, the C library and the libraries of numbers read: paths, threads, which instructions, which GPUs."""

MORE = "MILLWORK_STEP_VARIABLES"
"""Names of further variables, separated by commas, that the user's own code or a third party's reads in a step."""
PINNING = frozenset({"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"})
"""libgomp then sets each thread's cores by the thread's number, which the sandbox refuses, and ends the process."""

_SECRET = re.compile(r"TOKEN(?!IZ)|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|^MILLWORK_\w+_HEADERS$", re.IGNORECASE)
"""In a name; TOKENIZERS_PARALLELISM is none."""
OF_STORES = ("AWS_", "AZURE_", "GOOGLE_", "TRITON_CLOUD_CREDENTIAL_")
"""Triton's own names for an object store's credentials, and for where the store is."""


def for_confined(variables: Mapping[str, str]) -> dict[str, str]:
    """What a step in the sandbox gets of ``variables``: what is known to be needed, and what the user names."""
    named = {name.strip() for name in variables.get(MORE, "").split(",")}
    return {
        name: value
        for name, value in variables.items()
        if name in named
        or ((name in NAMES or name.startswith(PREFIXES)) and name not in PINNING and not _SECRET.search(name))
    }


def for_server(variables: Mapping[str, str], *, store: bool) -> dict[str, str]:
    """What a Triton of ours gets of ``variables``: all but pip's, which may hold an index's password, and names of
    secrets. ``store``: its repository is an object store's, whose credentials it then needs."""
    return {
        name: value
        for name, value in variables.items()
        if (store if name.startswith(OF_STORES) else not (name.startswith("PIP_") or _SECRET.search(name)))
    }
