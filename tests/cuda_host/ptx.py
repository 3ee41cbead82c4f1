"""NVRTC's PTX on the CPU: one C statement for each instruction.

With `-fmad=false` and no approximate intrinsics every float instruction of the PTX is a correctly
rounded one, whose result the PTX manual (*Parallel Thread Execution ISA*) fixes to the last bit.
The translation states that meaning once more in C. Nothing is guessed: an instruction that is not
in the tables, or whose rounding is left to the assembler, raises `PtxError`.

Registers are kept as bits of their width; an f32 operand is read and written through `F` and `U`.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cuda_host.build import shared_library

__all__ = ["LOAD", "Program", "PtxError", "execute", "load_program", "trace", "translate"]

C_TYPES = {f"{k}{b}": f"{'u' * (k != 's')}int{b}_t" for k in "usb" for b in (8, 16, 32, 64)}
C_TYPES |= {"f32": "uint32_t", "pred": "int"}
SPECIAL = {
    f"%{register}.{axis}": f"S->{register}[{i}]"
    for register in ("tid", "ntid", "ctaid", "nctaid")
    for i, axis in enumerate("xyz")
}
ORDERED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}
UNSIGNED = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
# One load of the trace: which warp, which instruction, in which turn of its loop, address.
LOAD = np.dtype(
    [("warp", "u4"), ("instruction", "u4"), ("turn", "u4"), ("bytes", "u4"), ("address", "u8")]
)


class PtxError(NotImplementedError):
    """An instruction whose meaning this translator does not know, or PTX leaves open."""


@dataclass(frozen=True)
class Program:
    """Loaded PTX.

    Parameters
    ----------
    library
        Holds `run_NAME` for every kernel.
    kernels
        Their names.
    opcodes
        The distinct instructions met, in order of first use.
    """

    library: ctypes.CDLL
    kernels: tuple[str, ...]
    opcodes: tuple[str, ...]


PRELUDE = r"""
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif
typedef struct { uint32_t tid[3], ntid[3], ctaid[3], nctaid[3]; } Special;
typedef struct { uint32_t warp, instruction, turn, bytes; uint64_t address; } Load;
typedef struct { Load *loads; uint64_t count, room; uint32_t warp, turn; } Trace;
static __thread Trace *T;
static inline float F(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
static inline uint32_t U(float f) { uint32_t bits; memcpy(&bits, &f, 4); return bits; }
static inline uint32_t flushed(uint32_t a) { return a & 0x7f800000u ? a : a & 0x80000000u; }
static inline float ptx_min(float a, float b)
{ return a != a ? b : b != b ? a : (a < b || (a == b && signbit(a))) ? a : b; }
static inline float ptx_max(float a, float b)
{ return a != a ? b : b != b ? a : (a > b || (a == b && !signbit(a))) ? a : b; }
static inline int32_t to_s32(float a)
{ return a != a ? 0 : a >= 2147483648.f ? INT32_MAX : a < -2147483648.f ? INT32_MIN : (int32_t)a; }
static inline uint32_t to_u32(float a)
{ return a != a || a <= 0.f ? 0u : a >= 4294967296.f ? UINT32_MAX : (uint32_t)a; }
static inline int64_t to_s64(float a)
{ return a != a ? INT64_MIN : a >= 9223372036854775808.f ? INT64_MAX
       : a < -9223372036854775808.f ? INT64_MIN : (int64_t)a; }
static inline uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t lut)
{ uint32_t r = 0; for (int i = 0; i < 8; ++i) if (lut >> i & 1)
    r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c); return r; }
static inline uint32_t prmt(uint32_t a, uint32_t b, uint32_t s)
{ uint64_t x = ((uint64_t)b << 32) | a; uint32_t r = 0;
  for (int i = 0; i < 4; ++i) { uint32_t c = s >> (4 * i) & 15, v = x >> (8 * (c & 7)) & 255;
    if (c & 8) v = v & 128 ? 255 : 0; r |= v << (8 * i); } return r; }
static inline uint64_t shl64(uint64_t a, uint32_t n) { return n > 63 ? 0 : a << n; }
static inline uint32_t shl32(uint32_t a, uint32_t n) { return n > 31 ? 0 : a << n; }
static inline uint16_t shl16(uint16_t a, uint32_t n) { return n > 15 ? 0 : a << n; }
#define SHR(T, BITS, a, n) ((T)(a) >> ((n) > (BITS) - 1 ? (BITS) - 1 : (n)))
#define SHR_U(T, BITS, a, n) ((n) > (BITS) - 1 ? 0 : (T)(a) >> (n))
static inline void traced(uint32_t instruction, uint64_t address, uint32_t bytes)
{ if (!T) return;
  if (T->count < T->room) T->loads[T->count] =
    (Load){T->warp, instruction, T->turn, bytes, address}; ++T->count; }
static inline void turned(void) { if (T) ++T->turn; }
static inline uint64_t control(void)
{
    uint64_t c = 0;
#if defined(__SSE__)
    c = _mm_getcsr();
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(c));
#endif
    return c;
}
static inline void set_control(uint64_t c)
{
#if defined(__SSE__)
    _mm_setcsr((unsigned)c);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(c));
#endif
}
static inline void flush_subnormals(void)
{
#if defined(__SSE__)
    set_control(control() | 0x8040);
#elif defined(__aarch64__)
    set_control(control() | (1ull << 24));
#endif
}
typedef void Kernel(const Special *S, void **P);
typedef struct { Kernel *kernel; const uint32_t *grid, *block; void **P; uint64_t *next; } Job;
static void thread_of(Kernel *kernel, const uint32_t *g, const uint32_t *b, void **P,
                      uint64_t q, uint32_t t)
{
    Special S = {{t % b[0], t / b[0] % b[1], t / (b[0] * b[1])}, {b[0], b[1], b[2]},
                 {q % g[0], q / g[0] % g[1], q / ((uint64_t)g[0] * g[1])}, {g[0], g[1], g[2]}};
    kernel(&S, P);
}
static void *work(void *argument)
{
    const Job *j = argument;
    uint64_t count = (uint64_t)j->grid[0] * j->grid[1] * j->grid[2];
    uint32_t threads = j->block[0] * j->block[1] * j->block[2];
    flush_subnormals();
    for (uint64_t q; (q = __atomic_fetch_add(j->next, 1, __ATOMIC_RELAXED)) < count;)
        for (uint32_t t = 0; t < threads; ++t) thread_of(j->kernel, j->grid, j->block, j->P, q, t);
    return 0;
}
static void run(Kernel *kernel, const uint32_t *grid, const uint32_t *block, void **P, int workers)
{
    uint64_t next = 0; Job job = {kernel, grid, block, P, &next};
    pthread_t *pool = malloc(workers * sizeof *pool);
    for (int i = 0; i < workers; ++i) pthread_create(pool + i, 0, work, &job);
    for (int i = 0; i < workers; ++i) pthread_join(pool[i], 0);
    free(pool);
}
static uint64_t trace(Kernel *kernel, const uint32_t *grid, const uint32_t *block, void **P,
                      const uint64_t *warps, uint32_t count, Load *loads, uint64_t room)
{   /* Lane by lane; `warps` are numbered through the grid, block by block. */
    uint64_t per_block = (block[0] * block[1] * block[2] + 31) / 32;
    Trace t = {loads, 0, room, 0, 0}; T = &t;
    uint64_t before = control();  /* the caller's thread goes on with subnormals */
    flush_subnormals();
    for (t.warp = 0; t.warp < count; ++t.warp)
        for (uint32_t lane = 0; lane < 32; ++lane) {
            uint64_t w = warps[t.warp]; uint32_t thread = w % per_block * 32 + lane;
            t.turn = 0;
            if (thread < block[0] * block[1] * block[2])
                thread_of(kernel, grid, block, P, w / per_block, thread);
        }
    set_control(before);
    T = 0; return t.count;
}
"""


def register(operand: str) -> str:
    """The C expression of a register or literal, as bits."""
    operand = operand.strip()
    if operand in SPECIAL:
        return SPECIAL[operand]
    if re.fullmatch(r"%\w+", operand):
        return operand[1:]
    if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", operand):
        return f"0x{operand[2:]}u"
    if re.fullmatch(r"-?\d+", operand):
        return f"({operand}ll)"
    if re.fullmatch(r"0x[0-9a-fA-F]+", operand):
        return f"({operand}ull)"
    raise PtxError(f"operand {operand!r}")


class Instruction:
    """One instruction, split: `add.rn.ftz.f32 %f1, %f2, %f3`."""

    def __init__(self, text: str, number: int, parameters: dict[str, int]) -> None:
        self.opcode, _, rest = text.partition(" ")
        self.name, *self.modifiers = self.opcode.split(".")
        self.arguments = [a.strip() for a in split(rest)]
        self.number = number
        self.parameters = parameters

    @property
    def type(self) -> str:
        return self.modifiers[-1]

    @property
    def ftz(self) -> bool:
        return "ftz" in self.modifiers

    def bits(self, i: int) -> str:
        return register(self.arguments[i])

    def value(self, i: int, kind: str | None = None) -> str:
        """Operand i as a C value of the instruction's type or the given one."""
        kind = kind or self.type
        if kind == "f32":
            return f"F({self.bits(i)})"
        return f"(({C_TYPES[kind]})({self.bits(i)}))"

    def set(self, expression: str, kind: str | None = None) -> str:
        """Store a C value of the instruction's type in its first operand."""
        kind = kind or self.type
        target = register(self.arguments[0])
        return f"{target} = {f'U({expression})' if kind == 'f32' else expression};"

    def unknown(self) -> PtxError:
        return PtxError(f"{self.opcode} {', '.join(self.arguments)}")

    def statement(self) -> str:
        """The instruction in C."""
        method = getattr(self, f"do_{self.name}", None)
        if method is None:
            raise self.unknown()
        return method()

    # -- memory --
    def do_ld(self) -> str:
        space = self.modifiers[0]
        if space == "param":
            m = re.fullmatch(r"\[(\w+)(?:\+(\d+))?\]", self.arguments[1])
            if m is None or "v2" in self.modifiers or "v4" in self.modifiers:
                raise self.unknown()
            address = f"((char*)P[{self.parameters[m[1]]}] + {m[2] or 0})"
            return self.set(f"*({C_TYPES[self.type]}*){address}", "b32")
        if space != "global":
            raise self.unknown()
        base, offset = self.address(self.arguments[1])
        width = int(self.type[1:]) // 8
        targets = [register(t) for t in self.arguments[0].strip("{} ").split(",")]
        reads = [f"traced({self.number}, {base} + ({offset}), {width * len(targets)});"]
        for i, target in enumerate(targets):
            at = f"({base} + ({offset + i * width}))"
            reads.append(f"{target} = *({C_TYPES[self.type]}*){at};")
        return (
            "{ " + " ".join(reads) + " }" if len(targets) == 1 else self.unaliased(targets, reads)
        )

    def unaliased(self, targets: list[str], reads: list[str]) -> str:
        # The address register may be one of the targets: keep it.
        base = self.address(self.arguments[1])[0]
        body = " ".join(r.replace(f"({base} +", "(at +") for r in reads[1:])
        return f"{{ uint64_t at = {base}; {reads[0]} {body} }}"

    def do_st(self) -> str:
        if self.modifiers[0] != "global":
            raise self.unknown()
        base, offset = self.address(self.arguments[0])
        width = int(self.type[1:]) // 8
        sources = [register(s) for s in self.arguments[1].strip("{} ").split(",")]
        kind = C_TYPES[self.type]
        writes = [
            f"*({kind}*)({base} + ({offset + i * width})) = ({kind})({source});"
            for i, source in enumerate(sources)
        ]
        return "{ " + " ".join(writes) + " }"

    def address(self, operand: str) -> tuple[str, int]:
        m = re.fullmatch(r"\[(%\w+)(?:\+(-?\d+))?\]", operand)
        if m is None:
            raise self.unknown()
        return register(m[1]), int(m[2] or 0)

    def do_cvta(self) -> str:
        if self.modifiers != ["to", "global", "u64"]:
            raise self.unknown()
        return self.set(self.bits(1))

    # -- moves and selections --
    def do_mov(self) -> str:
        return self.set(self.bits(1), "b32")

    def do_selp(self) -> str:
        return self.set(f"{self.bits(3)} ? {self.bits(1)} : {self.bits(2)}", "b32")

    def do_setp(self) -> str:
        comparison, kind = self.modifiers[0], self.type
        a, b = self.value(1), self.value(2)
        if kind == "f32":
            unordered = f"({a} != {a} || {b} != {b})"
            if comparison in ORDERED:
                truth = f"{a} {ORDERED[comparison]} {b}"
            elif comparison == "ne":
                truth = f"({a} < {b} || {a} > {b})"
            elif comparison == "num":
                truth = f"!{unordered}"
            elif comparison == "nan":
                truth = unordered
            elif comparison == "neu":
                truth = f"!({a} == {b})"
            elif comparison.endswith("u") and comparison[:-1] in ORDERED:
                truth = f"({unordered} || {a} {ORDERED[comparison[:-1]]} {b})"
            else:
                raise self.unknown()
        else:
            operator = {**ORDERED, **UNSIGNED, "ne": "!="}.get(comparison)
            if operator is None:
                raise self.unknown()
            truth = f"{a} {operator} {b}"
        combine = {"and": "&&", "or": "||", "xor": "!="}.get(self.modifiers[1])
        if combine:
            truth = f"({truth}) {combine} ({self.bits(3)})"
        elif len(self.arguments) != 3:
            raise self.unknown()
        if "|" in self.arguments[0]:
            raise self.unknown()
        return self.set(f"({truth}) != 0", "pred")

    # -- float --
    def rounded(self, expression: str) -> str:
        # Without .rn the assembler may contract a product and a sum into one rounding.
        if self.type != "f32" or "rn" not in self.modifiers:
            raise PtxError(f"{self.opcode}: the result depends on the assembler (use -fmad=false)")
        return self.set(expression)

    def do_fma(self) -> str:
        return self.rounded(f"__builtin_fmaf({self.value(1)}, {self.value(2)}, {self.value(3)})")

    def do_div(self) -> str:
        if self.type == "f32":
            return self.rounded(f"{self.value(1)} / {self.value(2)}")
        # Division by zero is unspecified in PTX: whatever comes, it must not come to it.
        return self.set(f"{self.value(1)} / {self.value(2)}")

    def do_rem(self) -> str:
        return self.set(f"{self.value(1)} % {self.value(2)}")

    def do_rcp(self) -> str:
        return self.rounded(f"1.0f / {self.value(1)}")

    def do_sqrt(self) -> str:
        return self.rounded(f"__builtin_sqrtf({self.value(1)})")

    def do_abs(self) -> str:
        if self.type == "f32":
            bits = f"flushed({self.bits(1)})" if self.ftz else self.bits(1)
            return self.set(f"{bits} & 0x7fffffffu", "b32")
        if self.type == "s32":
            return self.set(f"{self.value(1)} < 0 ? 0u - {self.bits(1)} : {self.bits(1)}")
        raise self.unknown()

    def do_neg(self) -> str:
        if self.type == "f32":
            bits = f"flushed({self.bits(1)})" if self.ftz else self.bits(1)
            return self.set(f"{bits} ^ 0x80000000u", "b32")
        return self.set(f"0u - {self.value(1, 'u' + self.type[1:])}")

    def do_copysign(self) -> str:
        sign, magnitude = self.bits(1), self.bits(2)
        return self.set(f"({sign} & 0x80000000u) | ({magnitude} & 0x7fffffffu)", "b32")

    def do_min(self) -> str:
        return self.extreme("min", "<")

    def do_max(self) -> str:
        return self.extreme("max", ">")

    def extreme(self, name: str, operator: str) -> str:
        if self.type == "f32":
            if self.modifiers not in (["ftz", "f32"], ["f32"]):
                raise self.unknown()
            result = f"U(ptx_{name}({self.value(1)}, {self.value(2)}))"
            return self.set(f"flushed({result})" if self.ftz else result, "b32")
        a, b = self.value(1), self.value(2)
        return self.set(f"{a} {operator} {b} ? {a} : {b}")

    # -- float and integer --
    def do_add(self) -> str:
        return self.sum("+")

    def do_sub(self) -> str:
        return self.sum("-")

    def sum(self, operator: str) -> str:
        if self.type == "f32":
            return self.rounded(f"{self.value(1)} {operator} {self.value(2)}")
        if self.modifiers != [self.type]:
            raise self.unknown()
        kind = "u" + self.type[1:]
        return self.set(f"{self.value(1, kind)} {operator} {self.value(2, kind)}")

    def do_mul(self) -> str:
        return (
            self.rounded(f"{self.value(1)} * {self.value(2)}")
            if self.type == "f32"
            else (self.set(self.product()))
        )

    def do_mad(self) -> str:
        half, kind = self.modifiers[0], self.type
        wide = f"{kind[0]}{2 * int(kind[1:])}" if half == "wide" else kind
        if half not in ("wide", "lo"):
            raise self.unknown()
        return self.set(f"{self.product()} + {self.value(3, 'u' + wide[1:])}", wide)

    def product(self) -> str:
        half, kind = self.modifiers[0], self.type
        width = int(kind[1:])
        if half == "wide":
            # The product of two halves always fits the whole.
            whole = C_TYPES[f"{kind[0]}{2 * width}"]
            return f"(uint{2 * width}_t)(({whole}){self.value(1)} * ({whole}){self.value(2)})"
        if half == "lo":
            unsigned = "u" + kind[1:]
            return (
                f"(uint{width}_t)({self.value(1, unsigned)} * (uint64_t){self.value(2, unsigned)})"
            )
        if half == "hi" and width == 32:
            long = "int64_t" if kind[0] == "s" else "uint64_t"
            return f"(uint32_t)((({long}){self.value(1)} * ({long}){self.value(2)}) >> 32)"
        raise self.unknown()

    # -- bits --
    def do_shl(self) -> str:
        return self.set(f"shl{self.type[1:]}({self.bits(1)}, {self.bits(2)})")

    def do_shr(self) -> str:
        macro = "SHR" if self.type[0] == "s" else "SHR_U"
        kind = C_TYPES[self.type]
        return self.set(
            f"{macro}({kind}, {self.type[1:]}, {self.bits(1)}, (uint32_t){self.bits(2)})"
        )

    def do_and(self) -> str:
        return self.set(f"{self.bits(1)} & {self.bits(2)}")

    def do_or(self) -> str:
        return self.set(f"{self.bits(1)} | {self.bits(2)}")

    def do_xor(self) -> str:
        return self.set(f"{self.bits(1)} ^ {self.bits(2)}")

    def do_not(self) -> str:
        return self.set(f"!{self.bits(1)}" if self.type == "pred" else f"~{self.bits(1)}")

    def do_lop3(self) -> str:
        return self.set(f"lop3({', '.join(self.bits(i) for i in range(1, 5))})")

    def do_prmt(self) -> str:
        return self.set(f"prmt({', '.join(self.bits(i) for i in range(1, 4))})")

    # -- conversions --
    def do_cvt(self) -> str:
        *how, to, from_ = [m for m in self.modifiers if m != "ftz"]
        if to == "f32" and from_ == "f32":
            rounds = {"rzi": "trunc", "rmi": "floor", "rpi": "ceil", "rni": "rint"}
            if len(how) == 1 and how[0] in rounds:
                source = f"F(flushed({self.bits(1)}))" if self.ftz else f"F({self.bits(1)})"
                return self.set(f"__builtin_{rounds[how[0]]}f({source})", "f32")
        elif to == "f32" and how == ["rn"] and from_[0] in "us":
            return self.set(f"(float){self.value(1, from_)}", "f32")
        elif from_ == "f32" and to in ("s32", "u32", "s64") and len(how) == 1:
            rounds = {"rzi": "trunc", "rmi": "floor", "rpi": "ceil", "rni": "rint"}
            if how[0] in rounds:
                return self.set(f"to_{to}(__builtin_{rounds[how[0]]}f(F({self.bits(1)})))", to)
        elif to[0] in "us" and from_[0] in "us" and not how:
            return self.set(f"({C_TYPES[to]}){self.value(1, from_)}", to)
        raise self.unknown()


def split(arguments: str) -> list[str]:
    """Split at commas outside brackets and braces."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(arguments):
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append(arguments[start:i])
            start = i + 1
    return [p for p in [*parts, arguments[start:]] if p.strip()]


def translate(ptx: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """PTX to C: the source, the names of its kernels and the distinct opcodes.

    Raises
    ------
    PtxError
        An instruction or directive is unknown.
    """
    ptx = re.sub(r"//[^\n]*", "", ptx)
    bodies, names, opcodes, number = [], [], {}, 0
    kernel = r"\.visible\s+\.entry\s+(\w+)\s*\((.*?)\)\s*([^{]*)\{(.*?)\n\}"
    for name, parameter_list, _, body in re.findall(kernel, ptx, re.S):
        parameters = {p: i for i, p in enumerate(re.findall(r"(\w+_param_\d+)", parameter_list))}
        lines = []
        for text in re.split(r";|(?<=:)\s*\n", body):
            text = " ".join(text.split())
            if not text or text.startswith((".pragma", ".loc")):
                continue
            if text.endswith(":"):
                lines.append(text.replace("$", "") + ";")
            elif text.startswith(".reg"):
                kind, prefix, count = re.fullmatch(r"\.reg \.(\w+) %(\w+)<(\d+)>", text).groups()
                if kind not in C_TYPES:
                    raise PtxError(text)
                every = ", ".join(f"{prefix}{i} = 0" for i in range(int(count)))
                lines.append(f"{C_TYPES[kind]} {every};")
            elif text.startswith("."):
                raise PtxError(text)
            else:
                guard = re.match(r"@(!?)%(\w+) (.*)", text)
                prefix = f"if ({guard[1]}{guard[2]}) " if guard else ""
                text = guard[3] if guard else text
                opcode = text.split()[0]
                opcodes[opcode] = None
                if opcode == "ret":
                    lines.append(prefix + "return;")
                elif opcode in ("bra", "bra.uni"):
                    label = text.split()[1].replace("$", "")
                    # Backwards: lanes that are in the same turn of a loop run together.
                    again = "turned(); " if f"{label}:;" in lines else ""
                    lines.append(f"{prefix}{{ {again}goto {label}; }}")
                else:
                    number += 1
                    lines.append(prefix + Instruction(text, number, parameters).statement())
        names.append(name)
        bodies.append(
            f"static void kernel_{name}(const Special *S, void **P)\n{{\n"
            + "\n".join(lines)
            + "\n}\n"
            f"void run_{name}(const uint32_t *g, const uint32_t *b, void **P, int workers)\n"
            f"{{ run(kernel_{name}, g, b, P, workers); }}\n"
            f"uint64_t trace_{name}(const uint32_t *g, const uint32_t *b, void **P,"
            " const uint64_t *warps, uint32_t count, Load *loads, uint64_t room)\n"
            f"{{ return trace(kernel_{name}, g, b, P, warps, count, loads, room); }}\n"
        )
    if not names:
        raise PtxError("no kernel")
    source = f"{PRELUDE}\n" + "\n".join(bodies)
    return source, tuple(names), tuple(opcodes)


@cache
def load_program(ptx: str) -> Program:
    """Translate, compile and load PTX."""
    source, names, opcodes = translate(ptx)
    library = shared_library(source, ("-O1", "-fno-strict-aliasing", "-lm"), ".c")
    for name in names:
        getattr(library, f"run_{name}").argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int]
        getattr(library, f"run_{name}").restype = None
        getattr(library, f"trace_{name}").argtypes = [
            *[ctypes.c_void_p] * 4, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64,
        ]  # fmt: skip
        getattr(library, f"trace_{name}").restype = ctypes.c_uint64
    return Program(library, names, opcodes)


def execute(
    program: Program,
    name: str,
    grid: ctypes.Array,
    block: ctypes.Array,
    arguments: ctypes.Array,
    workers: int,
) -> None:
    """Run one kernel over its grid; the arguments are as cuLaunchKernel takes them."""
    getattr(program.library, f"run_{name}")(grid, block, arguments, workers)


def trace(
    program: Program,
    name: str,
    grid: ctypes.Array,
    block: ctypes.Array,
    arguments: ctypes.Array,
    warps: NDArray[np.uint64],
) -> NDArray:
    """Every load from global memory by some warps of a launch.

    Returns
    -------
    `(loads,)` records of `LOAD`. Loads of a warp that belong together are those of one
    instruction in the same turn of its loop, lanes that skip the body of a turn included: so
    lanes run on the hardware, which brings them together again at the end of a branch.
    """
    call = getattr(program.library, f"trace_{name}")
    room = 0
    while True:
        loads = np.empty(room, LOAD)
        found = call(grid, block, arguments, warps.ctypes.data, len(warps), loads.ctypes.data, room)
        if found <= room:
            return loads[:found]
        room = found
