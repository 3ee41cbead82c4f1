"""What can go wrong on a GPU; `drr.project` passes the messages on as its own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["CudaError", "CudaMemoryError", "megabytes", "translated"]


class CudaError(RuntimeError):
    """An input that the CUDA back-end cannot take, or a GPU that failed."""


class CudaMemoryError(CudaError, MemoryError):
    """The device has too little free memory for one view; the message says how much it takes."""


@contextmanager
def translated() -> Iterator[None]:
    """CuPy's errors, other than of memory, as `CudaError`s that say what to do."""
    try:
        import cupy
    except ImportError as error:
        raise CudaError(
            f"CuPy cannot be imported ({error}); install drr-rate[cuda13] or drr-rate[cuda12]"
        ) from error
    try:
        yield
    except CudaError:
        raise
    except cupy.cuda.compiler.CompileException as error:
        raise CudaError(
            f"NVRTC cannot compile the kernels: {str(error).strip().splitlines()[0]}; install "
            "drr-rate[cuda13] or drr-rate[cuda12], whichever fits the driver"
        ) from error
    except RuntimeError as error:  # of driver, runtime and libraries that are not found
        raise CudaError(
            f"the GPU failed: {error} (CuPy {cupy.__version__}); use backend='cpu', or see "
            "'drr doctor'"
        ) from error


def megabytes(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count / 1e6:,.1f} MB"
