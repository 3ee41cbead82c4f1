"""LLVM text to machine code of this CPU, and calls of it; Numba is not needed for either."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from drr.kernels.cpu.compiler.jit import making

__all__ = [
    "compile_text",
    "cpu",
    "cpu_name",
    "early_passes",
    "load",
    "target_machine",
    "tuning",
]

# A number's bytes in its word of 64 bits.
_WORDS = {
    "float64": "d", "float32": "f4x", "int64": "q", "int32": "i4x", "int16": "h6x", "int8": "b7x",
    "uint64": "Q", "uint32": "I4x", "uint16": "H6x", "uint8": "B7x",
}  # fmt: skip

# An array begins with what all objects begin with, then the address of its elements (NumPy's C
# interface, `PyArrayObject`); `array.ctypes.data` takes six times as long.
_address, _HEAD = ctypes.c_void_p.from_address, object.__basicsize__


@functools.cache
def cpu() -> str:
    """LLVM's version, and name and features of this CPU: what machine code depends on."""
    with making:
        version = ".".join(map(str, llvm.llvm_version_info))
        return f"{version} {cpu_name()} {llvm.get_host_cpu_features().flatten()}"


@functools.cache
def cpu_name() -> str:
    """What LLVM calls this CPU."""
    with making:
        return str(llvm.get_host_cpu_name())


@functools.cache
def target_machine() -> Any:
    """This CPU, as Numba's just-in-time compiler sees it."""
    return _host()


@functools.cache
def _engine() -> Any:
    """Holds all code of this process; it takes its machine for its own."""
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _host())


def _host() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def tuning(level: int) -> Any:
    """Options of LLVM's pipeline at an optimisation level."""
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_vectorization = options.loop_unrolling = level > 0
    options.slp_vectorization = False
    return options


def early_passes() -> Any:
    """Turn loops around, or some are not recognised as vectors later."""
    passes = llvm.create_new_module_pass_manager()
    passes.add_loop_rotate_pass()
    passes.add_instruction_combine_pass()
    passes.add_jump_threading_pass()
    return passes


def compile_text(text: str) -> bytes:
    """Return the object code of a module for this CPU.

    Raises
    ------
    RuntimeError
        For text that this LLVM does not understand.
    """
    machine = target_machine()
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    early_passes().run(module, llvm.create_pass_builder(machine, tuning(0)))
    builder = llvm.create_pass_builder(machine, tuning(3))
    builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code


def load(code: bytes, name: str, signature: Sequence[str]) -> Callable[[Sequence[Any]], None]:
    """Machine code as a function of a kernel's arguments, which are of the signature's types.

    The interpreter's lock is not held while it runs.

    Parameters
    ----------
    code
        Object code from `compile_text`.
    name
        Name of the function in it; each name can be loaded once.
    """
    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(name)
    if not address:
        raise RuntimeError(f"there is no function {name} in its own code")
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p)(address)
    pack = struct.Struct("<" + "".join(map(_words, signature))).pack

    def call(arguments: Sequence[Any]) -> None:
        words: list[Any] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                # Owner and parent, which nobody asks for, come first.
                data = _address(id(argument) + _HEAD).value or 0
                words += (0, 0, argument.size, argument.itemsize, data)
                words += argument.shape
                words += argument.strides
            else:
                words.append(argument)
        if function(pack(*words)):
            raise RuntimeError("a compiled kernel failed; please report it with 'drr doctor'")

    return call


def _words(key: str) -> str:
    name, _, layout = key.partition(":")
    return "q" * (5 + 2 * int(layout[:-1])) if layout else _WORDS[name]
