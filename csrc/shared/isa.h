/* The instruction set that this process uses, of those that the core is compiled for. */
#ifndef MIXFAST_ISA_H
#define MIXFAST_ISA_H

enum { MF_BASELINE = 1, MF_AVX2 = 3, MF_AVX512 = 4 }; /* SSE2 or NEON; x86-64-v3; x86-64-v4 */

/* The best one that the CPU has. MIXFAST_ISA=baseline|avx2|avx512 lowers the choice, for tests. */
int mf_isa(void);

#endif
