// The kernels for the host.
#include "adamw.cu"
#include "attention.cu"
#include "codes.cu"
#include "head.cu"
#include "norm.cu"
#include "pointwise.cu"
