from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import drr
from drr.sharing import kept_property

ROOT = Path(drr.__file__).parent.parent
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@dataclass(frozen=True)
class Square:
    side: int
    worked_out: list[int]

    @kept_property
    def area(self) -> int:
        """In square units."""
        self.worked_out.append(self.side)
        if self.side < 0:
            raise ValueError("negative")
        return self.side**2


class Named(Square):
    @kept_property
    def area(self) -> int:
        return super().area + 1


def test_it_is_worked_out_once_for_each_object() -> None:
    one, other = Square(3, []), Square(4, [])
    assert [one.area, one.area, other.area] == [9, 9, 16]
    assert one.worked_out == [3]
    assert vars(one)["area"] == 9


def test_what_is_known_already_can_be_put_there() -> None:
    square = Square(3, [])
    vars(square)["area"] = 10
    assert square.area == 10
    assert not square.worked_out


def test_an_error_is_not_kept() -> None:
    square = Square(-1, [])
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            square.area  # noqa: B018
    assert square.worked_out == [-1, -1]


def test_of_the_class_it_is_the_property() -> None:
    assert isinstance(Square.area, kept_property)
    assert Square.area.__doc__ == "In square units."


def test_threads_that_come_at_once_get_the_same_object() -> None:
    count = 8
    together = threading.Barrier(count)

    class Slow:
        @kept_property
        def found(self) -> object:
            together.wait(60)
            return object()

    slow = Slow()
    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(lambda _: slow.found, range(count)))
    assert len(set(map(id, found))) == 1


def test_nothing_of_the_package_takes_the_lock_of_the_standard_library() -> None:
    for folder in ("drr", "kernels", "datasets"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "sharing.py":
                assert "cached_property" not in path.read_text("utf-8"), path


def child_of_a_fork(script: str) -> None:
    """Run a script that forks; the child has a minute."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr or "a child of a fork hung"


@FORKS
def test_a_child_of_a_fork_does_not_wait_for_a_thread_of_its_parent() -> None:
    child_of_a_fork("""
        import os, signal, sys, threading
        from drr.sharing import kept_property

        working, ends = threading.Event(), threading.Event()

        class Thing:
            def __init__(self, slow):
                self.slow = slow
            @kept_property
            def value(self):
                if self.slow:
                    working.set()
                    ends.wait(200)
                return 1

        thread = threading.Thread(target=lambda: Thing(True).value)
        thread.start()
        working.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            os._exit(Thing(False).value - 1)
        status = os.waitpid(pid, 0)[1]
        ends.set()
        thread.join()
        sys.exit(status != 0)
    """)


@FORKS
def test_no_fork_happens_while_a_thread_has_a_held_lock() -> None:
    child_of_a_fork(
        """
        import os, signal, sys, threading, time
        from drr.kernels.cpu.compiler.jit import making

        taken = threading.Event()

        def hold():
            with making:
                taken.set()
                time.sleep(0.5)

        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            sys.path.insert(0, "TESTS")
            from kernel_cases import one_image
            os._exit(not one_image().any())
        sys.exit(os.waitpid(pid, 0)[1] != 0)
    """.replace("TESTS", str(Path(__file__).parent))
    )


@FORKS
def test_forks_while_threads_project() -> None:
    child_of_a_fork("""
        import os, signal, sys, threading
        import drr
        from drr.datasets.phantom.thorax import thorax
        from drr.patient.prepare import prepare
        from drr.geometry.views import parse_view

        ct = thorax((32, 48, 48))
        scan = prepare(ct)

        def made(name, look, volume):
            view = parse_view(name, shape=(48, 48))
            return drr.project(volume, view, look=look, backend="cpu").line_integrals.tobytes()

        cases = [(name, look) for name in ("pa", "ll", "lao30") for look in ("film", "physical")]
        alone = [made(*case, scan) for case in cases]
        ends = threading.Event()

        def busy(case):
            while not ends.is_set():
                made(*case, scan)

        threads = [threading.Thread(target=busy, args=(case,)) for case in cases[:3]]
        for thread in threads:
            thread.start()
        hung = 0
        for k in range(30):
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                k %= len(cases)
                right = made(*cases[k], scan) == made(*cases[k], prepare(ct)) == alone[k]
                os._exit(0 if right else 3)
            hung += os.waitpid(pid, 0)[1] != 0
            if hung:
                break
        ends.set()
        for thread in threads:
            thread.join()
        sys.exit(hung)
    """)
