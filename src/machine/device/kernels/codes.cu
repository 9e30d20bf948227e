// Log-probabilities of tokens under every code at once. A code adds its bias to a state's scores, so the sum of
// exp(score + bias) is a product of two matrices of exponentials, each about its row's largest.
#include "common.h"

// exp(x - largest of the row) as the sum of two bf16 numbers. A row a block.
struct exponentials {
    const float *x;
    bf16 *high;
    bf16 *low;
    float *largest;
    u32 vocab;
};
KERNEL(exponentials) {
    SHARED float each[THREADS];
    const u64 row = (u64)BLOCK_X * a.vocab;
    EACH(t) {
        float most = LEAST;
        for (u32 v = t; v < a.vocab; v += THREADS) most = fmaxf(most, a.x[row + v]);
        each[t] = most;
    }
    const float most = largest_of(each);
    EACH(t) {
        for (u32 v = t; v < a.vocab; v += THREADS) {
            const float e = expf(a.x[row + v] - most);
            a.high[row + v] = narrow(e);
            a.low[row + v] = narrow(e - wide(narrow(e)));
        }
        if (t == 0) a.largest[BLOCK_X] = most;
    }
}

// What a state and its token are under each of the codes: [rows, codes] beside [rows, vocab] and [codes, vocab].
struct coded {
    const float *scores;
    const float *largest;
    const float *biases;
    const float *bias_largest;
    const u32 *tokens;
    // 0 where a sum is so small that it may have lost terms: then its normaliser was summed term by term.
    float *sums;
    float *normalisers;
    u32 vocab, codes;
};

// The smallest sum of products of exponentials that has lost at most one part in 1e6 to numbers below f32's.
#define SAFE_SUM 1e-26f

// logps = score + bias of the token - log of the sum of exp(score + bias). `products` holds each row's sums with
// the high parts of the biases' exponentials, then those with the low parts. A row a block.
struct code_logps {
    struct coded c;
    const float *products;
    float *logps;
};
KERNEL(code_logps) {
    SHARED float each[THREADS];
    const u32 token = a.c.tokens[BLOCK_X];
    const u64 row = (u64)BLOCK_X * a.c.vocab, cells = (u64)BLOCK_X * a.c.codes;
    const float largest = a.c.largest[BLOCK_X];
    for (u32 k = 0; k < a.c.codes; k++) {
        const u64 bias = (u64)k * a.c.vocab;
        float sum = a.products[2 * cells + k] + a.products[2 * cells + a.c.codes + k];
        float normaliser = largest + a.c.bias_largest[k] + logf(sum);
        if (!(sum >= SAFE_SUM)) {
            sum = 0;
            EACH(t) {
                float most = LEAST;
                for (u32 v = t; v < a.c.vocab; v += THREADS) most = fmaxf(most, a.c.scores[row + v] + a.c.biases[bias + v]);
                each[t] = most;
            }
            const float most = largest_of(each);
            EACH(t) {
                float part = 0;
                for (u32 v = t; v < a.c.vocab; v += THREADS) part += expf(a.c.scores[row + v] + a.c.biases[bias + v] - most);
                each[t] = part;
            }
            normaliser = most + logf(sum_of(each));
        }
        EACH(t) {
            if (t == 0) {
                const int is = token < a.c.vocab;
                a.c.sums[cells + k] = sum;
                a.c.normalisers[cells + k] = normaliser;
                a.logps[cells + k] = is ? a.c.scores[row + token] + a.c.biases[bias + token] - normaliser : of_bits(0x7fc00000u);
            }
        }
    }
}

// Shares of a gradient: d_logps / sum, 0 where the sum is.
struct code_shares {
    const float *d_logps;
    const float *sums;
    bf16 *shares;
    u64 n;
};
KERNEL(code_shares) {
    EACH(t) {
        const u64 i = (u64)BLOCK_X * THREADS + t;
        if (i < a.n) a.shares[i] = narrow(a.sums[i] > 0 ? a.d_logps[i] / a.sums[i] : 0.0f);
    }
}

// d_scores = the sum over codes of d_logps * (1 at the token - softmax under the code). `mixed` holds the shares
// times the biases' exponentials, and in their place gets the scores' exponentials. A row a block.
struct code_gradient {
    struct coded c;
    const float *d_logps;
    bf16 *mixed;
    bf16 *d_scores;
};
KERNEL(code_gradient) {
    const u32 token = a.c.tokens[BLOCK_X];
    const u64 row = (u64)BLOCK_X * a.c.vocab, cells = (u64)BLOCK_X * a.c.codes;
    const float largest = a.c.largest[BLOCK_X];
    float whole = 0;
    u32 summed = 0;
    for (u32 k = 0; k < a.c.codes; k++) {
        whole += a.d_logps[cells + k];
        summed += !(a.c.sums[cells + k] > 0);
    }
    EACH(t) {
        for (u32 v = t; v < a.c.vocab; v += THREADS) {
            const float score = a.c.scores[row + v], e = expf(score - largest);
            float d = (v == token ? whole : 0.0f) - e * wide(a.mixed[row + v]);
            for (u32 k = 0; summed && k < a.c.codes; k++) {
                if (a.c.sums[cells + k] > 0) continue;
                d -= a.d_logps[cells + k] * expf(score + a.c.biases[(u64)k * a.c.vocab + v] - a.c.normalisers[cells + k]);
            }
            a.mixed[row + v] = narrow(e);
            a.d_scores[row + v] = narrow(d);
        }
    }
}

// Of the biases' gradient [vocab, codes], what cells give that were summed term by term: of `rows` rows.
struct code_terms {
    struct coded c;
    const float *d_logps;
    float *d_biases;
    u32 rows;
};
KERNEL(code_terms) {
    EACH(t) {
        const u32 v = BLOCK_X * THREADS + t;
        for (u32 k = 0; v < a.c.vocab && k < a.c.codes; k++) {
            float d = 0;
            for (u32 i = 0; i < a.rows; i++) {
                const u64 cell = (u64)i * a.c.codes + k;
                if (a.c.sums[cell] > 0) continue;
                const float score = a.c.scores[(u64)i * a.c.vocab + v] + a.c.biases[(u64)k * a.c.vocab + v];
                d += a.d_logps[cell] * expf(score - a.c.normalisers[cell]);
            }
            a.d_biases[(u64)v * a.c.codes + k] -= d;
        }
    }
}

// d_biases -= exponential of the bias * what the scores' exponentials summed up, [vocab, codes].
struct code_biases {
    const bf16 *high;
    const bf16 *low;
    const float *summed;
    float *d_biases;
    u32 vocab, codes;
};
KERNEL(code_biases) {
    EACH(t) {
        const u32 v = BLOCK_X * THREADS + t;
        for (u32 k = 0; v < a.vocab && k < a.codes; k++) {
            const u64 bias = (u64)k * a.vocab + v, cell = (u64)v * a.codes + k;
            a.d_biases[cell] -= (wide(a.high[bias]) + wide(a.low[bias])) * a.summed[cell];
        }
    }
}
