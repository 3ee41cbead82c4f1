"""Carry out a plan: every study by a worker, every part on disk, then one file.

Nothing that is finished is ever lost or done twice: parts lie beside the output until it is whole,
and the same call goes on where the last one ended, however that was. Over a finished file it makes
what has changed since, and takes the rest from that file.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drr.datasets.build.assemble import assemble
from drr.datasets.build.finished import Finished, check_output, find_finished, is_data_set
from drr.datasets.build.ledger import BuildError, Ledger, Log, Progress
from drr.datasets.build.part import make_part
from drr.datasets.build.parts_folder import clear_parts, locked_parts, part_paths, parts_folder
from drr.datasets.build.plan import Plan
from drr.datasets.build.pools import (
    LOST,
    DaskPool,
    LocalPool,
    Pool,
    WorkerKilledError,
    available_workers,
)
from drr.datasets.privacy.pseudonyms import Key, hides_names, key_beside, open_key, pseudonymised
from drr.datasets.schema import DatasetError

__all__ = ["BuildError", "Progress", "Result", "build", "parts_folder", "rehearse"]

_TOGETHER = 2  # deaths for which the memory that other studies take may be to blame


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
        Studies that this run worked on.
    seconds
        Duration of this run in seconds.
    reasons
        Why studies failed, by the sample's name.
    """

    path: Path
    digest: str
    samples: int
    failures: int
    made: int
    seconds: float
    reasons: Mapping[str, str] = field(default_factory=dict)


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
    """Build a data set's file, finish one that was begun, or bring a finished one up to date.

    Of a finished file what has changed is made again, and only that: studies whose files are
    others, that are new, or that failed for want of memory or the like. All else is taken from it
    bit by bit, and the result is what a new build would give. It is replaced when its successor is
    whole.

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
        Address of a Dask cluster's scheduler; the cluster then does the work.
    max_failures
        Stop when more studies than this have failed; None for never.
    retry
        Try again the studies that failed in an earlier run.
    keep_parts
        Leave the parts, for a plan with more studies.
    force
        Replace a file that was built otherwise, or whose samples this plan would lose.
    key
        File with the key of pseudonyms, for a cohort that hides names and for what is unlinkable;
        `OUT.key.csv` by default. It is made where it is not there
        (`drr.datasets.privacy.pseudonyms`).
    report
        Called with a line of text after every step.

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
    check_output(out, plan, _finished(out, plan, secret), force=force)
    parts = parts_folder(out)
    with locked_parts(parts), Log(_log_file(out)) as log:
        # Again: whoever had the lock may have written it.
        finished = _finished(out, plan, secret)
        check_output(out, plan, finished, force=force)
        if secret is not None:
            secret.save()
        ledger = Ledger(
            plan,
            part_paths(plan.keys, parts),
            finished,
            log=log,
            report=report,
            retry=retry,
            max_failures=max_failures,
            start=start,
        )
        salt = secret.salt if secret is not None and plan.configuration.unlinkable else None
        digest = _complete(ledger, out, workers, scheduler, salt=salt)
        found = find_finished(out, plan)
        if found is None or found.digest != digest:
            raise BuildError(f"{out}: is not what was written; is its disk sound?")
        reasons = found.failures
        result = Result(
            path=out,
            digest=digest,
            samples=len(plan.cohort) - len(reasons),
            failures=len(reasons),
            made=ledger.made,
            seconds=time.monotonic() - start,
            reasons=reasons,
        )
        log("finish", digest=digest, samples=result.samples, failures=result.failures)
        if not keep_parts and not clear_parts(parts):
            ledger.tell(f"{parts}: stays, since it holds files that no build made")
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


def _secret(plan: Plan, out: Path, key: str | Path | None, *, force: bool) -> Key | None:
    """The key of what is not to be told, or None where there is nothing to hide."""
    if not (hides_names(plan.cohort) or plan.configuration.unlinkable):
        return None
    secret = open_key(key_beside(out) if key is None else key)
    begun = is_data_set(out) or any(parts_folder(out).glob("*/*.h5"))
    if secret.is_new and begun and not force:
        raise DatasetError(
            f"{secret.path}: is missing, so that pseudonyms would be others than those of "
            f"{out.name}; put it back, or give it with --key; --force builds anew with others"
        )
    return secret


def _finished(out: Path, plan: Plan, secret: Key | None) -> Finished | None:
    """What an earlier run left that can be taken over: nothing made with a key that is lost."""
    return None if secret is not None and secret.is_new else find_finished(out, plan)


def _log_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.log")


def _check_free(out: Path, plan: Plan) -> None:
    """The output must not lie where the source's files would be replaced."""
    for study in plan.cohort.studies:
        source = study.file(plan.cohort.root)
        same = out.name == source.name and out.exists() and source.exists()
        if same and os.path.samefile(out, source):
            raise DatasetError(f"{out}: is a CT of the source; choose another output")


def _complete(
    ledger: Ledger, out: Path, workers: int | None, scheduler: str | None, *, salt: bytes | None
) -> str:
    """Make what is left and write the file, unless it is as it should be; its digest."""
    if ledger.left:
        _make_parts(ledger, workers, scheduler)
    if ledger.finished is not None and ledger.is_as_before():
        return ledger.finished.digest
    if ledger.drop_damaged():
        _make_parts(ledger, workers, scheduler)
    plan = ledger.plan
    ledger.log("assemble", studies=len(plan.cohort))
    digest, _ = assemble(plan, ledger.paths, out, killed=ledger.killed, kept=ledger.kept, salt=salt)
    return digest


def _make_parts(ledger: Ledger, workers: int | None, scheduler: str | None) -> None:
    plan = ledger.plan
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
        _drive(ledger, pool)
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


def _drive(ledger: Ledger, pool: Pool) -> None:
    """Keep the pool busy, with a bounded number of studies handed out."""
    plan = ledger.plan
    left, alone = ledger.left, deque[int]()
    running: dict[Future[Any], int] = {}
    root, configuration = str(plan.cohort.root.resolve()), plan.configuration

    def hand_out(index: int) -> None:
        study, target = plan.cohort.studies[index], str(ledger.paths[index].resolve())
        key, threads, known = plan.keys[index], pool.threads, ledger.known.get(index)
        future = pool.submit(make_part, study, root, configuration, target, key, threads, known)
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
            except pool.killed as error:
                how = error.how if isinstance(error, WorkerKilledError) else ""
                if ledger.death(index, pool.deaths, how):
                    # Suspects go back among the others first, and to the end, one at a time, then.
                    few = ledger.deaths[index] < _TOGETHER
                    (left if few else alone).append(index)
                ledger.tell("a worker was killed; going on with what it was at")
            except CancelledError:
                raise BuildError(LOST) from None


def _gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    if allowed := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return tuple(allowed.split(","))
    import cupy

    return tuple(map(str, range(cupy.cuda.runtime.getDeviceCount())))
