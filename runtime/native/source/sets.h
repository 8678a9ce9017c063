// The instruction sets that kernels were compiled for, the fastest first.
#pragma once
#include <vector>

#include "layer.h"

struct Set { const char* name; const Kernels* kernels; bool (*runs)(); };
extern const std::vector<Set> SETS;
