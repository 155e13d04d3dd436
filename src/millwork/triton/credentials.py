"""How a server that runs already is met: certificates, and headers that may hold a secret."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from ..errors import UsageError
from ..storage.files import refusal
from ..storage.opening import read_limited
from ..values import Value

LONGEST_PEM = 1 << 20


class Credentials(Value):
    """How a server that runs already is met. ``ca``, ``cert``, ``key``: paths of PEM files, empty for none;
    ``headers``: names and values that go with each request. They are secrets: never printed, kept, or part of a cache
    key."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Credentials(ca={self.ca!r}, cert={self.cert!r}, headers={[name for name, _ in self.headers]})"


NONE = Credentials()


def credentials(kind: str, ca: str | None, cert: str | None, key: str | None, headers: tuple[str, ...]) -> Credentials:
    """The values of ``--KIND-ca``, ``--KIND-cert``, ``--KIND-key`` and ``--KIND-header``, checked. UsageError names the
    option that is wrong, and no secret."""
    if headers and all(len(one) == 1 for one in headers):  # Python's: a text where several were expected
        headers = ("".join(headers),)
    if bool(cert) != bool(key):
        given, lacking = ("cert", "key") if cert else ("key", "cert")
        raise UsageError(
            f"--{kind}-{given} without --{kind}-{lacking}", "A client's certificate and its private key go together."
        )
    found = {"ca": _pem(kind, "ca", ca), "cert": _pem(kind, "cert", cert), "key": _pem(kind, "key", key)}
    return Credentials(**found, headers=tuple(_header(f"--{kind}-header", text) for text in headers))


def refuse_user(option: str, url: str, kind: str, variable: str) -> None:
    """UsageError where ``option``'s URL holds a user or a password; before any message that shows the address."""
    scheme, _, rest = url.partition("://")
    if "@" in rest.partition("/")[0]:
        raise UsageError(
            f"{option} {scheme}://…: an address holds no user and no password",
            f"Give them as a header: --{kind}-header, or {variable} in the environment.",
        )


def authorities(given: Credentials) -> bytes | None:
    """The certificates of those who may vouch for a server, PEM: the user's, else this machine's. None: the gRPC
    library's own list."""
    paths = ssl.get_default_verify_paths()
    for path in filter(None, (given.ca, paths.cafile, paths.openssl_cafile)):
        try:
            return read_limited(Path(path), LONGEST_PEM)
        except OSError as error:
            if path == given.ca:
                raise UsageError(refusal(error, Path(path))) from error
    return None


def _pem(kind: str, what: str, given: str | None) -> str:
    """The path of a PEM file, absolute; empty where none was given."""
    if not given:
        return ""
    path = Path(os.path.expanduser(given)).absolute()  # noqa: PTH111 (pathlib's raises for a user who isn't there)
    try:
        content = read_limited(path, LONGEST_PEM)
    except OSError as error:
        raise UsageError(f"--{kind}-{what} {given}: {refusal(error, path)}") from error
    wanted = b"PRIVATE KEY-----" if what == "key" else b"-----BEGIN CERTIFICATE-----"
    if wanted not in content:
        raise UsageError(
            f"--{kind}-{what} {given}: this is no {'private key' if what == 'key' else 'certificate'} in PEM",
            "A PEM file has lines such as -----BEGIN CERTIFICATE-----.",
        )
    return str(path)


def with_variable(given: Credentials, variable: str) -> Credentials:
    """The same, with the headers of an environment variable, one a line; an option's come first."""
    said = {name for name, _ in given.headers}
    lines = (line for line in os.environ.get(variable, "").splitlines() if line.strip())
    more = [header for header in (_header(variable, line) for line in lines) if header[0] not in said]
    return Credentials(ca=given.ca, cert=given.cert, key=given.key, headers=(*given.headers, *more))


def _header(where: str, text: str) -> tuple[str, str]:
    """``NAME: VALUE`` as both; gRPC takes names in small letters only. UsageError without the value."""
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    right = name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    if not colon or not right or not value or not value.isprintable() or not value.isascii():
        raise UsageError(
            f"{where}: expected NAME: VALUE, in ASCII, on one line", "Such as 'authorization: Bearer TOKEN'."
        )
    return name, value
