"""Sign a version's folder with a key of one's own, and check such a signature: OpenSSF model-signing, offline.

The signature is a Sigstore bundle, ``model.sig`` in the folder. It covers the manifest and every other file there, the
version's own config.pbtxt too, and is made before the version is committed: no version is ever seen without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ..errors import TargetError, UsageError
from ..storage.files import refusal
from ..storage.opening import read_limited
from .manifest import SIGNATURE_FILE

LONGEST_KEY = 1 << 20
LONGEST = 16 << 20
"""Bytes of a signature that are read."""
UNKNOWN = "unknown"
PASSWORD_VARIABLE = "MILLWORK_KEY_PASSWORD"  # noqa: S105 -- a variable's name


def signer(key: Path) -> Callable[[Path], None]:
    """What signs a version's folder by the private ``key``: PEM, elliptic curve (P-256, P-384, P-521).

    :class:`UsageError` for a file that is no such key, :class:`TargetError` where model-signing isn't installed.
    """
    signing, hashing = _library()
    _require_file(key)
    password = os.environ.get(PASSWORD_VARIABLE)
    try:
        config = signing.signing.Config().use_elliptic_key_signer(
            private_key=key, password=None if password is None else password.encode()
        )
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise UsageError(
            f"--sign {key}: not a private key that can sign: {str(error).splitlines()[0]}",
            "openssl ecparam -name prime256v1 -genkey -noout -out key.pem makes one. "
            f"For an encrypted key, set {PASSWORD_VARIABLE}.",
        ) from error
    config.set_hashing_config(_hashed(hashing))

    def sign(folder: Path) -> None:
        config.sign(folder, folder / SIGNATURE_FILE)

    return sign


def signed_by(folder: Path) -> str:
    """Whose key signed the version's folder: the sha256 of the public key (PEM), by what the signature says; "unknown"
    where it doesn't say, empty where there is none."""
    signature = folder / SIGNATURE_FILE
    try:
        content = read_limited(signature, LONGEST)
    except FileNotFoundError:
        return ""
    try:
        hint = msgspec.json.decode(content)["verificationMaterial"]["publicKey"]["hint"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return UNKNOWN
    return hint if isinstance(hint, str) and hint else UNKNOWN


def problems(folder: Path, key: Path) -> list[str]:
    """Why the folder isn't as the owner of the public ``key`` signed it, one sentence each; nothing where it is.

    :class:`UsageError` for a file that is no public key, :class:`TargetError` where model-signing isn't installed.
    """
    signing, hashing = _library()
    _require_file(key)
    try:
        config = signing.verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise UsageError(
            f"--key {key}: not a public key: {str(error).splitlines()[0]}",
            "openssl ec -in key.pem -pubout -out pub.pem makes it from the private key.",
        ) from error
    signature = folder / SIGNATURE_FILE
    if not signature.is_file():
        return [f"{SIGNATURE_FILE} is missing: the version isn't signed"]
    config.set_hashing_config(_hashed(hashing))
    try:
        config.verify(folder, signature)
    except Exception as error:  # noqa: BLE001 -- whatever a damaged signature makes the library raise
        return [_reason(error, key)]
    return []


def _reason(error: Exception, key: Path) -> str:
    text = str(error).strip()
    if text.startswith("Key mismatch"):
        return f"{SIGNATURE_FILE} was made with another key than {key}"
    if text.startswith("Signature mismatch"):
        return f"the files have changed since they were signed: {text.partition(': ')[2]}"
    return f"{SIGNATURE_FILE} isn't a signature by {key}: {type(error).__name__}{f': {text[:200]}' if text else ''}"


def _hashed(hashing: Any) -> Any:
    """Every file but the signature; git's too, which the library would leave out."""
    return hashing.Config().use_file_serialization().set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)


def _library() -> tuple[Any, Any]:
    try:
        import model_signing
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise TargetError(
            f"signatures need model-signing, which isn't installed ({error})", "pip install 'millwork[signing]'"
        ) from error
    return model_signing, model_signing.hashing


def _require_file(key: Path) -> None:
    try:
        read_limited(key, LONGEST_KEY)
    except OSError as error:
        raise UsageError(refusal(error, key), "Give a key in a PEM file.") from error
