#include "layer.h"
#if HAS_AMX
#pragma GCC target("avx512f,avx512bw,avx512vnni")
#define WITH_AVX512_VNNI
#include "kernels.h"
#include "amx_dense.h"

const Kernels AMX_INT8 = {LANES, NR, MR, SATURATES, dense, depthwise, whole, embedding, FLIP, &TILING};
#endif
