"""The books of a build: which studies are done, what became of them, what happened when."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drr.datasets.build.assemble import Kept, one_line
from drr.datasets.build.finished import Finished
from drr.datasets.build.part import Outcome, is_finished, open_part
from drr.datasets.build.plan import Plan
from drr.datasets.schema import DatasetError
from drr.datasets.sources.source_files import Digests, stamp
from drr.errors import printable

__all__ = ["ATTEMPTS", "BuildError", "Ledger", "Log", "Progress"]

ATTEMPTS = 4
"""Deaths of its worker after which a study is given up; the last ones while it runs alone."""


class BuildError(DatasetError):
    """A build that stopped; its parts are kept and the same command goes on."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a build is.

    Parameters
    ----------
    total, finished, failed
        Studies: in the plan, done (those that failed included), failed.
    before
        Number of finished studies that were there when the build started.
    seconds
        Since then.
    message
        Something to tell at once, or empty.
    """

    total: int
    finished: int
    failed: int
    before: int
    seconds: float
    message: str = ""

    @property
    def rate(self) -> float:
        """Studies a second in this run."""
        return (self.finished - self.before) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """At the rate so far; infinite before there is one."""
        return (self.total - self.finished) / self.rate if self.rate else float("inf")


class Ledger:
    """Which studies are done, what became of them, and who was killed how often.

    Parameters
    ----------
    plan, paths
        The studies, and where the part of each is or will be.
    finished
        What a file of an earlier run holds, or None.
    retry
        Whether studies that failed are tried again although nothing has changed.
    max_failures
        More than these stop the build; None for never.
    """

    def __init__(
        self,
        plan: Plan,
        paths: list[Path],
        finished: Finished | None,
        *,
        log: Log,
        report: Callable[[Progress], object],
        retry: bool,
        max_failures: int | None,
        start: float,
    ) -> None:
        self.plan, self.paths, self.finished, self.log = plan, paths, finished, log
        self.killed: dict[int, str] = {}
        self.deaths = [0] * len(paths)
        self.known: dict[int, Digests] = {}  # of rows that are right if their CT's content is
        self.made = 0
        self.left: deque[int] = deque()
        self._rows: dict[int, int] = {}  # of the finished file, as those below
        self._failures: dict[int, str] = {}
        self._stamps: dict[int, str] = {}
        self._report, self._max_failures, self._start = report, max_failures, start
        self._failed = self._done_here = 0
        self._before = 0
        for index in range(len(paths)):
            if not (self._keeps(index, retry) or self._has_part(index, retry)):
                self.left.append(index)
        self._before = len(paths) - len(self.left)
        log("start", studies=len(paths), before=self._before, plan=plan.digest)
        self.tell()
        self._stop_if_bad()

    @property
    def kept(self) -> Kept | None:
        """What is taken from the finished file."""
        if self.finished is None or not (self._rows or self._failures):
            return None
        return Kept(
            path=self.finished.path,
            rows=self._rows,
            failures=self._failures,
            stamps=self._stamps,
        )

    def is_as_before(self) -> bool:
        """Whether the finished file holds all this, in the same words."""
        before = self.finished
        if before is None or before.plan != self.plan.digest or not before.stamps:
            return False
        for index, study in enumerate(self.plan.cohort.studies):
            name = study.sample
            if index in self.killed:
                same = before.failures.get(name) == one_line(self.killed[index])
                if not same or before.stamps[name]:
                    return False
            elif self._stamps.get(index) != before.stamps.get(name):
                return False  # made in this run, or found to be the same
        return True

    def drop_damaged(self) -> bool:
        """See that rows that are taken over are as they were built; whether any has to be made."""
        if self.finished is None:
            return False
        rows = {row: index for index, row in self._rows.items()}
        damaged = sorted(rows[row] for row in self.finished.damaged(rows))
        for index in damaged:
            del self._rows[index], self._stamps[index]
            self.known.pop(index, None)
            self.left.append(index)
            name = self.plan.cohort.studies[index].sample
            self.tell(f"{name}: is damaged in {self.finished.path.name}; made again", index)
        return bool(damaged)

    def tell(self, message: str = "", index: int | None = None) -> None:
        """Report how far the build is, and log what there is to say."""
        if message:
            study = None if index is None else self.plan.cohort.studies[index]
            self.log("note", sample=study and study.sample, message=message)
            if study is not None and study.place is not None:
                # To the user, and to nobody else: the log may travel.
                shown = f"{study.sample} ({printable(study.place.path)})"
                message = message.replace(study.sample, shown, 1)
        self._report(
            Progress(
                total=len(self.paths),
                finished=min(self._before + self._done_here, len(self.paths)),
                failed=self._failed,
                before=self._before,
                seconds=time.monotonic() - self._start,
                message=message,
            )
        )

    def finish(self, index: int, outcome: Outcome) -> None:
        """A worker has brought a study to its end, good or bad."""
        self._done_here += 1
        sample = self.plan.cohort.studies[index].sample
        known: dict[str, Any] = {
            "sample": sample,
            "process": outcome.process,
            "processor_seconds": round(outcome.processor_seconds, 4),
            "seconds": {step: round(value, 4) for step, value in outcome.seconds.items()},
        }
        if outcome.same and self.finished is not None:
            self._rows[index] = self.finished.rows[sample]
            self._stamps[index] = outcome.stamp
            self.log("same", **known)
            self.tell()
            return
        self.made += 1
        if not outcome.reason:
            self.log("made", **known, bytes=outcome.size, memory=outcome.memory)
            self.tell(_changed(sample) if index in self.known else "", index)
            return
        self.log("failed", **known, reason=outcome.reason, trace=outcome.trace or None)
        if not outcome.lasting:
            self.killed[index] = outcome.reason
        self._failed += 1
        reason = outcome.reason.removeprefix(f"{sample}: ")
        self.tell(f"{sample}: {reason}", index)
        self._stop_if_bad()

    def death(self, index: int, deaths: int, how: str) -> bool:
        """Count deaths of workers that had this study; whether to try again."""
        self.deaths[index] += deaths
        sample = self.plan.cohort.studies[index].sample
        self.log("worker killed", sample=sample, times=self.deaths[index], how=how or None)
        if self.deaths[index] < ATTEMPTS:
            return True
        times = f"its worker was killed {self.deaths[index]} times"
        if how in ("", "SIGKILL"):
            reason = (
                f"{times}, as systems do that run out of memory; look at the CT, or build with "
                "fewer workers"
            )
        else:
            reason = f"{times} ({how}): the CT crashes what reads it; look at it, or leave it out"
        self.finish(index, Outcome(reason=reason, lasting=False, seconds={}))
        if len(self.killed) >= 3 and self._done_here == len(self.killed):
            raise BuildError(
                "workers are killed before they finish anything; is there enough memory? Try "
                "fewer workers"
            )
        return False

    def _keeps(self, index: int, retry: bool) -> bool:
        """Whether the finished file has this study as its files are now."""
        study, finished = self.plan.cohort.studies[index], self.finished
        if finished is None:
            return False
        name = study.sample
        if name not in finished.rows and name not in finished.failures:
            return False
        now = stamp(self.plan.keys[index], study, self.plan.cohort.root)
        if name in finished.rows:
            if finished.stamps.get(name) == now:
                self._rows[index], self._stamps[index] = finished.rows[name], now
                return True
            digests = finished.known(study, self.plan)
            if digests is not None:
                self.known[index] = digests
            return False
        if finished.stamps.get(name) == now and not retry:
            self._failures[index], self._stamps[index] = finished.failures[name], now
            self._failed += 1
            return True
        return False

    def _has_part(self, index: int, retry: bool) -> bool:
        """Whether there is a part of this study as its files are now."""
        path, study = self.paths[index], self.plan.cohort.studies[index]
        if not path.exists():
            return False
        if not is_finished(path, self.plan.keys[index], study, self.plan.cohort.root):
            self.tell(_changed(study.sample), index)
            return False
        with open_part(path) as part:
            failed = str(part.attrs["reason"]) != ""
        if failed and retry:
            return False
        self.known.pop(index, None)
        self._failed += failed
        return True

    def _stop_if_bad(self) -> None:
        if self._max_failures is not None and self._failed > self._max_failures:
            self.log("stop", failed=self._failed)
            raise BuildError(
                f"{self._failed} studies failed, more than the {self._max_failures} allowed; the "
                "log says why. What is finished is kept: the same command with a higher "
                "--max-failures goes on"
            )


def _changed(sample: str) -> str:
    return f"{sample}: its files have changed since; made again"


class Log:
    """One JSON object a line, with the time; lines of every run follow each other."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Log:
        # Never through a link, and never at the end of somebody else's file.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        flags |= getattr(os, "O_NONBLOCK", 0)
        try:
            handle = os.open(self._path, flags, 0o666)
            self._file = os.fdopen(handle, "a", encoding="utf-8")
            ours = stat.S_ISREG(os.fstat(handle).st_mode)
            head = os.pread(handle, 8, 0) if ours and hasattr(os, "pread") else b""
        except OSError as error:
            raise DatasetError(
                f"{self._path}: cannot be written ({error.strerror}); choose another output"
            ) from None
        if not ours or head not in (b"", b'{"time":'):
            self._file.close()
            raise DatasetError(
                f"{self._path}: is not the log of a build, which would be there; rename it or "
                "choose another output"
            )
        return self

    def __exit__(self, *_error: object) -> None:
        # A full disk must not hide what went wrong before.
        with contextlib.suppress(OSError):
            self._file.close()

    def __call__(self, event: str, **values: Any) -> None:
        """Write a line; what is None is left out."""
        known = {key: value for key, value in values.items() if value is not None}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(OSError):
            self._file.write(json.dumps({"time": stamp, "event": event, **known}) + "\n")
            self._file.flush()
