"""Carry out a plan: every study by a worker, every part on disk, then one file.

Nothing that is finished is ever lost or done twice: parts lie beside the output until it is whole,
and the same call goes on where the last one ended, however that was.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drr.datasets.assemble import assemble, plan_of
from drr.datasets.part import Outcome, is_finished, make_part, open_part
from drr.datasets.plan import Plan
from drr.datasets.pools import LOST, DaskPool, LocalPool, Pool, available_workers
from drr.datasets.pseudonyms import Key, hides_names, key_beside, open_key, pseudonymised
from drr.datasets.schema import DatasetError
from drr.errors import printable
from drr.io.atomic import refuse_existing

__all__ = ["BuildError", "Progress", "Result", "build", "parts_folder", "rehearse"]

ATTEMPTS = 4
"""Deaths of its worker after which a study is given up; the last ones while it runs alone."""

_TOGETHER = 2  # deaths for which the memory that other studies take may be to blame


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
        Of the finished, those that were there when the build started.
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


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a build came to.

    Parameters
    ----------
    path, digest
        The file and the digest of its content.
    samples, failures
        How many.
    made
        Parts that this run made.
    seconds
        Of this run.
    """

    path: Path
    digest: str
    samples: int
    failures: int
    made: int
    seconds: float


def build(
    plan: Plan,
    out: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    max_failures: int | None = None,
    retry: bool = False,
    keep_parts: bool = False,
    force: bool = False,
    key: str | Path | None = None,
    report: Callable[[Progress], object] = lambda _: None,
) -> Result:
    """Build a data set's file, or finish one that was begun.

    Parts are in `OUT.parts`, which goes when the file is there; what happened when is in
    `OUT.log`, one JSON object a line. Call it from under `if __name__ == "__main__":`, since
    workers import the caller's module.

    Parameters
    ----------
    plan
        What to build.
    out
        The HDF5 file.
    workers
        Processes; by default as many as processors and memory allow.
    scheduler
        Of a Dask cluster, which then does the work instead.
    max_failures
        Stop when more studies than this have failed; None for never.
    retry
        Try again the studies that failed in an earlier run.
    keep_parts
        Leave the parts, for a plan with more studies.
    force
        Replace a file of another plan.
    key
        File with the key of pseudonyms, for a cohort that hides names and for what is unlinkable;
        `OUT.key.csv` by default. It is made where it is not there (`drr.datasets.pseudonyms`).
    report
        Is told of every step.

    Raises
    ------
    BuildError
        For too many failures, and when workers die before they finish anything.
    DatasetError, WriteError
        For an output that cannot be, another build of it that is running, a full disk.
    """
    out = Path(out)
    start = time.monotonic()
    if workers is not None and workers < 1:
        raise DatasetError(f"workers must be 1 or more, got {workers}")
    if not plan.cohort.studies:
        raise DatasetError("the source has no CT that can be used; see its problems")
    _check_free(out, plan)
    secret = _secret(plan, out, key, force=force)
    if secret is not None:
        plan = replace(plan, cohort=pseudonymised(plan.cohort, secret))
    refuse_existing([out], force=force or plan_of(out) == plan.digest)
    parts = parts_folder(out)
    with _locked(parts), _Log(_log_file(out)) as log:
        if secret is not None:
            secret.save()
        if plan_of(out) == plan.digest and not retry:
            result = _finished(out, plan)
        else:
            paths = part_paths(plan, parts)
            ledger = _Ledger(plan, paths, log, report, max_failures, start, retry)
            made = 0
            if ledger.left:
                made = _make_parts(plan, ledger, workers, scheduler)
            log("assemble", studies=len(plan.cohort))
            salt = secret.salt if secret is not None and plan.configuration.unlinkable else None
            digest, samples = assemble(plan, paths, out, killed=ledger.killed, salt=salt)
            result = Result(
                path=out,
                digest=digest,
                samples=samples,
                failures=len(plan.cohort) - samples,
                made=made,
                seconds=time.monotonic() - start,
            )
            log("finish", digest=digest, samples=samples, failures=result.failures)
    if not keep_parts:
        shutil.rmtree(parts, ignore_errors=True)
    return result


def rehearse(plan: Plan, *, tries: int = 3, threads: int = 1) -> dict[str, Any]:
    """What a build would come to, measured on the plan's first CT that works.

    Returns
    -------
    `seconds` of one CT on one worker by step, `bytes` of its part and of the whole file,
    `memory` in bytes that the process has held, and the `failures` on the way, as text.
    """
    import tempfile

    failures: list[str] = []
    for study in plan.cohort.studies[:tries]:
        with tempfile.TemporaryDirectory() as folder:
            arguments = (study, str(plan.cohort.root), plan.configuration)
            outcome = make_part(*arguments, f"{folder}/part.h5", "", threads)
            if not outcome.reason:
                # The first compiles, or loads what was compiled: the second is as all others.
                outcome = make_part(*arguments, f"{folder}/part.h5", "", threads)
                return {
                    "seconds": dict(outcome.seconds),
                    "bytes": outcome.size,
                    "total_bytes": outcome.size * len(plan.cohort),
                    "memory": outcome.memory,
                    "failures": failures,
                }
            failures.append(f"{study.sample}: {outcome.reason}")
    return {"seconds": {}, "bytes": 0, "total_bytes": 0, "memory": 0, "failures": failures}


def parts_folder(out: Path) -> Path:
    """Where the parts of an output lie until it is whole."""
    return out.with_name(f"{out.name}.parts")


def part_paths(plan: Plan, parts: Path) -> list[Path]:
    """Of each study's part; in 256 folders, since some file systems are slow with many files."""
    return [parts / key[:2] / f"{key}.h5" for key in plan.keys]


def _secret(plan: Plan, out: Path, key: str | Path | None, *, force: bool) -> Key | None:
    """The key of what is not to be told, or None where there is nothing to hide."""
    if not (hides_names(plan.cohort) or plan.configuration.unlinkable):
        return None
    secret = open_key(key_beside(out) if key is None else key)
    begun = plan_of(out) is not None or any(parts_folder(out).glob("*/*.h5"))
    if secret.is_new and begun and not force:
        raise DatasetError(
            f"{secret.path}: is missing, so that pseudonyms would be others than those of "
            f"{out.name}; put it back, or give it with --key; --force builds anew with others"
        )
    return secret


def _log_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.log")


def _check_free(out: Path, plan: Plan) -> None:
    """The output must not lie where the source's files would be replaced."""
    for study in plan.cohort.studies:
        source = study.file(plan.cohort.root)
        same = out.name == source.name and out.exists() and source.exists()
        if same and os.path.samefile(out, source):
            raise DatasetError(f"{out}: is a CT of the source; choose another output")


def _finished(out: Path, plan: Plan) -> Result:
    """The result of an earlier run, which may have been killed before it removed the parts."""
    with open_part(out) as file:
        samples = len(file["samples/name"])
        digest = str(file.attrs["content_sha256"])
    failures = len(plan.cohort) - samples
    return Result(path=out, digest=digest, samples=samples, failures=failures, made=0, seconds=0.0)


class _Ledger:
    """Which studies are done, what became of them, and who was killed how often."""

    def __init__(
        self,
        plan: Plan,
        paths: list[Path],
        log: _Log,
        report: Callable[[Progress], object],
        max_failures: int | None,
        start: float,
        retry: bool,
    ) -> None:
        self.plan, self.paths, self.log = plan, paths, log
        self.killed: dict[int, str] = {}
        self.deaths = [0] * len(paths)
        self.done_here = 0
        self._report, self._max_failures, self._start = report, max_failures, start
        self._failed = 0
        self.left: deque[int] = deque()
        for index, (path, study) in enumerate(zip(paths, plan.cohort.studies, strict=True)):
            if not path.exists():
                self.left.append(index)
                continue
            same = is_finished(path, plan.keys[index], study, plan.cohort.root)
            failed = same and _reason(path) != ""
            if not same or (failed and retry):
                self.left.append(index)
                if not same:
                    self.tell(f"{study.sample}: its CT has changed since; made again", index)
            else:
                self._failed += failed
        self.before = len(paths) - len(self.left)
        log("start", studies=len(paths), before=self.before, plan=plan.digest)
        self.tell()
        self._stop_if_bad()

    def tell(self, message: str = "", index: int | None = None) -> None:
        if message:
            study = None if index is None else self.plan.cohort.studies[index]
            self.log("note", sample=study and study.sample, message=message)
            if study is not None and study.place is not None:
                # To the user, and to nobody else: the log may travel.
                shown = f"{study.sample} ({printable(study.place.path)})"
                message = message.replace(study.sample, shown, 1)
        before = getattr(self, "before", 0)
        self._report(
            Progress(
                total=len(self.paths),
                finished=before + self.done_here,
                failed=self._failed,
                before=before,
                seconds=time.monotonic() - self._start,
                message=message,
            )
        )

    def finish(self, index: int, outcome: Outcome) -> None:
        """A worker has brought a study to its end, good or bad."""
        self.done_here += 1
        sample = self.plan.cohort.studies[index].sample
        known: dict[str, Any] = {
            "sample": sample,
            "process": outcome.process,
            "processor_seconds": round(outcome.processor_seconds, 4),
            "seconds": {step: round(value, 4) for step, value in outcome.seconds.items()},
        }
        if not outcome.reason:
            self.log("made", **known, bytes=outcome.size, memory=outcome.memory)
            self.tell()
            return
        self.log("failed", **known, reason=outcome.reason, trace=outcome.trace or None)
        if not outcome.lasting:
            self.killed[index] = outcome.reason
        self._failed += 1
        reason = outcome.reason.removeprefix(f"{sample}: ")
        self.tell(f"{sample}: {reason}", index)
        self._stop_if_bad()

    def death(self, index: int, deaths: int) -> bool:
        """Count deaths of workers that had this study; whether to try again."""
        self.deaths[index] += deaths
        sample = self.plan.cohort.studies[index].sample
        self.log("worker killed", sample=sample, times=self.deaths[index])
        if self.deaths[index] < ATTEMPTS:
            return True
        reason = (
            f"its worker was killed {self.deaths[index]} times, as systems do that run out of "
            "memory; look at the CT, or build with fewer workers"
        )
        self.finish(index, Outcome(reason=reason, lasting=False, seconds={}))
        if len(self.killed) >= 3 and self.done_here == len(self.killed):
            raise BuildError(
                "workers are killed before they finish anything; is there enough memory? Try "
                "fewer workers"
            )
        return False

    def _stop_if_bad(self) -> None:
        if self._max_failures is not None and self._failed > self._max_failures:
            self.log("stop", failed=self._failed)
            raise BuildError(
                f"{self._failed} studies failed, more than the {self._max_failures} allowed; the "
                "log says why. What is finished is kept: the same command with a higher "
                "--max-failures goes on"
            )


def _make_parts(plan: Plan, ledger: _Ledger, workers: int | None, scheduler: str | None) -> int:
    pool: Pool
    if scheduler is not None:
        pool = DaskPool(scheduler)
    else:
        gpus = _gpus() if plan.configuration.backend == "cuda" else ()
        count = workers or (len(gpus) or available_workers())
        pool = LocalPool(min(count, len(ledger.left)), gpus=gpus)
    for path in ledger.paths:
        path.parent.mkdir(exist_ok=True)
    try:
        _drive(plan, ledger, pool)
    except KeyboardInterrupt:
        ledger.tell("finishing the CTs in work; Ctrl-C again stops at once")
        try:
            pool.close()
        except KeyboardInterrupt:
            pool.close(now=True)
        raise
    except BaseException:
        pool.close(now=True)
        raise
    pool.close()
    return ledger.done_here


def _drive(plan: Plan, ledger: _Ledger, pool: Pool) -> None:
    """Keep the pool busy, with a bounded number of studies handed out."""
    left, alone = ledger.left, deque[int]()
    running: dict[Future[Any], int] = {}
    root, configuration = str(plan.cohort.root.resolve()), plan.configuration

    def hand_out(index: int) -> None:
        study, target = plan.cohort.studies[index], str(ledger.paths[index].resolve())
        key, threads = plan.keys[index], pool.threads
        future = pool.submit(make_part, study, root, configuration, target, key, threads)
        running[future] = index

    while left or alone or running:
        # Some more than slots, so that no worker waits for the next.
        while left and len(running) < pool.slots + max(1, pool.slots // 4):
            hand_out(left.popleft())
        if alone and not left and not running:
            hand_out(alone.popleft())
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            index = running.pop(future)
            try:
                ledger.finish(index, future.result())
            except pool.killed:
                if ledger.death(index, pool.deaths):
                    # Suspects go back among the others first, and to the end, one at a time, then.
                    few = ledger.deaths[index] < _TOGETHER
                    (left if few else alone).append(index)
                ledger.tell("a worker was killed; going on with what it was at")
            except CancelledError:
                raise BuildError(LOST) from None


def _reason(path: Path) -> str:
    with open_part(path) as part:
        return str(part.attrs["reason"])


def _gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    if allowed := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return tuple(allowed.split(","))
    import cupy

    return tuple(map(str, range(cupy.cuda.runtime.getDeviceCount())))


class _Log:
    """One JSON object a line, with the time; lines of every run follow each other."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Log:
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise DatasetError(
                f"{self._path}: cannot be written ({error.strerror}); choose another output"
            ) from None
        return self

    def __exit__(self, *_error: object) -> None:
        # A full disk must not hide what went wrong before.
        with contextlib.suppress(OSError):
            self._file.close()

    def __call__(self, event: str, **values: Any) -> None:
        known = {key: value for key, value in values.items() if value is not None}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(OSError):
            self._file.write(json.dumps({"time": stamp, "event": event, **known}) + "\n")
            self._file.flush()


@contextlib.contextmanager
def _locked(parts: Path) -> Iterator[None]:
    """The folder of parts, for this process alone; the system frees it when the process ends."""
    try:
        parts.mkdir(exist_ok=True)
        handle = (parts / "lock").open("a")
    except OSError as error:
        raise DatasetError(
            f"{parts}: cannot be made ({error.strerror}); choose another output"
        ) from None
    with handle:
        try:
            _lock(handle)
        except OSError:
            raise DatasetError(
                f"{parts}: another build works on this output; wait for it, or choose another"
            ) from None
        yield


def _lock(handle: Any) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
