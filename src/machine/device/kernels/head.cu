// Log-probabilities of tokens from a chunk of the head's scores, a state a block, and their gradient.
#include "common.h"

// logps[i] = scores[i][tokens[i]] - log of the sum of exp(scores[i]), which `normalisers` keeps. A token that is
// not in the vocabulary has none: not a number.
struct head_logps {
    const float *scores;
    const u32 *tokens;
    float *logps;
    float *normalisers;
    u32 vocab;
};
KERNEL(head_logps) {
    SHARED float each[THREADS];
    const float *scores = a.scores + (u64)BLOCK_X * a.vocab;
    EACH(t) {
        float most = LEAST;
        for (u32 v = t; v < a.vocab; v += THREADS) most = fmaxf(most, scores[v]);
        each[t] = most;
    }
    const float most = largest_of(each);
    EACH(t) {
        float sum = 0;
        for (u32 v = t; v < a.vocab; v += THREADS) sum += expf(scores[v] - most);
        each[t] = sum;
    }
    const float normaliser = most + logf(sum_of(each));
    EACH(t) {
        if (t == 0) {
            a.normalisers[BLOCK_X] = normaliser;
            const u32 token = a.tokens[BLOCK_X];
            a.logps[BLOCK_X] = token < a.vocab ? scores[token] - normaliser : of_bits(0x7fc00000u);
        }
    }
}

// d_scores = d_logps * (1 at the token - softmax).
struct head_gradient {
    const float *scores;
    const u32 *tokens;
    const float *normalisers;
    const float *d_logps;
    bf16 *d_scores;
    u32 vocab;
};
KERNEL(head_gradient) {
    const u64 row = (u64)BLOCK_X * a.vocab;
    const float d = a.d_logps[BLOCK_X], normaliser = a.normalisers[BLOCK_X];
    const u32 token = a.tokens[BLOCK_X];
    EACH(t) {
        for (u32 v = t; v < a.vocab; v += THREADS) {
            a.d_scores[row + v] = narrow(d * ((v == token ? 1.0f : 0.0f) - expf(a.scores[row + v] - normaliser)));
        }
    }
}
