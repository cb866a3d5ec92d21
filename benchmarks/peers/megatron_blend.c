// Error diffusion, as `build_blending_indices` of Megatron-LM's helpers.cpp: the domain that lacks most comes next.
#include <stdint.h>
void blend(int16_t *dataset, int64_t *sample, const double *weight, int32_t n, int64_t size, int64_t *count) {
    for (int32_t i = 0; i < n; i++) count[i] = 0;
    for (int64_t k = 0; k < size; k++) {
        const double t = k > 1 ? (double)k : 1.0;
        double most = weight[0] * t - (double)count[0];
        int64_t best = 0;
        for (int64_t i = 1; i < n; i++) {
            const double lacks = weight[i] * t - (double)count[i];
            if (lacks > most) most = lacks, best = i;
        }
        dataset[k] = (int16_t)best;
        sample[k] = count[best]++;
    }
}
