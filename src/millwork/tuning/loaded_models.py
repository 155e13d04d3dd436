"""Configurations side by side on a real server: each loaded under a temporary name, none in anybody's way.

The load API takes the files and the configuration with the call, so no repository is touched and no other model on the
server. All that are still being compared stay loaded, and cost no time between rounds; leaving the models unloads them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt
import psutil

from ..errors import PublicationError
from ..triton.client import Session
from ..triton.golden import check_golden
from ..triton.readiness import Good, forget
from ..validators.rows.given import Given
from . import processes
from .trials import TrialError

FULL, FULL_ELSEWHERE = 16, 4
"""So many models at once, on a server of ours and on another's; the one that was asked least recently goes."""
SCARCE = 0.15
"""The same where less than this share of the machine's memory is free."""


@dataclass(frozen=True, eq=False)
class Golden:
    """Rows and the framework's answers: a configuration that answers otherwise is none."""

    given: Given
    answers: npt.NDArray[Any]
    absolute: float
    relative: float


@dataclass(frozen=True, eq=False)
class Loadable:
    """A version's files as the load API takes them, and the configuration under a name, in JSON."""

    files: Mapping[str, bytes]
    config: Callable[[str], str]
    golden: Golden


class LoadedModels(AbstractContextManager["LoadedModels"]):
    """The models that are loaded now, by the trial's id. ``pid``: the server's, where it is ours, else 0."""

    def __init__(self, session: Session, name: str, pid: int) -> None:
        self.session = session
        self.pid = pid
        self._name = name
        self._loaded: dict[int, str] = {}
        self._refused: list[str] = []
        self._good: Good | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def ready(self, trial: int, model: Loadable) -> tuple[str, int | None]:
        """The name that the trial's model is served under, and the memory that loading it took, in bytes, if it was
        loaded now. TrialError where the server refuses it, or it answers otherwise than the framework did;
        PublicationError where the server is gone."""
        if trial in self._loaded:
            self._loaded[trial] = self._loaded.pop(trial)  # asked most recently
            return self._loaded[trial], None
        while self._loaded and self._full():
            self.drop(next(iter(self._loaded)))
        name = f"{self._name}-tuning-{os.getpid()}-{trial}"
        before = processes.memory(self.pid)
        self._loaded[trial] = name  # before it is: an interrupt while it loads must unload it too
        try:
            self.session.load(name, model.config(name), model.files)
        except PublicationError as error:
            self._loaded.pop(trial)
            self._refused.append(name)
            self.session.server_version()
            raise TrialError(error.message) from error
        self._good = (model.config, model.files)
        golden = model.golden
        given = golden.given
        verdict = check_golden(
            self.session, name, None, given.numbers, golden.answers, golden.absolute, golden.relative, given.categories
        )
        if not verdict.agreed:
            self.drop(trial)
            raise TrialError(f"its answers differ from the framework's: {verdict.reason}")
        return name, processes.added(before, processes.memory(self.pid), self.pid) if self.pid else None

    def _full(self) -> bool:
        memory = psutil.virtual_memory()
        scarce = memory.available < SCARCE * memory.total
        return len(self._loaded) >= (FULL if self.pid and not scarce else FULL_ELSEWHERE)

    def drop(self, trial: int) -> None:
        """Unload a trial's model."""
        if trial in self._loaded:
            self.session.unload(self._loaded[trial])
            del self._loaded[trial]

    def clear(self) -> None:
        """Leave the server as it was: nothing of ours loaded, and what failed to load forgotten. An interrupt
        meanwhile waits until that is done."""
        interrupted: KeyboardInterrupt | None = None
        while self._loaded or self._refused:
            try:
                if self._loaded:
                    self.drop(next(iter(self._loaded)))
                    continue
                if not self.pid:  # ours is stopped in a moment
                    forget(self.session, self._refused[-1], self._good)
                self._refused.pop()
            except KeyboardInterrupt as error:
                interrupted = error
            except PublicationError:  # the server is gone, and with it what was loaded
                if self._loaded:
                    del self._loaded[next(iter(self._loaded))]
                else:
                    self._refused.pop()
        if interrupted is not None:
            raise interrupted
