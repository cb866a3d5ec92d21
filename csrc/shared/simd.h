/* The macros of the core that depend on the compiler or the processor.
 *
 * rows_impl.h is compiled once per instruction set and element type. It is written with GCC/Clang vector
 * extensions, so the same lines become AVX-512, AVX2 or the machine's baseline (SSE2, NEON). The choice is
 * made at run time, per process, by mf_isa(). */
#ifndef MIXFAST_SIMD_H
#define MIXFAST_SIMD_H

#include "isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define MF_X86 1
#else
#define MF_X86 0
#endif

#define MF_PRAGMA(x) _Pragma(#x)

/* Unroll the loop that follows, so that small arrays of vectors stay in registers. */
#if defined(__clang__)
#define MF_UNROLL(n) MF_PRAGMA(clang loop unroll_count(n))
#else
#define MF_UNROLL(n) MF_PRAGMA(GCC unroll n)
#endif

/* Make the compiler take a vector as computed: the operations before and after it are not fused. */
#if MF_X86
#define MF_ROUNDED(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define MF_ROUNDED(x) __asm__("" : "+w"(x))
#else
#define MF_ROUNDED(x) ((void)0)
#endif

/* Open and close a region compiled for one instruction set. */
#if MF_X86 && defined(__clang__)
#define MF_TARGET_BEGIN_V3 \
    MF_PRAGMA(clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2,f16c"))), apply_to = function))
#define MF_TARGET_BEGIN_V4                                                                                      \
    MF_PRAGMA(clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c"))), \
                                   apply_to = function))
#define MF_TARGET_END MF_PRAGMA(clang attribute pop)
#elif MF_X86
#define MF_TARGET_BEGIN_V3 MF_PRAGMA(GCC push_options) MF_PRAGMA(GCC target("avx2,fma,bmi,bmi2,f16c"))
#define MF_TARGET_BEGIN_V4 \
    MF_PRAGMA(GCC push_options) MF_PRAGMA(GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2,f16c"))
#define MF_TARGET_END MF_PRAGMA(GCC pop_options)
#endif

/* Define a function whose plain loops are compiled for each instruction set; the body follows. Each call takes the one
 * that mf_isa() names. `target_clones` of the compilers would not obey MIXFAST_ISA, and needs a run-time library
 * that zig lacks.
 *
 *     MF_CLONES(static, double, dot, (ptrdiff_t n, const double *x, const double *y), (n, x, y)) { ... }
 */
#if MF_X86
#define MF_V3 __attribute__((target("avx2,fma,bmi,bmi2,f16c")))
#define MF_V4 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2,f16c")))
#define MF_CLONES(linkage, type, name, parameters, arguments)                   \
    static inline __attribute__((always_inline)) type name##_any parameters;    \
    MF_V4 static type name##_v4 parameters { return name##_any arguments; }     \
    MF_V3 static type name##_v3 parameters { return name##_any arguments; }     \
    static type name##_v1 parameters { return name##_any arguments; }           \
    linkage type name parameters {                                              \
        if (mf_isa() == MF_AVX512) return name##_v4 arguments;                  \
        return mf_isa() == MF_AVX2 ? name##_v3 arguments : name##_v1 arguments; \
    }                                                                           \
    static inline __attribute__((always_inline)) type name##_any parameters
#else
#define MF_CLONES(linkage, type, name, parameters, arguments) linkage type name parameters
#endif

#endif
