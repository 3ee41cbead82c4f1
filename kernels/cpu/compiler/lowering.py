"""Kernels to LLVM's intermediate representation; this and `vector_lowering` import Numba.

Numba spends most of its time on inferring types and lowering Python, which depends on nothing but
the source. So a wheel contains what it makes of the kernels as text (`lowered.zip`, see
`lowered`), and LLVM alone compiles it for the CPU at hand (`native`). What is not in there, or no
longer as in the source, is lowered on first use.
"""

from __future__ import annotations

import functools
import re
import types
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numba
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from drr.kernels.cpu.compiler.native import early_passes, tuning

if TYPE_CHECKING:
    from drr.kernels.cpu.compiler.jit import Kernel, Signature

__all__ = ["dispatcher", "lower"]

OPTIONS = {
    "error_model": "numpy",
    "boundscheck": False,
    "nogil": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
# Maxima need not care for NaN: that makes them vectors. Volumes are int16 and attenuation is
# checked, so no NaN gets here. Contraction and reordering stay off: images must repeat to the bit
# on every CPU.
FAST = {"nsz", "nnan"}

# What LLVM may leave to the C library, beside its own intrinsics.
LIBRARY = {"memset", "memcpy", "memmove"}
for _name in ("floor", "ceil", "sqrt", "exp", "log", "pow", "fmod", "sin", "cos", "erf", "erfc"):
    LIBRARY |= {_name, f"{_name}f"}

# Nothing is allocated in kernels, so there are no references to count.
_COUNTING = re.compile(r"^define [^\n]*@(NRT_(?:in|de)cref)\(.*?^}\n", re.M | re.S)
_UNCOUNTED = r"define internal void @\1(ptr %0) {\n  ret void\n}\n"
_NAMED = re.compile(r'^(?:define [^@\n]*|declare [^@\n]*|)@("[^"]+"|[-\w.$]+)', re.M)
_OF_ONE_MACHINE = re.compile(r"^(?:target |source_filename|; ModuleID).*\n", re.M)


def dispatcher(kernel: Kernel, **options: Any) -> Any:
    """The kernel as Numba's own; so become the kernels that it calls."""
    function = kernel.function
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if name in scope:
            scope[name] = _numbas(scope[name], options)
    bound = types.FunctionType(function.__code__, scope, function.__name__)
    bound.__module__, bound.__qualname__ = function.__module__, function.__qualname__
    chosen = {**OPTIONS, **options}
    if kernel.fast:
        chosen["fastmath"] = FAST
    if kernel.inline:
        chosen["inline"] = "always"
    return numba.njit(**chosen)(bound)


def _numbas(value: Any, options: dict[str, Any]) -> Any:
    from drr.kernels.cpu.compiler.jit import Deferred, Kernel

    if isinstance(value, Kernel):
        return dispatcher(value, **options)
    return value.resolve() if isinstance(value, Deferred) else value


def lower(kernel: Kernel, signature: Signature) -> str:
    """A module for no particular CPU, with one public function, `kernel.file_name(signature)`.

    Raises
    ------
    TypeError
        For a kernel that returns something, allocates or raises: without Numba's runtime it could
        not be called.
    """
    compiled = dispatcher(kernel)
    argument_types = tuple(map(_type, signature))
    with global_compiler_lock:
        # Numba keeps its settings as attributes of a module.
        settings = vars(config)
        before = {name: settings[name] for name in ("OPT", "LOOP_VECTORIZE")}
        settings.update(OPT=type(before["OPT"])(0), LOOP_VECTORIZE=0)
        try:
            compiled.compile(argument_types)
        finally:
            settings.update(before)
    result = compiled.overloads[argument_types]
    returned = result.signature.return_type
    if returned != numba.types.none:
        raise TypeError(f"kernel {kernel.name} returns {returned}; it must return nothing")
    entry = kernel.file_name(signature)
    text = _with_entry(str(result.library._final_module), result.fndesc.llvm_func_name, entry)
    # Before anything is inlined: what is, leaves its name in labels.
    text = _anonymous(_needed(text, entry), entry)
    module = _simplified(text, entry)
    foreign = [
        function.name
        for function in module.functions
        if function.is_declaration
        and not function.name.startswith("llvm.")
        and function.name not in LIBRARY
    ]
    if foreign:
        raise TypeError(
            f"kernel {kernel.name} needs {', '.join(foreign)}: it allocates or raises; pass "
            "scratch arrays in, and check arguments before"
        )
    return _OF_ONE_MACHINE.sub("", str(module))


def _type(key: str) -> Any:
    """`float32:2C` is a C-contiguous array of two dimensions, `float32` a number."""
    name, _, layout = key.partition(":")
    element: Any = numba.boolean if name == "bool" else getattr(numba, name)
    if not layout:
        return element
    return numba.types.Array(element, int(layout[:-1]), "C" if layout.endswith("C") else "A")


def _with_entry(text: str, function: str, entry: str) -> str:
    """Add the public function, which takes the arguments packed into words of 64 bits.

    Numba's functions take pointers to a result and to an exception before their arguments, and an
    array as what its structure holds, one after another.
    """
    module = llvm.parse_assembly(text)
    kinds = [str(argument.type) for argument in module.get_function(function).arguments][2:]
    lines = ["  %nothing = alloca ptr"]
    for place, kind in enumerate(kinds):
        lines.append(f"  %at{place} = getelementptr i64, ptr %words, i64 {place}")
        lines.append(f"  %v{place} = load {kind}, ptr %at{place}")
    passed = "".join(f", {kind} %v{place}" for place, kind in enumerate(kinds))
    lines.append(f'  %s = call i32 @"{function}"(ptr %nothing, ptr %nothing{passed})')
    body = "\n".join([*lines, "  ret i32 %s"])
    return f'{text}\ndefine i32 @"{entry}"(ptr %words) {{\n{body}\n}}\n'


def _needed(text: str, entry: str) -> str:
    """Only what the entry needs."""
    module = _internal(_COUNTING.sub(_UNCOUNTED, text), entry)
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_dead_prototype_pass()
    passes.run(module, llvm.create_pass_builder(_no_machine(), tuning(0)))
    return str(module)


@functools.cache
def _no_machine() -> Any:
    """A CPU of which no more is known than its family."""
    return llvm.Target.from_default_triple().create_target_machine()


def _internal(text: str, entry: str) -> Any:
    module = llvm.parse_assembly(text)
    for item in (*module.functions, *module.global_variables):
        if not item.is_declaration and item.name != entry:
            item.linkage = llvm.Linkage.internal
    return module


def _simplified(text: str, entry: str) -> Any:
    """Without the detours that the lowering took, as far as it goes without knowing the CPU."""
    module, machine = _internal(text, entry), _no_machine()
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_dead_prototype_pass()
    passes.run(module, llvm.create_pass_builder(machine, tuning(0)))
    early_passes().run(module, llvm.create_pass_builder(machine, tuning(0)))
    options = tuning(1)
    options.loop_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def _anonymous(text: str, entry: str) -> str:
    """Names that Numba counted up in this process become the same each time."""
    names: dict[str, str] = {}
    for match in _NAMED.finditer(text):
        name = match[1]
        if name.strip('"') != entry and not name.startswith("llvm.") and name not in LIBRARY:
            names[name] = f"n{len(names)}"
    pattern = re.compile(r'@("[^"]+"|[-\w.$]+)')
    return pattern.sub(lambda match: f"@{names.get(match[1], match[1])}", text)
