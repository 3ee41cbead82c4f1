"""How the CPU kernels become machine code, compiled on first use and cached on disk.

A kernel is a Python function that Numba understands. It takes C-contiguous arrays and numbers,
writes into the arrays, and neither returns nor allocates nor raises. On its first call with
arguments of certain types it becomes machine code, in the first of these ways that works:

1. code of an earlier process, from the cache folder: milliseconds;
2. LLVM text that the package contains for these sources, compiled for this CPU: tenths of a second;
3. text that Numba makes of the source now: seconds.

So most processes never import Numba. Code and text carry a digest of what they were made of, the
folder one of LLVM and the CPU: nothing out of date is ever run. Where no folder is writable, every
process compiles for itself instead of failing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from drr.sharing import hold_at_fork, kept_property

if TYPE_CHECKING:
    from zipfile import ZipFile

__all__ = [
    "Deferred",
    "Kernel",
    "Signature",
    "cache_folder",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "jit",
    "kernels",
    "machine_code",
    "making",
    "shipped",
    "uint8",
    "uint64",
]

Signature = tuple[str, ...]
"""Types of arguments: `float32` is a number, `int16:3C` a C-contiguous array, `int16:3A` any."""

HERE = Path(__file__).parent
LOWERED = HERE / "lowered.zip"

kernels: list[Kernel] = []
"""All that were imported."""

# Of whoever makes machine code: LLVM does so for one thread at a time anyway, and a fork half-way
# would leave the child an LLVM of no use.
making = threading.RLock()
hold_at_fork(making)


class Deferred:
    """What a kernel uses of a module that only compiling it needs; imported then."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def resolve(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)

    @property
    def source(self) -> str | None:
        """Path of the module, where it is one of ours."""
        spec = importlib.util.find_spec(self.module) if self.module.startswith("drr.") else None
        return None if spec is None else spec.origin

    def __call__(self, *arguments: Any) -> Any:
        """A number converted, for kernels that run as plain Python."""
        if self.module != "numba":
            raise TypeError(f"{self.name} exists in compiled kernels only")
        return np.dtype(self.name).type(*arguments)


float32, float64 = Deferred("numba", "float32"), Deferred("numba", "float64")
uint8, uint64 = Deferred("numba", "uint8"), Deferred("numba", "uint64")
int16, int32, int64 = (Deferred("numba", name) for name in ("int16", "int32", "int64"))


class Kernel:
    """A function that is compiled for the types that it is called with.

    Parameters
    ----------
    function
        In the part of Python that Numba knows.
    fast
        Let minima and maxima ignore NaN and signed zeros.
    inline
        Inline into calling kernels.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        fast: bool = False,
        inline: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.fast, self.inline = function, fast, inline
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self._ready: dict[Signature, Callable[[Sequence[Any]], Any]] = {}
        kernels.append(self)

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """Types that it has been called with in this process."""
        return tuple(self._ready)

    @kept_property
    def digest(self) -> str:
        """Of its file and its compiler's, the kernels that it calls, and the constants it uses."""
        code = self.function.__code__
        parts = [self.function.__qualname__]
        if Path(code.co_filename).is_file():
            parts.append(_file_digest(code.co_filename))
        else:  # in a notebook
            parts.append(repr((code.co_code, code.co_consts, code.co_names)))
        parts += [_file_digest(str(HERE / name)) for name in ("jit.py", "lowering.py", "native.py")]
        for name in sorted(code.co_names):
            value = self.function.__globals__.get(name)
            if isinstance(value, Kernel):
                parts.append(value.digest)
            elif isinstance(value, Deferred) and (source := value.source):
                parts.append(_file_digest(source))
            elif isinstance(value, np.ndarray):
                parts.append(hashlib.sha256(value.tobytes()).hexdigest())
            elif isinstance(value, bool | int | float | tuple | np.generic):
                parts.append(f"{name}={value!r}")
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def file_name(self, signature: Signature) -> str:
        """Of what is made of this kernel for arguments of these types, less its suffix."""
        made_of = f"{self.digest} {','.join(signature)}"
        return f"{self.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:24]}"

    def __call__(self, *arguments: Any) -> Any:
        signature = tuple([_type_of(argument) for argument in arguments])
        ready = self._ready.get(signature)
        if ready is None:
            with making:
                ready = self._ready.get(signature)
                if ready is None:
                    ready = self._ready[signature] = self._made(signature)
        return ready(arguments)

    def _made(self, signature: Signature) -> Callable[[Sequence[Any]], Any]:
        if os.environ.get("NUMBA_DISABLE_JIT") == "1":
            return lambda arguments: self.function(*arguments)
        if os.environ.get("NUMBA_BOUNDSCHECK") == "1":
            from drr.kernels.cpu.compiler.lowering import dispatcher

            checked = dispatcher(self, boundscheck=True, no_cpython_wrapper=False)
            return lambda arguments: checked(*arguments)
        from drr.kernels.cpu.compiler.native import load

        return load(machine_code(self, signature), self.file_name(signature), signature)


@overload
def jit(function: Callable[..., Any]) -> Kernel: ...
@overload
def jit(*, fast: bool = ..., inline: bool = ...) -> Callable[[Callable[..., Any]], Kernel]: ...
def jit(function: Any = None, *, fast: bool = False, inline: bool = False) -> Any:
    """Make a `Kernel` of a function; its parameters are the kernel's."""
    if function is None:
        return functools.partial(Kernel, fast=fast, inline=inline)
    return Kernel(function, fast=fast, inline=inline)


@functools.lru_cache(maxsize=256)
def _array_type(dtype: np.dtype, dimensions: int, contiguous: bool) -> str:
    if not dtype.isnative:
        raise TypeError(f"kernels take numbers in the CPU's byte order, not {dtype}")
    return f"{dtype.name}:{dimensions}{'C' if contiguous else 'A'}"


def _type_of(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        return _array_type(argument.dtype, argument.ndim, argument.flags.c_contiguous)
    kind: Any = type(argument)
    return _number_type(kind)


@functools.lru_cache(maxsize=256)
def _number_type(kind: type) -> str:
    if issubclass(kind, np.number):
        return np.dtype(kind).name
    if issubclass(kind, float):
        return "float64"
    if issubclass(kind, int | np.bool_):
        return "int64"
    raise TypeError(f"kernels take arrays and numbers, not {kind.__name__}")


def machine_code(kernel: Kernel, signature: Signature) -> bytes:
    """Return a kernel's object code for this CPU, from the cache or compiled and put into it."""
    name = kernel.file_name(signature)
    folder = cache_folder()
    path = None if folder is None else folder / f"{name}.o"
    code = None if path is None else _read(path)
    if code is None:
        code = _compiled(kernel, signature)
        if path is not None:
            _write(path, code)
    return code


def _compiled(kernel: Kernel, signature: Signature) -> bytes:
    from drr.kernels.cpu.compiler.native import compile_text

    text = shipped(f"{kernel.file_name(signature)}.ll")
    if text is not None:
        # An older LLVM does not know the text's grammar.
        with contextlib.suppress(RuntimeError):
            return compile_text(text.decode())
    _announce()
    from drr.kernels.cpu.compiler.lowering import lower

    return compile_text(lower(kernel, signature))


@functools.cache
def _announce() -> None:
    """Say once, where the user does not expect it, that the next picture takes longer."""
    import logging

    logging.getLogger("drr").warning(
        "drr: note: compiling the CPU kernels for this machine, once; this takes up to a minute"
    )


def shipped(name: str) -> bytes | None:
    """Return what the package contains under this name, or None."""
    from zipfile import BadZipFile

    try:
        return _archive(LOWERED).read(name)
    except (OSError, KeyError, BadZipFile):
        return None


@functools.lru_cache(maxsize=1)
def _archive(path: Path) -> ZipFile:
    """In memory, so that the file can be replaced."""
    import io
    from zipfile import ZipFile

    return ZipFile(io.BytesIO(path.read_bytes()))


def _read(path: Path) -> bytes | None:
    """Code behind its digest; None where there is none, or not all of it."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    code = found[32:]
    return code if code and hashlib.sha256(code).digest() == found[:32] else None


def _write(path: Path, code: bytes) -> None:
    """Put code into the cache, whole or not at all; a full disk is no reason to fail."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(file.name, path)
    except OSError:
        return


@functools.lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """Folder of the compiled kernels, or None where nothing is writable.

    `DRR_CACHE_DIR` wins, then `NUMBA_CACHE_DIR`, the user's cache folder, and a private folder
    in the system's temporary one.
    """
    from drr.kernels.cpu.compiler.native import cpu

    digest = hashlib.sha256(cpu().encode()).hexdigest()[:16]
    for base in _candidates():
        folder = base / f"kernels-{digest}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _is_ours(folder) and os.access(folder, os.W_OK):
                return folder
        except OSError:
            continue
    return None


def _candidates() -> list[Path]:
    found = [Path(os.environ[k]) for k in ("DRR_CACHE_DIR", "NUMBA_CACHE_DIR") if os.environ.get(k)]
    if sys.platform == "win32":
        user = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        user = Path(os.path.expanduser("~/Library/Caches"))
    else:
        user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    owner = getattr(os, "getuid", lambda: "user")()
    temporary = Path(os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp")
    return [*found, user / "drr-rate", temporary / f"drr-rate-{owner}"]


def _is_ours(folder: Path) -> bool:
    """Cached code is executed, so it must not come from a folder that others can write to."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & stat.S_IWOTH


@functools.cache
def _file_digest(path: str) -> str:
    # With the line ends of any checkout.
    return hashlib.sha256(Path(path).read_bytes().replace(b"\r\n", b"\n")).hexdigest()
