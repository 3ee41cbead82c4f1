"""Another process that may crash, hang or take too much memory; real ones, nothing is pretended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import drr.isolated
from drr.isolated import Isolated, IsolatedError, alive

HERE = "test_isolated"
"""This module, as the other process finds it: on the path that it inherits."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills and limits of POSIX")


@pytest.fixture(autouse=True)
def findable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(os.path.dirname(__file__))


def double(value: int) -> int:
    return 2 * value


def process_id() -> int:
    return os.getpid()


def refuse(text: str) -> None:
    raise ValueError(text)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(status: int) -> None:
    os._exit(status)


def sleep_in_steps(steps: int, seconds: float) -> int:
    for _ in range(steps):
        time.sleep(seconds)
        alive()
    return steps


def talk() -> str:
    print("what libraries print")
    sys.stdout.flush()
    os.write(1, b"straight to the descriptor\n")
    os.write(2, b"and to the other\n")
    return "said"


def allocate(count: int) -> int:
    return len(bytearray(count))


def unpicklable() -> object:
    return lambda: None


class AwkwardError(Exception):
    """As some libraries' errors: it cannot be made again from what it holds."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raise_awkward() -> None:
    raise AwkwardError("this", "that")


def test_calls_and_errors_come_through() -> None:
    with Isolated() as isolated:
        assert isolated.call(f"{HERE}:double", 21, seconds=60) == 42
        with pytest.raises(ValueError, match="no such thing"):
            isolated.call(f"{HERE}:refuse", "no such thing", seconds=60)
        first = isolated.call(f"{HERE}:process_id", seconds=60)
        assert first == isolated.call(f"{HERE}:process_id", seconds=60) != os.getpid()
        with pytest.raises(ModuleNotFoundError):
            isolated.call("no_such_module:f", seconds=60)
        with pytest.raises(AttributeError):
            isolated.call(f"{HERE}:no_such_function", seconds=60)


def test_large_arguments_and_answers() -> None:
    content = os.urandom(1 << 22)
    with Isolated() as isolated:
        assert isolated.call("builtins:bytes", content, seconds=60) == content


def test_after_a_crash_the_next_call_has_a_new_process() -> None:
    with Isolated() as isolated:
        with pytest.raises(IsolatedError, match="SIGSEGV"):
            isolated.call(f"{HERE}:crash", seconds=60)
        with pytest.raises(IsolatedError, match="status 7"):
            isolated.call(f"{HERE}:leave", 7, seconds=60)
        assert isolated.call(f"{HERE}:double", 4, seconds=60) == 8


def test_a_process_killed_between_calls_is_replaced() -> None:
    with Isolated() as isolated:
        number = isolated.call(f"{HERE}:process_id", seconds=60)
        os.kill(number, signal.SIGKILL)
        assert isolated._process is not None
        isolated._process.wait()
        assert isolated.call(f"{HERE}:double", 5, seconds=60) == 10


def test_what_takes_too_long_is_killed() -> None:
    with Isolated() as isolated:
        number = isolated.call(f"{HERE}:process_id", seconds=60)
        with pytest.raises(IsolatedError, match=r"longer than 0\.2 s"):
            isolated.call("time:sleep", 600, seconds=0.2)
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
        assert isolated.call(f"{HERE}:double", 1, seconds=60) == 2


def test_signs_of_life_start_the_time_anew() -> None:
    with Isolated() as isolated:
        isolated.call(f"{HERE}:double", 1, seconds=60)  # started, this module imported
        assert isolated.call(f"{HERE}:sleep_in_steps", 40, 0.1, seconds=2) == 40


def test_signs_of_life_elsewhere_do_nothing() -> None:
    assert drr.isolated._SIGNS is None
    alive()


def test_output_of_libraries_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    with Isolated() as isolated:
        assert isolated.call(f"{HERE}:talk", seconds=60) == "said"
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space")
def test_memory_is_limited_by_the_call() -> None:
    with Isolated(max_bytes=1 << 30) as isolated:
        assert isolated.call(f"{HERE}:allocate", 1 << 20, seconds=60) == 1 << 20
        with pytest.raises(IsolatedError, match="more memory"):
            isolated.call(f"{HERE}:allocate", 1 << 30, seconds=60)
        size = isolated.call(f"{HERE}:allocate", 1 << 30, seconds=60, max_bytes=3 << 30)
        assert size == 1 << 30
        with pytest.raises(IsolatedError, match="more memory"):
            isolated.call(f"{HERE}:allocate", 1 << 30, seconds=60, max_bytes=1 << 30)
        assert isolated.call(f"{HERE}:double", 3, seconds=60) == 6


def test_what_does_not_pickle_is_an_error_and_no_crash() -> None:
    with Isolated() as isolated:
        with pytest.raises(IsolatedError, match="its function cannot be handed over"):
            isolated.call(f"{HERE}:unpicklable", seconds=60)
        with pytest.raises(IsolatedError, match="its answer cannot be read"):
            isolated.call(f"{HERE}:raise_awkward", seconds=60)
        assert isolated.call(f"{HERE}:double", 3, seconds=60) == 6


def test_threads_take_turns() -> None:
    found: dict[int, int] = {}
    with Isolated() as isolated:

        def work(value: int) -> None:
            found[value] = isolated.call(f"{HERE}:double", value, seconds=60)

        threads = [threading.Thread(target=work, args=(value,)) for value in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {value: 2 * value for value in range(16)}


ORPHAN = """
import os, threading
from drr.isolated import Isolated
isolated = Isolated()
print(isolated.call("os:getpid", seconds=60), flush=True)
threading.Thread(target=isolated.call, args=("test_isolated:loop",), kwargs={"seconds": 0.1},
                 daemon=True).start()
os.kill(os.getpid(), 9)
"""


def loop() -> None:
    """As a library that lets no other thread run."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    while True:
        pass


def test_what_loops_ends_without_its_parent() -> None:
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], capture_output=True, text=True, env=environment, timeout=120
    )
    number = int(done.stdout)
    for _ in range(600):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(number, signal.SIGKILL)
    pytest.fail("a process loops that nobody waits for")


FORK = """
import os
from drr.isolated import Isolated
isolated = Isolated()
first = isolated.call("os:getpid", seconds=60)
child = os.fork()
own = isolated.call("os:getpid", seconds=60)
if child == 0:
    os._exit(0 if own != first else 1)
_, status = os.waitpid(child, 0)
assert own == first and status == 0, (own, first, status)
isolated.close()
"""


def test_a_fork_has_a_process_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=120)


def test_closing_ends_the_process_and_may_be_repeated() -> None:
    isolated = Isolated()
    isolated.close()
    number = isolated.call("os:getpid", seconds=60)
    isolated.close()
    isolated.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
