// AdamW on weights that are a bf16 number and, apart, the rest of an f32 one.
#include "common.h"

// A master weight's bits are ((half - (rest >> 15)) << 16) | rest: the half is the f32 number rounded to
// bf16, halfway cases up, so that the two name one number.
FUNCTION float master_of(bf16 half, bf16 rest) {
    return of_bits((((u32)half - ((u32)rest >> 15)) << 16) | rest);
}

// f32 -> half and rest.
struct split_master {
    const float *x;
    bf16 *halves;
    bf16 *rests;
    u64 n;
};
KERNEL(split_master) {
    EACH(t) {
        const u64 i = (u64)BLOCK_X * THREADS + t;
        if (i < a.n) {
            const u32 bits = bits_of(a.x[i]);
            a.halves[i] = (bf16)((bits + 0x8000u) >> 16);
            a.rests[i] = (bf16)bits;
        }
    }
}

// half and rest -> f32.
struct join_master {
    const bf16 *halves;
    const bf16 *rests;
    float *x;
    u64 n;
};
KERNEL(join_master) {
    EACH(t) {
        const u64 i = (u64)BLOCK_X * THREADS + t;
        if (i < a.n) a.x[i] = master_of(a.halves[i], a.rests[i]);
    }
}

// The sum of a block's g * g, THREADS * SQUARES numbers each.
#define SQUARES 64
struct square_sums {
    struct numbers gradient;
    float *sums;
    u64 n;
};
KERNEL(square_sums) {
    SHARED float each[THREADS];
    EACH(t) {
        float sum = 0;
        for (u32 k = 0; k < SQUARES; k++) {
            const u64 i = ((u64)BLOCK_X * SQUARES + k) * THREADS + t;
            if (i < a.n) {
                const float g = number_at(a.gradient, i);
                sum += g * g;
            }
        }
        each[t] = sum;
    }
    const float sum = sum_of(each);
    EACH(t) {
        if (t == 0) a.sums[BLOCK_X] = sum;
    }
}

// How moments are kept: f32; bf16, the second rounded at random; 8 bits, companded by the largest of a block
// of THREADS numbers.
#define MOMENTS_F32 0
#define MOMENTS_BF16 1
#define MOMENTS_8BIT 2

struct moments {
    void *first;
    void *second;
    // Of each block of 8-bit moments.
    float *first_largest;
    float *second_largest;
    u32 kind;
    // Of bf16's random roundings.
    u32 seed;
};

// A hash of the seed and a number's place, by Wellons' lowbias32.
FUNCTION u32 noise_of(u32 seed, u64 i) {
    u32 x = seed ^ (u32)i ^ ((u32)(i >> 32) * 0x9e3779b9u);
    x ^= x >> 16;
    x *= 0x21f0aaadu;
    x ^= x >> 15;
    x *= 0x735a2d97u;
    return x ^ (x >> 15);
}

// Weights drawn from N(0, std^2), or all of one number where std is 0, by the hashes of two places a weight.
struct draw {
    bf16 *halves;
    bf16 *rests;
    u64 n;
    float mean, std;
    u32 seed;
};
KERNEL(draw) {
    EACH(t) {
        const u64 i = (u64)BLOCK_X * THREADS + t;
        if (i < a.n) {
            // Inside (0, 1], of 24 bits each.
            const u32 seed = noise_of(a.seed, 0);
            const float u = ((noise_of(seed, 2 * i) >> 8) + 1) * 5.9604645e-8f;
            const float v = (noise_of(seed, 2 * i + 1) >> 8) * 5.9604645e-8f;
            const float x = a.mean + a.std * sqrtf(-2.0f * logf(u)) * cosf(6.2831853f * v);
            const u32 bits = bits_of(x);
            a.halves[i] = (bf16)((bits + 0x8000u) >> 16);
            a.rests[i] = (bf16)bits;
        }
    }
}

// w <- keep * w - step_size * m / (second_scale * sqrt(v) + epsilon); a block of 8-bit moments a block.
struct adamw {
    bf16 *halves;
    bf16 *rests;
    struct numbers gradient;
    struct moments moments;
    u64 n;
    float clip, beta1, beta2, step_size, second_scale, epsilon, keep;
};
KERNEL(adamw) {
    SHARED float first[THREADS], second[THREADS], sizes[THREADS];
    const struct moments kept = a.moments;
    const u64 start = (u64)BLOCK_X * THREADS;
    EACH(t) {
        const u64 i = start + t;
        first[t] = second[t] = 0;
        if (i < a.n) {
            const float g = number_at(a.gradient, i) * a.clip;
            float m, v;
            if (kept.kind == MOMENTS_F32) {
                m = ((const float *)kept.first)[i];
                v = ((const float *)kept.second)[i];
            } else if (kept.kind == MOMENTS_BF16) {
                m = wide(((const bf16 *)kept.first)[i]);
                v = wide(((const bf16 *)kept.second)[i]);
            } else {
                const float p = ((const signed char *)kept.first)[i] / 127.0f;
                const float q = ((const unsigned char *)kept.second)[i] / 255.0f;
                m = p * fabsf(p) * kept.first_largest[BLOCK_X];
                v = q * q * q * q * kept.second_largest[BLOCK_X];
            }
            m = a.beta1 * m + (1.0f - a.beta1) * g;
            v = a.beta2 * v + (1.0f - a.beta2) * g * g;
            const float w = master_of(a.halves[i], a.rests[i]);
            const u32 bits = bits_of(w * a.keep - a.step_size * m / (sqrtf(v) * a.second_scale + a.epsilon));
            a.halves[i] = (bf16)((bits + 0x8000u) >> 16);
            a.rests[i] = (bf16)bits;
            first[t] = m;
            second[t] = v;
        }
        sizes[t] = fabsf(first[t]);
    }
    float first_largest = 0, second_largest = 0;
    if (kept.kind == MOMENTS_8BIT) {
        first_largest = largest_of(sizes);
        EACH(t) sizes[t] = second[t];
        second_largest = largest_of(sizes);
    }
    EACH(t) {
        const u64 i = start + t;
        if (i < a.n && kept.kind == MOMENTS_F32) {
            ((float *)kept.first)[i] = first[t];
            ((float *)kept.second)[i] = second[t];
        } else if (i < a.n && kept.kind == MOMENTS_BF16) {
            ((bf16 *)kept.first)[i] = narrow(first[t]);
            ((bf16 *)kept.second)[i] = (bf16)((bits_of(second[t]) + (noise_of(kept.seed, i) & 0xffffu)) >> 16);
        } else if (i < a.n) {
            const float p = first_largest > 0 ? sqrtf(fabsf(first[t]) / first_largest) * 127.0f : 0;
            const float q = second_largest > 0 ? sqrtf(sqrtf(second[t] / second_largest)) * 255.0f : 0;
            const float sign = first[t] < 0 ? -1.0f : 1.0f;
            ((signed char *)kept.first)[i] = (signed char)(sign * (u32)(p + 0.5f));
            ((unsigned char *)kept.second)[i] = (unsigned char)(q + 0.5f);
            if (t == 0) {
                kept.first_largest[BLOCK_X] = first_largest;
                kept.second_largest[BLOCK_X] = second_largest;
            }
        }
    }
}
