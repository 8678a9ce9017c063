// The C interface: a plan is made of steps, opened for an instruction set, and run by one thread or by a team.
// Every function may be called from several threads at once but for `efq_plan_add` and those that free.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <new>

#include "layer.h"
#include "sets.h"
#include "team.h"

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

constexpr size_t TOGETHER = 4;            // images
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

template <class T> bool take(std::vector<T>& into, const T*& from, size_t count) {
  if (!from) return false;
  into.assign(from, from + count);
  from = into.data();
  return true;
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
    if (plan->outputs || !is_sound(*step, plan->arena)) return -1;
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
    if (plan->outputs) plan->split();
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
