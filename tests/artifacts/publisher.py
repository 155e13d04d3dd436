"""Publishers that are killed, or many at once, in processes of their own.

    publisher.py killed BUNDLE TEMPLATE OUT MODE     one publisher a step, killed before it; OUT/0, OUT/1, …
    publisher.py together REPOSITORY BUNDLE…         one publisher a bundle, all at the same moment

Forked from one process, so that none of them pays for the imports.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from millwork.artifacts.bundle import Bundle
from millwork.artifacts.repository import layout, publish, rollback
from millwork.storage import wire
from millwork.triton.config import parse


def killed(bundle: Bundle, template: Path, out: Path, mode: str) -> None:
    """Copy ``template`` to ``out``/i, publish into its folder ``models``, and die before step i; for every i."""
    for index in range(1000):
        work = out / f"{index}.making"
        shutil.copytree(template, work)
        work = work.rename(out / str(index))
        status = in_child(lambda index=index, work=work: run(bundle, work / "models", mode, dies_at(index)))
        if not os.WIFSIGNALED(status):
            (out / "last").write_text(str(index))
            return
    raise AssertionError("a publication of a thousand steps")


def run(bundle: Bundle, repository: Path, mode: str, step: Callable[[str], None]) -> None:
    """``mode``: publish; refused (the verification raises, so the steps are undone); rollback."""

    def refuse(version: int) -> None:
        raise RuntimeError(f"version {version} answers wrong")

    if mode == "rollback":
        rollback(repository, bundle.name, verify=lambda _: None, step=step)
        return
    try:
        publish(bundle, repository, verify=refuse if mode == "refused" else lambda _: None, step=step)
    except Exception:
        if mode != "refused":
            raise


def dies_at(index: int) -> Callable[[str], None]:
    """A step callback that kills its process before step ``index``."""
    left = index

    def step(_: str) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    return step


def together(repository: Path, bundles: list[Bundle]) -> None:
    """Publish all bundles at once; fails if any publisher did."""
    children = [fork(lambda bundle=bundle: publish(bundle, repository) and None) for bundle in bundles]
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0] * len(bundles), statuses


def in_child(work: Callable[[], None]) -> int:
    """The wait status of a forked child that did ``work``."""
    return os.waitpid(fork(work), 0)[1]


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 -- the end of a forked child, which mustn't run its parent's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def main(command: str, *arguments: str) -> None:
    parse("")  # imports what it needs once, before the forks
    if os.environ.get("WITHIN_A_MOUNT"):
        layout._only_inside = lambda *_: True
    if command == "killed":
        bundle, template, out, mode = arguments
        killed(wire.decode(Path(bundle).read_bytes(), Bundle), Path(template), Path(out), mode)
    else:
        repository, *bundles = arguments
        together(Path(repository), [wire.decode(Path(path).read_bytes(), Bundle) for path in bundles])


if __name__ == "__main__":
    main(*sys.argv[1:])
