// Kernels in a subset of C and CUDA C: NVRTC compiles them for a GPU, any C compiler for the host, where
// one thread after the other runs through each region.
//
// A kernel is a sequence of regions. EACH(t) { .. } is run by all THREADS threads of a block and ends with
// a barrier, so that what one region writes to shared memory is there in the next. Outside of regions, all
// threads compute the same. Numbers of a thread do not live from one region to the next.
#ifndef LPC_COMMON_H
#define LPC_COMMON_H

typedef unsigned short bf16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define THREADS 256

#ifdef __CUDACC__

#define FUNCTION static __device__ __forceinline__
#define SHARED __shared__
#define EACH(t) for (u32 t = threadIdx.x, once_##t = 1; once_##t; once_##t = 0, __syncthreads())
#define BARRIER __syncthreads()
// Four blocks at a time leave 64 registers to a thread: for eight, ptxas spills some.
#define KERNEL(name) extern "C" __global__ void __launch_bounds__(THREADS, 4) name(const struct name a)
#define BLOCK_X blockIdx.x
#define BLOCK_Y blockIdx.y
#define BLOCKS_X gridDim.x

FUNCTION u32 bits_of(float x) { return __float_as_uint(x); }
FUNCTION float of_bits(u32 x) { return __uint_as_float(x); }

#else

#include <math.h>
#include <string.h>

struct place {
    u32 x, y, blocks_x;
};

#define FUNCTION static inline
#define SHARED
#define EACH(t) for (u32 t = 0; t < THREADS; t++)
#define BARRIER
// Blocks from `first` to before `end` of a grid `blocks_x` wide: those run in any order, in parallel.
#define KERNEL(name)                                                                                     \
    static void block_of_##name(const struct name a, const struct place here);                           \
    void lpc_##name(const void *arguments, u32 blocks_x, u32 first, u32 end) {                           \
        for (u32 i = first; i < end; i++) {                                                              \
            const struct place here = {i % blocks_x, i / blocks_x, blocks_x};                            \
            block_of_##name(*(const struct name *)arguments, here);                                      \
        }                                                                                                \
    }                                                                                                    \
    static void block_of_##name(const struct name a, const struct place here)
#define BLOCK_X here.x
#define BLOCK_Y here.y
#define BLOCKS_X here.blocks_x

FUNCTION u32 bits_of(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}
FUNCTION float of_bits(u32 bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

#endif

FUNCTION float wide(bf16 x) { return of_bits((u32)x << 16); }

// The nearest bf16, of two the even one; what is not a number stays so.
FUNCTION bf16 narrow(float x) {
    const u32 bits = bits_of(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bf16)((bits >> 16) | 0x40u);
    return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Below every score: what a largest number is compared with first.
#define LEAST (-3.402823466e38f)

// f32 or bf16 numbers.
struct numbers {
    void *at;
    u32 is_bf16;
};
FUNCTION float number_at(struct numbers n, u64 i) {
    return n.is_bf16 ? wide(((const bf16 *)n.at)[i]) : ((const float *)n.at)[i];
}
FUNCTION void put(struct numbers n, u64 i, float x) {
    if (n.is_bf16) ((bf16 *)n.at)[i] = narrow(x);
    else ((float *)n.at)[i] = x;
}
FUNCTION void add_to(struct numbers n, u64 i, float more) { put(n, i, number_at(n, i) + more); }

// The sum of one number of each thread, in an order that is the same on every machine.
FUNCTION float sum_of(float *each) {
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        EACH(t) {
            if (t < half) each[t] += each[t + half];
        }
    }
    const float sum = each[0];
    BARRIER;
    return sum;
}

FUNCTION float largest_of(float *each) {
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        EACH(t) {
            if (t < half) each[t] = fmaxf(each[t], each[t + half]);
        }
    }
    const float largest = each[0];
    BARRIER;
    return largest;
}

#endif
