#include "isa.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "simd.h"

static int detect(void) {
    int level = MF_BASELINE;
#if MF_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) level = MF_AVX2;
    if (level == MF_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        level = MF_AVX512;
    const char *requested = getenv("MIXFAST_ISA");
    if (requested && !strcmp(requested, "baseline")) level = MF_BASELINE;
    if (requested && !strcmp(requested, "avx2") && level > MF_AVX2) level = MF_AVX2;
#endif
    return level;
}

int mf_isa(void) {
    static _Atomic int known = 0;
    int level = atomic_load_explicit(&known, memory_order_relaxed);
    if (!level) {
        level = detect();
        atomic_store_explicit(&known, level, memory_order_relaxed);
    }
    return level;
}
