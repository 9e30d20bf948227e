// RMSNorm, forward and backward, a row of d numbers a block.
#include "common.h"

// out = x / rms(x) * weight.
struct rms_norm {
    const float *x;
    const bf16 *weight;
    struct numbers out;
    float *inverse;
    u32 d;
    float eps;
};
KERNEL(rms_norm) {
    SHARED float squares[THREADS];
    const u64 row = (u64)BLOCK_X * a.d;
    const float *x = a.x + row;
    EACH(t) {
        float sum = 0;
        for (u32 i = t; i < a.d; i += THREADS) sum += x[i] * x[i];
        squares[t] = sum;
    }
    const float inverse = 1.0f / sqrtf(sum_of(squares) / a.d + a.eps);
    EACH(t) {
        if (t == 0) a.inverse[BLOCK_X] = inverse;
        for (u32 i = t; i < a.d; i += THREADS) put(a.out, row + i, x[i] * inverse * wide(a.weight[i]));
    }
}

// dx += what flows back through rms_norm to x.
struct rms_norm_backward {
    const float *d_out;
    const float *x;
    const float *inverse;
    const bf16 *weight;
    float *dx;
    u32 d;
};
KERNEL(rms_norm_backward) {
    SHARED float along[THREADS];
    const u64 row = (u64)BLOCK_X * a.d;
    const float *g = a.d_out + row, *x = a.x + row, inverse = a.inverse[BLOCK_X];
    EACH(t) {
        float sum = 0;
        for (u32 i = t; i < a.d; i += THREADS) sum += g[i] * wide(a.weight[i]) * x[i];
        along[t] = sum;
    }
    // d rms^-1 / dx brings the projection on x.
    const float projection = sum_of(along) * inverse * inverse / a.d;
    EACH(t) {
        for (u32 i = t; i < a.d; i += THREADS) {
            a.dx[row + i] += inverse * (g[i] * wide(a.weight[i]) - x[i] * projection);
        }
    }
}

// Sums over a stretch of rows of d_out * x / rms(x), a column a thread: partial[stretch][column].
struct rms_norm_weight {
    const float *d_out;
    const float *x;
    const float *inverse;
    float *partial;
    u32 d;
    u32 rows;
    u32 stretch;
};
KERNEL(rms_norm_weight) {
    const u32 first = BLOCK_Y * a.stretch;
    const u32 end = first + a.stretch < a.rows ? first + a.stretch : a.rows;
    EACH(t) {
        const u32 column = BLOCK_X * THREADS + t;
        if (column < a.d) {
            float sum = 0;
            for (u32 row = first; row < end; row++) {
                const u64 at = (u64)row * a.d + column;
                sum += a.d_out[at] * a.x[at] * a.inverse[row];
            }
            a.partial[(u64)BLOCK_Y * a.d + column] = sum;
        }
    }
}

// gradient[column] += the sum over stretches of partial[stretch][column].
struct add_columns {
    const float *partial;
    struct numbers gradient;
    u32 d;
    u32 stretches;
};
KERNEL(add_columns) {
    EACH(t) {
        const u32 column = BLOCK_X * THREADS + t;
        if (column < a.d) {
            float sum = 0;
            for (u32 i = 0; i < a.stretches; i++) sum += a.partial[(u64)i * a.d + column];
            add_to(a.gradient, column, sum);
        }
    }
}
