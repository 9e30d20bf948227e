// One number after the other: SwiGLU, roundings, rows of a table.
#include "common.h"

FUNCTION float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// gate_up [rows][2][ff] -> silu(gate) * up [rows][ff]. A row of x, y a stretch of THREADS columns.
struct swiglu {
    const bf16 *gate_up;
    bf16 *out;
    u32 ff;
};
KERNEL(swiglu) {
    const u64 gate = (u64)BLOCK_X * 2 * a.ff, out = (u64)BLOCK_X * a.ff;
    EACH(t) {
        const u32 i = BLOCK_Y * THREADS + t;
        if (i < a.ff) {
            const float g = wide(a.gate_up[gate + i]), u = wide(a.gate_up[gate + a.ff + i]);
            a.out[out + i] = narrow(g * sigmoid(g) * u);
        }
    }
}

// In place of gate and up, their gradients; in place of the gradient of swiglu's result, that result.
struct swiglu_backward {
    bf16 *gate_up;
    bf16 *d_out;
    u32 ff;
};
KERNEL(swiglu_backward) {
    const u64 gate = (u64)BLOCK_X * 2 * a.ff, out = (u64)BLOCK_X * a.ff;
    EACH(t) {
        const u32 i = BLOCK_Y * THREADS + t;
        if (i < a.ff) {
            const float g = wide(a.gate_up[gate + i]), u = wide(a.gate_up[gate + a.ff + i]);
            const float s = sigmoid(g), d = wide(a.d_out[out + i]);
            a.gate_up[gate + i] = narrow(d * u * s * (1.0f + g * (1.0f - s)));
            a.gate_up[gate + a.ff + i] = narrow(d * g * s);
            a.d_out[out + i] = narrow(g * s * u);
        }
    }
}

// f32 -> bf16.
struct to_bf16 {
    const float *x;
    bf16 *out;
    u64 n;
};
KERNEL(to_bf16) {
    EACH(t) {
        const u64 i = (u64)BLOCK_X * THREADS + t;
        if (i < a.n) a.out[i] = narrow(a.x[i]);
    }
}

// Row ids[row] of a table; not a number where there is no such row. A row a block.
struct gather {
    struct numbers table;
    const u32 *ids;
    struct numbers out;
    u32 d, rows;
};
KERNEL(gather) {
    const u32 id = a.ids[BLOCK_X];
    const u64 from = (u64)id * a.d, to = (u64)BLOCK_X * a.d;
    EACH(t) {
        for (u32 i = t; i < a.d; i += THREADS) {
            put(a.out, to + i, id < a.rows ? number_at(a.table, from + i) : of_bits(0x7fc00000u));
        }
    }
}

// Row ids[row] of a table and row of[row] of shifts, added; not a number where there is no such row. A row a
// block.
struct gather_shifted {
    const float *table;
    const u32 *ids;
    const float *shifts;
    const u32 *of;
    bf16 *out;
    u32 d, rows, shift_rows;
};
KERNEL(gather_shifted) {
    const u32 id = a.ids[BLOCK_X], shift = a.of[BLOCK_X];
    const u64 from = (u64)id * a.d, more = (u64)shift * a.d, to = (u64)BLOCK_X * a.d;
    EACH(t) {
        for (u32 i = t; i < a.d; i += THREADS) {
            const int is = id < a.rows && shift < a.shift_rows;
            a.out[to + i] = narrow(is ? a.table[from + i] + a.shifts[more + i] : of_bits(0x7fc00000u));
        }
    }
}

// gradient[ids[i]] += d_out[order[j]] for the j from starts[i] to before starts[i + 1], in order. A token id a
// block: `order` holds the rows sorted by token, so that no two blocks add to the same row.
struct gather_backward {
    const float *d_out;
    const u32 *ids;
    const u32 *starts;
    const u32 *order;
    struct numbers gradient;
    u32 d, rows, tokens;
};
KERNEL(gather_backward) {
    const u32 first = a.starts[BLOCK_X], end = a.starts[BLOCK_X + 1], id = a.ids[BLOCK_X];
    EACH(t) {
        for (u32 i = t; i < a.d && id < a.rows; i += THREADS) {
            float sum = 0;
            for (u32 j = first; j < end && j < a.tokens; j++) {
                const u32 from = a.order[j];
                if (from < a.tokens) sum += a.d_out[(u64)from * a.d + i];
            }
            add_to(a.gradient, (u64)id * a.d + i, sum);
        }
    }
}
