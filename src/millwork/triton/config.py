"""``config.pbtxt``: written by Triton's own protobuf message, read by it, and asked which version it serves.

What each Triton backend is told is in :mod:`.backend_rows`. Everything that a server would
otherwise fill in by itself is written out: an onnxruntime model with its inputs given would get two instances and
no batching, with its inputs left out the opposite.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from .. import __version__
from ..errors import ModelError, UsageError
from ..triton_releases import Release
from ..values import OutputContract, Value
from ..values.tensorrt_plan import PlanFacts
from . import backend_rows, config_settings
from .settings import Settings

ModelConfig: TypeAlias = Any
"""``tritonclient.grpc.model_config_pb2.ModelConfig``: it has no types, and importing it takes 0.4 s."""

INPUT, CATEGORIES, OUTPUT = "input__0", "input__1", "output__0"

HEADING = "#: "
"""How lines of a tuning's heading begin."""

STAMP = "#@ "
"""How the line of :func:`stamped` begins."""


class ConfigRequest(Value):
    """What decides a config.pbtxt.

    ``features`` F, ``categories`` C and the labels of ``output`` K give the shapes: ``input__0`` FP32 [F] (none where F
    is 0), ``input__1`` [C] (none where C is 0) of ``category_dtype`` (string or int64), ``output__0`` FP32 [K].
    ``settings`` is all that can be tuned. ``parameters`` are the candidate's own, as its runner takes them; ``plan``:
    of a TensorRT engine, what it is for.
    """

    name: str
    triton_backend: str
    release: Release
    model_file: str
    model_sha256: str
    features: int
    output: OutputContract
    settings: Settings = Settings()
    categories: int = 0
    category_dtype: str = ""
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    plan: PlanFacts | None = None


def render(request: ConfigRequest, version: int = 1) -> str:
    """The text of config.pbtxt, serving ``version`` only. :class:`UsageError` for a count below one, and for a Triton
    backend that isn't in the table."""
    settings, backend = request.settings, backend_rows.find(request.triton_backend)
    counts = {
        "features": request.features + request.categories,
        "max_batch": settings.max_batch,
        "instances": settings.instances,
        "threads": settings.threads,
    }
    for field, count in counts.items():
        if count < 1:
            raise UsageError(f"{request.name}: {field} is {count}; expected a whole number of 1 or more")
    pb2 = _pb2()
    config = pb2.ModelConfig(
        name=request.name,
        backend=request.triton_backend,
        input=_inputs(request),
        output=[pb2.ModelOutput(name=OUTPUT, data_type=pb2.TYPE_FP32, dims=[len(request.output.labels)])],
    )
    config_settings.put(config, request.triton_backend, settings)
    if request.plan is not None:
        _put_plan(config, request, request.plan)
    if backend_rows.takes_gpu_rows(request):
        for group in config.instance_group:
            group.kind = group.KIND_GPU
    _serve_only(config, version)
    if request.triton_backend != "python" and request.model_file != backend.default_file:
        config.default_model_filename = request.model_file
    for key, value in backend.parameters(request).items():
        config.parameters[key].string_value = value
    header = (
        f"# Written by millwork {__version__} for Triton {request.release.name}.\n"
        f"# Model sha256: {request.model_sha256}\n"
    )
    return header + _text(config)


def _put_plan(config: ModelConfig, request: ConfigRequest, plan: PlanFacts) -> None:
    """An engine's own part: no batch beyond its profiles, all of them for each instance, and which batch sizes may be
    recorded as CUDA graphs (``optimization.cuda.graphs``, a setting, says whether they are)."""
    config.max_batch_size = min(config.max_batch_size, max(largest for *_, largest in plan.profiles))
    for group in config.instance_group:
        group.profile.extend(str(index) for index in range(len(plan.profiles)))
    for size in (int(size) for size in request.parameters.get("graphs", "").split(",") if size):
        graph = config.optimization.cuda.graph_spec.add(batch_size=size)
        graph.input[INPUT].dim.append(request.features)


def _inputs(request: ConfigRequest) -> list[Any]:
    pb2 = _pb2()
    found = []
    if request.features:
        found.append(pb2.ModelInput(name=INPUT, data_type=pb2.TYPE_FP32, dims=[request.features]))
    if request.categories:
        kind = pb2.TYPE_INT64 if request.category_dtype == "int64" else pb2.TYPE_STRING
        found.append(pb2.ModelInput(name=CATEGORIES, data_type=kind, dims=[request.categories]))
    return found


def parse(text: str) -> ModelConfig:
    """The message in ``text``; :class:`ModelError` where it isn't one, unknown fields included."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, _pb2().ModelConfig())
    except (text_format.ParseError, RecursionError) as error:
        raise ModelError(f"not a Triton model configuration: {error}") from error


def as_json(text: str, *, name: str) -> str:
    """``text`` for Triton's load API, which takes JSON: under another ``name``, serving version 1."""
    from google.protobuf import json_format

    config = parse(text)
    config.name = name
    _serve_only(config, 1)
    return str(json_format.MessageToJson(config, preserving_proto_field_name=True))


def with_version(text: str, version: int) -> str:
    """``text`` with ``version`` as the only one it serves. Comments stay where we wrote the text; in another's, the
    leading ones do."""
    config = parse(text)
    _serve_only(config, version)
    ours = re.sub(r"(?m)^(    versions: )\d+$", rf"\g<1>{version}", text, count=1)
    return ours if parse(ours) == config else _comments(text) + _text(config)


def with_settings(text: str, settings: Settings, reasons: Mapping[str, str] | None = None, heading: str = "") -> str:
    """``text`` with ``settings`` instead of its own. ``reasons``: a comment for each setting, by its path; ``heading``:
    lines to come below the leading comment (earlier headings of this kind go)."""
    config = parse(text)
    config_settings.put(config, config.backend, settings)
    kept = "".join(line for line in _comments(text).splitlines(keepends=True) if not line.startswith(HEADING))
    added = "".join(f"{HEADING}{line}\n" for line in heading.splitlines())
    return kept + added + config_settings.annotate(_text(config), reasons or {})


def with_backend(text: str, was: ConfigRequest, will: ConfigRequest) -> str:
    """``text``, written for the Triton backend of ``was``, for that of ``will``: its settings and all else that isn't
    the backend's own stay, in its own words."""
    config = parse(text)
    settings = config_settings.read(config)
    before, after = backend_rows.find(was.triton_backend), backend_rows.find(will.triton_backend)
    for name in (*before.parameters(was), before.threads):
        config.parameters.pop(name, None)
    config.backend = will.triton_backend
    config.ClearField("default_model_filename")
    if will.triton_backend != "python" and will.model_file != after.default_file:
        config.default_model_filename = will.model_file
    for key, value in after.parameters(will).items():
        config.parameters[key].string_value = value
    config_settings.put(config, will.triton_backend, settings)
    return _comments(text) + _text(config)


def settings_of(text: str) -> Settings:
    """The settings that ``text`` says."""
    return config_settings.read(parse(text))


def pinned(text: str, versions: Iterable[int]) -> str:
    """``text`` with the ``versions`` it serves now written out, so that a newer folder changes nothing.

    For a configuration that someone else wrote: one that has ``specific`` versions already is returned as it is,
    one without a policy gets it appended, comments and fields of other releases untouched. Only one that says
    ``latest`` or ``all`` is written anew (:class:`ModelError` where it has fields that we don't know).
    """
    policy = tolerant(text).version_policy.WhichOneof("policy_choice")
    if policy == "specific":
        return text
    if policy is None:
        listed = ", ".join(str(version) for version in sorted(versions))
        return f"{text.rstrip()}\nversion_policy {{ specific {{ versions: [ {listed} ] }} }}\n"
    config = parse(text)
    _serve_only(config, *sorted(versions))
    return _comments(text) + _text(config)


def stamped(text: str, stamp: str) -> str:
    """``text`` with a first line that tells this writing of it from all others; an earlier one goes."""
    return f"{STAMP}{stamp}\n{unstamped(text)}"


def unstamped(text: str) -> str:
    """``text`` without the line of :func:`stamped`."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(STAMP))


def served(text: str, existing: Iterable[int]) -> tuple[int, ...]:
    """The versions, of the ``existing`` ones, that Triton serves by this text's version policy, ascending.

    Without a policy it is the latest one. Fields that we don't know are passed over; :class:`ModelError` for
    text that no Triton could read.
    """
    policy = tolerant(text).version_policy
    there = sorted(existing)
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        return tuple(version for version in there if version in set(policy.specific.versions))
    if choice == "all":
        return tuple(there)
    count = max(1, policy.latest.num_versions) if choice == "latest" else 1
    return tuple(there[-count:])


def fingerprint(text: str, without: Iterable[str] = ()) -> str:
    """One sha256 for all texts that mean the same configuration, whichever version they serve. ``without``: parameters
    that don't count."""
    config = parse(text)
    config.ClearField("version_policy")
    for name in without:
        config.parameters.pop(name, None)
    return hashlib.sha256(config.SerializeToString(deterministic=True)).hexdigest()


def differing(text: str, other: str) -> list[str]:
    """The fields of the configuration in which two texts differ, whichever version they serve; parameters by name."""
    one, two = parse(text), parse(other)
    for config in (one, two):
        config.ClearField("version_policy")
    named = {key for key in (*one.parameters, *two.parameters) if one.parameters[key] != two.parameters[key]}
    fields = {field.name for field in (*one.DESCRIPTOR.fields,) if getattr(one, field.name) != getattr(two, field.name)}
    return sorted((fields - {"parameters"}) | {f"parameters[{key[:60]}]" for key in named})


# ── the message ───────────────────────────────────────────────────────────────────────────────────────────


def _pb2() -> Any:
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2


def _text(config: ModelConfig) -> str:
    """In the order of Triton's .proto file, name and backend first; parameters by key."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config, use_index_order=True, as_utf8=True))


def tolerant(text: str) -> ModelConfig:
    """:func:`parse`, but fields that we don't know are passed over: another release may have them."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, _pb2().ModelConfig(), allow_unknown_field=True)
    except (text_format.ParseError, RecursionError) as error:
        raise ModelError(f"not a Triton model configuration: {error}") from error


def _serve_only(config: ModelConfig, *versions: int) -> None:
    config.version_policy.specific.SetInParent()  # of no versions, too: without a policy it would be the latest
    config.version_policy.specific.versions[:] = versions


def _comments(text: str) -> str:
    """The comment lines that ``text`` starts with."""
    found = re.match(r"(?:[ \t]*#[^\n]*\n)*", text)
    return found.group() if found else ""
