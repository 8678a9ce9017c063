// The C interface: a plan is made of steps, opened for an instruction set, and run by one thread or by a team.
// Every function may be called from several threads at once but for `efq_plan_add` and those that free.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <new>

#include "layer.h"
#include "team.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if HAS_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif HAS_NEON
#include <sys/auxv.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

// Pages that nothing is written to take no memory: the C library's zeros are the system's.
void* allocate(size_t bytes) {
  const size_t size = bytes + SLACK + 2 * ALIGNMENT;
  void* taken = size > bytes ? calloc(size, 1) : nullptr;
  if (!taken) throw std::bad_alloc();
  void** aligned = reinterpret_cast<void**>(rounded_up(reinterpret_cast<size_t>(taken) + sizeof(void*), ALIGNMENT));
  aligned[-1] = taken;
  return aligned;
}

void Freed::operator()(void* memory) const { if (memory) free(static_cast<void**>(memory)[-1]); }

namespace {

struct Set { const char* name; const Kernels* kernels; bool (*runs)(); };

bool always() { return true; }
#if defined(__x86_64__)
// GCC 12's __builtin_cpu_supports knows no AVX-VNNI; the rest is asked as it asks (the system saves the registers, too).
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx_vnni() {
  unsigned a, b, c, d;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
}
#if HAS_AMX
// Its registers are asked for once for the process, all of its threads (Linux 5.16: Documentation/arch/x86/xstate.rst).
bool has_amx_int8() {
  constexpr long REQUEST = 0x1023, TILES = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a, b, c, d;
  const bool of_cpu = has_avx512_vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1) && (d >> 25 & 1);
  static const bool given = of_cpu && !syscall(SYS_arch_prctl, REQUEST, TILES);
  return given;
}
#endif
#elif HAS_NEON
// HWCAP_ASIMDDP and HWCAP2_I8MM of Linux's asm/hwcap.h, which older systems' headers lack.
bool has_dotprod() { return getauxval(AT_HWCAP) >> 20 & 1; }
bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) >> 13 & 1); }
#endif

const Set SETS[] = {
#if defined(__x86_64__)
#if HAS_AMX
  {"amx-int8", &AMX_INT8, has_amx_int8},
#endif
  {"avx512-vnni", &AVX512_VNNI, has_avx512_vnni},
  {"avx-vnni", &AVX_VNNI, has_avx_vnni},
  {"avx2", &AVX2, has_avx2},
  {"emulated512", &EMULATED512, has_avx2},  // for tests, as the next; never taken by themselves
  {"emulated-amx", &EMULATED_AMX, has_avx2},
#elif HAS_NEON
  {"neon-i8mm", &NEON_I8MM, has_i8mm},
  {"neon-dotprod", &NEON_DOTPROD, has_dotprod},
#endif
  {"plain", nullptr, always},
};

constexpr size_t TOGETHER = 4;              // images
constexpr size_t MANY_WEIGHTS = 1 << 20;  // bytes that a core's cache may not keep from one image to the next

struct Plan {
  const Set* set;
  size_t arena, images_place, images_bytes, outputs = 0, shared = 0, own = 0;
  std::vector<Layer> layers;
  size_t apart = 0;  // layers computed image by image, before those that several images go through together

  // The last layers, from the first whose weights are larger than its maps of several images, if they have many weights.
  void split() {
    apart = 0;
    while (apart < layers.size() && layers[apart].weight_bytes <= TOGETHER * map_bytes(layers[apart].step)) apart++;
    size_t weights = 0;
    for (size_t i = apart; i < layers.size(); i++) weights += layers[i].weight_bytes;
    if (weights < MANY_WEIGHTS) apart = layers.size();
  }
  size_t together() const { return apart < layers.size() ? TOGETHER : 1; }
};

// The maps of each image computed together, what its threads share behind them, and what each has of its own.
struct Memory {
  Buffer<uint8_t> maps, own;
  size_t threads, last = 0;  // `last`: the place of the image that was computed last

  Memory(const Plan& plan, size_t count)
      : maps(buffer<uint8_t>(plan.together() * maps_of(plan))), own(buffer<uint8_t>(count * own_of(plan))), threads(count) {}
  static size_t shared_place(const Plan& plan) { return rounded_up(plan.arena + SLACK, ALIGNMENT); }
  static size_t maps_of(const Plan& plan) { return rounded_up(shared_place(plan) + plan.shared + SLACK, ALIGNMENT); }
  static size_t own_of(const Plan& plan) { return rounded_up(plan.own + SLACK, ALIGNMENT); }
  Call call(const Plan& plan, float* embedding, size_t place = 0) const {
    uint8_t* mine = maps.get() + place * maps_of(plan);
    return {mine, mine + shared_place(plan), embedding};
  }
  // with that image in it
  Call call(const Plan& plan, const uint8_t* images, size_t image, float* embeddings, size_t place = 0) const {
    const Call found = call(plan, embeddings + image * plan.outputs, place);
    memcpy(found.arena + plan.images_place, images + image * plan.images_bytes, plan.images_bytes);
    return found;
  }
};

void compute(const Layer& layer, const Call& call, uint8_t* own) {
  for (const Work* work : {&layer.before, &layer.work, &layer.after})
    if (work->run) work->run(layer, call, own, 0, work->units);
}

// Units of the same weights for one image after the other.
void compute(const Layer& layer, const Call* calls, size_t count, uint8_t* own) {
  for (const Work* work : {&layer.before, &layer.work, &layer.after}) if (work->run) {
    const size_t chunk = work->alike ? work->alike : work->units;
    for (size_t first = 0; first < work->units; first += chunk)
      for (size_t i = 0; i < count; i++) work->run(layer, calls[i], own, first, std::min(first + chunk, work->units));
  }
}

// Images from `first` on, before `end`.
void compute(const Plan& plan, Memory& memory, const uint8_t* images, size_t first, size_t end, float* embeddings) {
  uint8_t* own = memory.own.get();
  while (first < end) {
    Call calls[TOGETHER];
    const size_t count = std::min(plan.together(), end - first);
    for (size_t i = 0; i < count; i++) {
      calls[i] = memory.call(plan, images, first + i, embeddings, i);
      for (size_t layer = 0; layer < plan.apart; layer++) compute(plan.layers[layer], calls[i], own);
    }
    for (size_t layer = plan.apart; layer < plan.layers.size(); layer++) compute(plan.layers[layer], calls, count, own);
    memory.last = count - 1;
    first += count;
  }
}

// A member's shares of it.
void compute_shares(const Plan& plan, const Call& call, uint8_t* own, Team& team) {
  for (const Layer& layer : plan.layers) for (const Work* work : {&layer.before, &layer.work, &layer.after})
    if (work->run) team.share(work->units, work->least, [&](size_t first, size_t end) {
      work->run(layer, call, own, first, end);
    });
}

bool within(int64_t start, int64_t rows, int64_t columns, int64_t channels, size_t arena) {
  const int64_t limit = int64_t(1) << 40;
  if (start < 0 || rows < 1 || columns < 1 || channels < 1 || rows > limit / columns / channels) return false;
  return start <= int64_t(arena) && rows * columns * channels <= int64_t(arena) - start;
}

template <class T> bool take(std::vector<T>& into, const T*& from, size_t count) {
  if (!from) return false;
  into.assign(from, from + count);
  from = into.data();
  return true;
}

// What memory a step touches, checked once: kernels check nothing.
bool is_sound(const Plan& plan, const Step& s) {
  if (s.kind < 0 || s.kind >= KINDS || !within(s.target, s.target_rows, s.target_columns, s.outputs, plan.arena))
    return false;
  if (s.kind == FILL) return true;
  if (!within(s.source, s.rows, s.columns, s.channels, plan.arena)) return false;
  const bool windows = s.kind == CONVOLUTION || s.kind == EMBEDDING || s.kind == MAX_POOL || s.kind == AVERAGE_POOL;
  if (windows) {
    const int limit = 1 << 16;
    for (int size : {s.kernel_rows, s.kernel_columns, s.stride_rows, s.stride_columns, s.dilation_rows, s.dilation_columns})
      if (size < 1 || size > limit) return false;
    for (int size : {s.above, s.before, s.below, s.behind}) if (size < 0 || size > limit) return false;
    const int64_t rows = int64_t(s.target_rows - 1) * s.stride_rows + int64_t(s.kernel_rows - 1) * s.dilation_rows + 1;
    const int64_t columns = int64_t(s.target_columns - 1) * s.stride_columns + int64_t(s.kernel_columns - 1) * s.dilation_columns + 1;
    if (rows > int64_t(s.rows) + s.above + s.below || columns > int64_t(s.columns) + s.before + s.behind) return false;
  }
  if (s.kind == CONVOLUTION || s.kind == EMBEDDING)
    return s.groups >= 1 && s.channels % s.groups == 0 && s.outputs % s.groups == 0 &&
           (s.kind == CONVOLUTION || (s.target_rows == 1 && s.target_columns == 1 && s.groups == 1)) &&
           (!s.adds || within(s.other, s.target_rows, s.target_columns, s.outputs, plan.arena));
  if (s.kind == COPY)
    return s.first_row >= 0 && s.first_column >= 0 && s.at_row >= 0 && s.at_column >= 0 && s.first_channel >= 0 &&
           s.block_rows >= 1 && s.block_columns >= 1 && s.stride_rows >= 1 && s.stride_columns >= 1 &&
           int64_t(s.first_row) + int64_t(s.block_rows - 1) * s.stride_rows < s.rows &&
           int64_t(s.first_column) + int64_t(s.block_columns - 1) * s.stride_columns < s.columns &&
           int64_t(s.at_row) + s.block_rows <= s.target_rows && int64_t(s.at_column) + s.block_columns <= s.target_columns &&
           s.taken_channels >= 1 && int64_t(s.first_channel) + s.taken_channels <= s.outputs;
  if (s.channels != s.outputs) return false;
  if (s.kind == MEAN) return s.target_rows == 1 && s.target_columns == 1;
  if (s.kind == MAX_POOL || s.kind == AVERAGE_POOL) return true;
  if (s.rows != s.target_rows || s.columns != s.target_columns) return false;
  if (s.kind == TABLE) return true;
  const bool gate = s.kind == PRODUCT && s.is_gate;
  return within(s.other, gate ? 1 : s.rows, gate ? 1 : s.columns, s.channels, plan.arena);
}

bool take_constants(Layer& layer) {
  Step& s = layer.step;
  const size_t outputs = size_t(s.outputs);
  if (s.kind == CONVOLUTION || s.kind == EMBEDDING) {
    const size_t inputs = size_t(s.channels / s.groups) * size_t(s.kernel_rows) * size_t(s.kernel_columns);
    if (!take(layer.weights, s.weights, outputs * inputs) || !take(layer.bias, s.bias, outputs) ||
        !take(layer.factors, s.factors, outputs)) return false;
    return !s.slopes || take(layer.slopes, s.slopes, outputs);
  }
  if (s.kind == TABLE) return take(layer.table, s.table, 256);
  if (s.kind != COPY) return true;
  if (!s.list) return s.taken_channels == s.channels;
  if (!take(layer.list, s.list, size_t(s.taken_channels))) return false;
  return std::all_of(layer.list.begin(), layer.list.end(), [&s](int c) { return c >= 0 && c < s.channels; });
}

}  // namespace

#define EFQ_API extern "C" __attribute__((visibility("default")))

EFQ_API int32_t efq_step_size() { return int32_t(sizeof(Step)); }

// The names of the instruction sets that run here, the fastest first, separated by spaces.
EFQ_API const char* efq_instruction_sets() {
  static const std::vector<char> names = [] {
    std::vector<char> text;
    for (const Set& set : SETS) if (set.runs()) {
      if (!text.empty()) text.push_back(' ');
      text.insert(text.end(), set.name, set.name + strlen(set.name));
    }
    text.push_back(0);
    return text;
  }();
  return names.data();
}

// null where memory is lacking, or the instruction set is unknown or does not run here.
EFQ_API Plan* efq_plan_new(const char* set, int64_t arena, int64_t images_place, int64_t images_bytes) {
  if (arena < 1 || images_place < 0 || images_bytes < 1 || images_place > arena - images_bytes) return nullptr;
  for (const Set& known : SETS) if (!strcmp(known.name, set) && known.runs()) {
    Plan* plan = new (std::nothrow) Plan();
    if (!plan) return nullptr;
    plan->set = &known;
    plan->arena = size_t(arena);
    plan->images_place = size_t(images_place);
    plan->images_bytes = size_t(images_bytes);
    return plan;
  }
  return nullptr;
}

EFQ_API void efq_plan_free(Plan* plan) { delete plan; }

// Give the system back what the process has freed, as a graph that became a plan: glibc keeps it otherwise.
EFQ_API void efq_give_back() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

// 0 taken by a fast kernel, 1 by a plain one; -1 a step that is not sound, -2 no memory. Constants are copied.
EFQ_API int32_t efq_plan_add(Plan* plan, const Step* step) {
  try {
    if (plan->outputs || !is_sound(*plan, *step)) return -1;
    Layer layer;
    layer.step = *step;
    if (!take_constants(layer)) return -1;
    layer.weight_bytes = layer.weights.size();
    const bool fast = plan->set->kernels && prepare(layer, *plan->set->kernels);
    if (fast) std::vector<int8_t>().swap(layer.weights);  // packed by now
    else prepare_plain(layer);
    plan->shared = std::max({plan->shared, layer.shared, layer.beyond});  // these lie behind the maps
    plan->own = std::max(plan->own, layer.own);
    if (step->kind == EMBEDDING) plan->outputs = size_t(step->outputs);
    plan->layers.push_back(std::move(layer));
    plan->split();
    return fast ? 0 : 1;
  } catch (const std::bad_alloc&) {
    return -2;
  }
}

// What one image needs: maps, and scratch for `threads`; null where memory is lacking.
EFQ_API Memory* efq_memory_new(const Plan* plan, int32_t threads) {
  try {
    return threads < 1 ? nullptr : new Memory(*plan, size_t(threads));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

EFQ_API void efq_memory_free(Memory* memory) { delete memory; }

EFQ_API int64_t efq_memory_size(const Plan* plan, int32_t threads) {
  return int64_t(plan->together() * Memory::maps_of(*plan) + SLACK + size_t(threads) * Memory::own_of(*plan) + SLACK);
}

// `threads` with the caller's; the others begin with the first call, bound to `cpus` if there is one for each. Null: no
// memory.
EFQ_API Team* efq_team_new(int32_t threads, const int32_t* cpus, int32_t count) {
  try {
    return new Team(size_t(std::max(threads, 1)), std::vector<int>(cpus, cpus + count));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

// Ends its threads. A team of the parent of a fork, which has none here, is not freed.
EFQ_API void efq_team_free(Team* team) { if (team->is_of_this_process()) delete team; }

// `count` images to as many embeddings, by this thread; `memory` is for this call alone. -1: a plan without an embedding.
EFQ_API int32_t efq_plan_run(const Plan* plan, Memory* memory, const uint8_t* images, int64_t count, float* embeddings) {
  if (!plan->outputs) return -1;
  compute(*plan, *memory, images, 0, size_t(count), embeddings);
  return 0;
}

// The same by a team, in memories that no other team uses: one with scratch for all, or so many that each member has one.
// Then each computes images of its own, and all together those that are left. One image does not wait for a team that
// another call has. 1 where nothing was done: by this thread alone it can be.
EFQ_API int32_t efq_plan_share(const Plan* plan, Team* team, Memory* const* memories, int32_t memory_count,
                               const uint8_t* images, int64_t count, float* embeddings) {
  if (!plan->outputs || memory_count < 1 || memories[0]->threads < team->most()) return -1;
  const auto work = [&](size_t member) {
    const size_t members = team->size(), all = size_t(count);
    const size_t whole = size_t(memory_count) < members ? 0 : all / members * members;
    if (whole) team->share(whole, std::min(plan->together(), whole / members), [&](size_t first, size_t end) {
      compute(*plan, *memories[member], images, first, end, embeddings);
    });
    Memory& ours = *memories[0];
    for (size_t i = whole; i < all; i++) {
      if (!member) {
        ours.call(*plan, images, i, embeddings);
        ours.last = 0;
      }
      team->meet();
      compute_shares(*plan, ours.call(*plan, embeddings + i * plan->outputs), ours.own.get() + member * Memory::own_of(*plan), *team);
    }
  };
  return team->run(count > 1, std::ref(work)) ? 0 : 1;
}

// Seconds of CPU time of each step, for one image.
EFQ_API int32_t efq_plan_profile(const Plan* plan, Memory* memory, const uint8_t* image, float* embedding, double* seconds) {
  if (!plan->outputs) return -1;
  const Call call = memory->call(*plan, image, 0, embedding);
  memory->last = 0;
  const auto now = [] {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
  };
  for (const Layer& layer : plan->layers) {
    const double start = now();
    compute(layer, call, memory->own.get());
    *seconds++ = now() - start;
  }
  return 0;
}

// The bytes of a map behind the last run, for tests. -1 for a place outside of the arena.
EFQ_API int32_t efq_plan_read(const Plan* plan, const Memory* memory, int64_t place, int64_t bytes, uint8_t* into) {
  if (place < 0 || bytes < 0 || place > int64_t(plan->arena) || bytes > int64_t(plan->arena) - place) return -1;
  memcpy(into, memory->call(*plan, nullptr, memory->last).arena + place, size_t(bytes));
  return 0;
}
