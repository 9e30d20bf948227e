// Attention around its products: heads apart and rotated, weights from scores, and back.
//
// Queries lie as [kv heads][tokens][group][head_dim]: the queries of a key head are then one matrix, and the
// gradient of a key head's keys sums over its queries in the product itself.
#include "common.h"

struct heads {
    u32 tokens, kv_heads, group, head_dim;
};

// Where element e of head h of a token lies among the projections' [tokens][all heads][head_dim], and where
// apart. Heads of queries come first, then those of keys, then those of values.
struct spot {
    u64 apart;
    u32 part;
};
FUNCTION struct spot spot_of(struct heads s, u32 token, u32 head) {
    const u32 queries = s.kv_heads * s.group;
    struct spot spot;
    if (head < queries) {
        const u32 kv = head / s.group, g = head % s.group;
        spot.part = 0;
        spot.apart = (((u64)kv * s.tokens + token) * s.group + g) * s.head_dim;
    } else {
        const u32 kv = (head - queries) % s.kv_heads;
        spot.part = 1 + (head - queries) / s.kv_heads;
        spot.apart = ((u64)kv * s.tokens + token) * s.head_dim;
    }
    return spot;
}

// qkv -> q and k, rotated, and v; or back, which is the gradient: a rotation's transpose is its inverse. A token
// a block.
struct split_or_join {
    bf16 *qkv;
    bf16 *q;
    bf16 *k;
    bf16 *v;
    const float *cos;
    const float *sin;
    struct heads shape;
    u32 join;
};
KERNEL(split_or_join) {
    const struct heads s = a.shape;
    const u32 half = s.head_dim / 2, all = s.kv_heads * (s.group + 2);
    const float direction = a.join ? -1.0f : 1.0f;
    EACH(t) {
        for (u32 i = t; i < all * half; i += THREADS) {
            const u32 head = i / half, e = i % half;
            const struct spot spot = spot_of(s, BLOCK_X, head);
            bf16 *together = a.qkv + ((u64)BLOCK_X * all + head) * s.head_dim;
            bf16 *apart = (spot.part == 0 ? a.q : spot.part == 1 ? a.k : a.v) + spot.apart;
            const bf16 *from = a.join ? apart : together;
            bf16 *to = a.join ? together : apart;
            if (spot.part == 2) {
                to[e] = from[e];
                to[e + half] = from[e + half];
            } else {
                const u64 angle = (u64)BLOCK_X * half + e;
                const float cos = a.cos[angle], sin = direction * a.sin[angle];
                const float low = wide(from[e]), high = wide(from[e + half]);
                to[e] = narrow(low * cos - high * sin);
                to[e + half] = narrow(high * cos + low * sin);
            }
        }
    }
}

// What attention mixed, between [kv heads][tokens][group][head_dim] and [tokens][heads][head_dim].
struct regroup {
    const bf16 *from;
    bf16 *to;
    struct heads shape;
    u32 apart; // 1: to heads apart; 0: to tokens
};
KERNEL(regroup) {
    const struct heads s = a.shape;
    const u32 width = s.kv_heads * s.group * s.head_dim;
    EACH(t) {
        for (u32 i = t; i < width; i += THREADS) {
            const u64 apart = spot_of(s, BLOCK_X, i / s.head_dim).apart + i % s.head_dim;
            const u64 together = (u64)BLOCK_X * width + i;
            if (a.apart) a.to[apart] = a.from[together];
            else a.to[together] = a.from[apart];
        }
    }
}

// The keys that a query sees, as places in its row: [shared, shared_end) and [own, own_end).
struct sight {
    u32 shared, shared_end, own, own_end;
};
FUNCTION u32 sees(struct sight s, u32 key) {
    return (key - s.shared < s.shared_end - s.shared) | (key - s.own < s.own_end - s.own);
}

// Softmax of scale * scores over what a query sees, 0 elsewhere. A row of scores a block, `stride` numbers
// from the next: x is the query [tokens of the row][group], y the key head.
struct attention_weights {
    const float *scores;
    bf16 *weights;
    const struct sight *sights;
    u32 keys, stride, group;
    float scale;
};
KERNEL(attention_weights) {
    SHARED float each[THREADS];
    const struct sight sight = a.sights[BLOCK_X / a.group];
    const u64 row = ((u64)BLOCK_Y * BLOCKS_X + BLOCK_X) * a.stride;
    EACH(t) {
        float most = LEAST;
        for (u32 key = t; key < a.keys; key += THREADS) {
            if (sees(sight, key)) most = fmaxf(most, a.scores[row + key]);
        }
        each[t] = most;
    }
    const float most = largest_of(each);
    EACH(t) {
        float sum = 0;
        for (u32 key = t; key < a.keys; key += THREADS) {
            if (sees(sight, key)) sum += expf((a.scores[row + key] - most) * a.scale);
        }
        each[t] = sum;
    }
    const float inverse = 1.0f / sum_of(each);
    EACH(t) {
        for (u32 key = t; key < a.keys; key += THREADS) {
            const float e = sees(sight, key) ? expf((a.scores[row + key] - most) * a.scale) * inverse : 0;
            a.weights[row + key] = narrow(e);
        }
    }
}

// d_scores = scale * p * (dp - sum of p * dp), by rows as attention_weights.
struct attention_scores {
    const bf16 *weights;
    const float *d_weights;
    bf16 *d_scores;
    u32 keys, stride;
    float scale;
};
KERNEL(attention_scores) {
    SHARED float each[THREADS];
    const u64 row = ((u64)BLOCK_Y * BLOCKS_X + BLOCK_X) * a.stride;
    EACH(t) {
        float sum = 0;
        for (u32 key = t; key < a.keys; key += THREADS) sum += wide(a.weights[row + key]) * a.d_weights[row + key];
        each[t] = sum;
    }
    const float inner = sum_of(each);
    EACH(t) {
        for (u32 key = t; key < a.keys; key += THREADS) {
            const u64 at = row + key;
            a.d_scores[at] = narrow(wide(a.weights[at]) * (a.d_weights[at] - inner) * a.scale);
        }
    }
}
