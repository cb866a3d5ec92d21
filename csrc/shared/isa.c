#include "isa.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "simd.h"

#if MF_X86
#include <cpuid.h>

/* State that the operating system saves when it switches threads: bits of XCR0. */
enum { SAVES_YMM = 0x06, SAVES_ZMM = 0xe6 };

/* Asked of the CPU itself: __builtin_cpu_supports() needs a run-time library that not every compiler brings, and
 * answers 0 without it. */
static int supported(void) {
    unsigned eax, ebx, ecx, edx, features, saves;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) return MF_BASELINE;
    features = ecx;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return MF_BASELINE;
    __asm__ volatile("xgetbv" : "=a"(saves), "=d"(edx) : "c"(0));
    const unsigned first = bit_FMA | bit_F16C, second = bit_AVX2 | bit_BMI | bit_BMI2;
    const unsigned third = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    if ((saves & SAVES_YMM) != SAVES_YMM || (features & first) != first || (ebx & second) != second) return MF_BASELINE;
    return (saves & SAVES_ZMM) == SAVES_ZMM && (ebx & third) == third ? MF_AVX512 : MF_AVX2;
}
#endif

static int detect(void) {
    int level = MF_BASELINE;
#if MF_X86
    level = supported();
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
