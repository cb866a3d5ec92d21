/* The macros of the core that depend on the compiler or the processor.
 *
 * rows_impl.h is compiled once per instruction set and element type. It is written with GCC/Clang vector
 * extensions, so the same lines become AVX-512, AVX2 or the machine's baseline (SSE2, NEON). The choice is
 * made at run time, per process, by mf_isa(). */
#ifndef MIXFAST_SIMD_H
#define MIXFAST_SIMD_H

#if defined(__x86_64__) && defined(__GNUC__)
#define MF_X86 1
#else
#define MF_X86 0
#endif

/* A function whose plain loops are worth compiling for several instruction sets; the loader picks one. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) && \
    !defined(__SANITIZE_ADDRESS__)
#define MF_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MF_CLONES
#endif

#define MF_PRAGMA(x) _Pragma(#x)

/* Unroll the loop that follows, so that small arrays of vectors stay in registers. */
#if defined(__clang__)
#define MF_UNROLL(n) MF_PRAGMA(clang loop unroll_count(n))
#else
#define MF_UNROLL(n) MF_PRAGMA(GCC unroll n)
#endif

/* Makes the compiler take a vector as it is: what went into it is not fused into what comes next. */
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
#define MF_TARGET_BEGIN_V4                                                                                 \
    MF_PRAGMA(clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), \
                                   apply_to = function))
#define MF_TARGET_END MF_PRAGMA(clang attribute pop)
#elif MF_X86
#define MF_TARGET_BEGIN_V3 MF_PRAGMA(GCC push_options) MF_PRAGMA(GCC target("avx2,fma,bmi,bmi2,f16c"))
#define MF_TARGET_BEGIN_V4 \
    MF_PRAGMA(GCC push_options) MF_PRAGMA(GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2,f16c"))
#define MF_TARGET_END MF_PRAGMA(GCC pop_options)
#endif

#endif
