// CUDA C++ on the host: what a kernel without barriers, textures or atomics needs.
//
// Included before a kernel's source. Every float operation has the one meaning that IEEE 754 and
// the PTX manual give it (-ffp-contract=off on the command line, subnormals flushed as
// `-ftz=true` does), so the results can be compared with those of a GPU bit by bit. Whatever has no
// such meaning (approximate intrinsics) or needs threads to wait for each other is left out: a
// kernel that uses it does not compile here.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__

namespace host {
struct Index { unsigned x, y, z; };
}
static thread_local host::Index threadIdx, blockIdx, blockDim, gridDim;

#define HOST_VECTORS(T)                                                                         \
    struct alignas(2 * sizeof(T)) T##2 { T x, y; };                                             \
    struct T##3 { T x, y, z; };                                                                 \
    struct alignas(4 * sizeof(T)) T##4 { T x, y, z, w; };                                       \
    static inline T##2 make_##T##2(T x, T y) { return {x, y}; }                                 \
    static inline T##3 make_##T##3(T x, T y, T z) { return {x, y, z}; }                         \
    static inline T##4 make_##T##4(T x, T y, T z, T w) { return {x, y, z, w}; }
HOST_VECTORS(short)
HOST_VECTORS(int)
HOST_VECTORS(float)

// ---- float and integer functions ----------------------------------------------------------------
// The minimum of a number and NaN is the number, and -0 is less than +0 (PTX ISA, min and max).
static inline float host_fminf(float a, float b)
{
    return a != a ? b : b != b ? a : (a < b || (a == b && std::signbit(a))) ? a : b;
}
static inline float host_fmaxf(float a, float b)
{
    return a != a ? b : b != b ? a : (a > b || (a == b && !std::signbit(a))) ? a : b;
}
#define fminf host_fminf
#define fmaxf host_fmaxf
static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return b > a ? b : a; }
static inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
static inline unsigned max(unsigned a, unsigned b) { return b > a ? b : a; }
static inline long long min(long long a, long long b) { return b < a ? b : a; }
static inline long long max(long long a, long long b) { return b > a ? b : a; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }

static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float __saturatef(float a) { return a != a ? 0.0f : fminf(fmaxf(a, 0.0f), 1.0f); }

// CUDA's conversions saturate and send NaN to 0, where a C++ cast would be undefined.
static inline int host_to_int(float a)
{
    return a != a ? 0 : a >= 2147483648.0f ? INT32_MAX : a < -2147483648.0f ? INT32_MIN : (int)a;
}
static inline int __float2int_rz(float a) { return host_to_int(a); }
static inline int __float2int_rd(float a) { return host_to_int(floorf(a)); }
static inline int __float2int_ru(float a) { return host_to_int(ceilf(a)); }
static inline int __float2int_rn(float a) { return host_to_int(rintf(a)); }
static inline float __int2float_rn(int a) { return (float)a; }
template <class To, class From> static inline To host_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __int_as_float(int a) { return host_bits<float>(a); }
static inline int __float_as_int(float a) { return host_bits<int>(a); }
static inline float __uint_as_float(unsigned a) { return host_bits<float>(a); }
static inline unsigned __float_as_uint(float a) { return host_bits<unsigned>(a); }

template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcs(const T* p) { return *p; }
template <class T> static inline void __stcs(T* p, T value) { *p = value; }

// ---- launching ----------------------------------------------------------------------------------
namespace host {

// NumPy's spelling of a parameter's type, with P (writable) or C (const) before a pointee's.
template <class T> constexpr const char* type_name()
{
    if constexpr (std::is_pointer_v<T>) {
        using U = std::remove_pointer_t<T>;
        using V = std::remove_cv_t<U>;
        constexpr bool c = std::is_const_v<U>;
        if constexpr (std::is_same_v<V, float>) return c ? "Cf4" : "Pf4";
        else if constexpr (std::is_same_v<V, float2>) return c ? "Cf4" : "Pf4";
        else if constexpr (std::is_same_v<V, float4>) return c ? "Cf4" : "Pf4";
        else if constexpr (std::is_same_v<V, short>) return c ? "Ci2" : "Pi2";
        else if constexpr (std::is_same_v<V, unsigned short>) return c ? "Cu2" : "Pu2";
        else if constexpr (std::is_same_v<V, int>) return c ? "Ci4" : "Pi4";
        else if constexpr (std::is_same_v<V, unsigned>) return c ? "Cu4" : "Pu4";
        else if constexpr (std::is_same_v<V, unsigned char>) return c ? "Cu1" : "Pu1";
        else return c ? "C?" : "P?";
    } else if constexpr (std::is_floating_point_v<T>) {
        return sizeof(T) == 4 ? "f4" : "f8";
    } else if constexpr (std::is_integral_v<T>) {
        constexpr bool s = std::is_signed_v<T>;
        return sizeof(T) == 1   ? (s ? "i1" : "u1")
               : sizeof(T) == 2 ? (s ? "i2" : "u2")
               : sizeof(T) == 4 ? (s ? "i4" : "u4")
                                : (s ? "i8" : "u8");
    } else {
        return "?";
    }
}

template <class... A> const char* signature(void (*)(A...))
{
    static char text[64 * (sizeof...(A) + 1)] = "";
    if (!text[0]) ((std::strcat(text, type_name<A>()), std::strcat(text, " ")), ...);
    return text;
}

static inline void flush_subnormals()
{
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | (1ull << 24)));
#endif
}

static inline Index unravel(uint64_t flat, Index size)
{
    return {(unsigned)(flat % size.x), (unsigned)(flat / size.x % size.y),
            (unsigned)(flat / ((uint64_t)size.x * size.y))};
}

// As cuLaunchKernel: `arguments` points to the parameters. `workers` threads of the machine share
// the blocks; `backwards` runs them last to first. With HOST_RACES neighbouring CUDA threads run on
// different threads of the machine, so that ThreadSanitizer sees what they share.
template <class... A, size_t... I>
void launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, void** arguments,
            int workers, int backwards, std::index_sequence<I...>)
{
    const Index blocks{grid[0], grid[1], grid[2]}, size{block[0], block[1], block[2]};
    const uint64_t count = (uint64_t)blocks.x * blocks.y * blocks.z;
    const uint64_t threads = (uint64_t)size.x * size.y * size.z;
    std::atomic<uint64_t> next{0};
    auto run = [&](uint64_t b, uint64_t t) {
        blockIdx = unravel(backwards ? count - 1 - b : b, blocks);
        threadIdx = unravel(backwards ? threads - 1 - t : t, size);
        kernel(*(std::remove_reference_t<A>*)arguments[I]...);
    };
    auto work = [&](int worker) {
        flush_subnormals();
        gridDim = blocks;
        blockDim = size;
#ifdef HOST_RACES
        for (uint64_t i = worker; i < count * threads; i += workers) run(i / threads, i % threads);
#else
        (void)worker;
        for (uint64_t b; (b = next.fetch_add(1)) < count;)
            for (uint64_t t = 0; t < threads; ++t) run(b, t);
#endif
    };
    std::vector<std::thread> pool;
    for (int worker = 0; worker < workers; ++worker) pool.emplace_back(work, worker);
    for (auto& thread : pool) thread.join();
}

template <class... A>
void launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, void** arguments,
            int workers, int backwards)
{
    launch(kernel, grid, block, arguments, workers, backwards, std::index_sequence_for<A...>{});
}

}  // namespace host

// Exports one kernel: its launcher and its signature.
#define HOST_EXPORT(NAME)                                                                        \
    extern "C" __attribute__((visibility("default"))) void launch_##NAME(                        \
        const unsigned* grid, const unsigned* block, void** arguments, int workers, int back)    \
    { host::launch(NAME, grid, block, arguments, workers, back); }                               \
    extern "C" __attribute__((visibility("default"))) const char* signature_##NAME()             \
    { return host::signature(NAME); }
