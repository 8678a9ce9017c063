#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define WITH_EMULATED512
#define WITH_EMULATED_AMX
#include "kernels.h"
#include "amx_dense.h"

const Kernels EMULATED_AMX = {LANES, NR, MR, SATURATES, dense, depthwise, whole, embedding, FLIP, &TILING};
#endif
