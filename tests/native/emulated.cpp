// The end of `aarch64.sh` that an emulator runs, with EFQ's kernels: it answers requests until there are no more.
#include <cstring>
#include <string>
#include <vector>

#include "../../runtime/native/source/step.h"
#include "messages.h"

struct Plan;
struct Memory;
struct Team;
extern "C" {
const char* efq_instruction_sets();
Plan* efq_plan_new(const char*, int64_t, int64_t, int64_t);
void efq_plan_free(Plan*);
void efq_give_back();
int32_t efq_plan_add(Plan*, const Step*);
Memory* efq_memory_new(const Plan*, int32_t);
void efq_memory_free(Memory*);
int64_t efq_memory_size(const Plan*, int32_t);
Team* efq_team_new(int32_t, const int32_t*, int32_t);
void efq_team_free(Team*);
int32_t efq_plan_run(const Plan*, Memory*, const uint8_t*, int64_t, float*);
int32_t efq_plan_share(const Plan*, Team*, Memory* const*, int32_t, const uint8_t*, int64_t, float*);
int32_t efq_plan_profile(const Plan*, Memory*, const uint8_t*, float*, double*);
int32_t efq_plan_read(const Plan*, const Memory*, int64_t, int64_t, uint8_t*);
}

namespace {

using Part = std::vector<uint8_t>;

template <class T> T* part(std::vector<Part>& parts, size_t i) { return parts[i].empty() ? nullptr : reinterpret_cast<T*>(parts[i].data()); }
template <class T> T* pointer(int64_t number) { return reinterpret_cast<T*>(number); }
int64_t number(const void* pointer) { return reinterpret_cast<int64_t>(pointer); }

int64_t add(Plan* plan, std::vector<Part>& parts) {
  Step step;
  memcpy(&step, parts[0].data(), sizeof step);
  step.weights = part<int8_t>(parts, 1);
  step.bias = part<int32_t>(parts, 2);
  step.factors = part<float>(parts, 3);
  step.slopes = part<float>(parts, 4);
  step.table = part<uint8_t>(parts, 5);
  step.list = part<int32_t>(parts, 6);
  return efq_plan_add(plan, &step);
}

int64_t answer(const Request& r, std::vector<Part>& parts, Part& out) {
  const int64_t* n = r.numbers;
  Plan* plan = pointer<Plan>(n[0]);
  float* floats = reinterpret_cast<float*>(out.data());
  switch (r.function) {
    case INSTRUCTION_SETS: strncpy(reinterpret_cast<char*>(out.data()), efq_instruction_sets(), out.size() - 1); return 0;
    case PLAN_NEW: return number(efq_plan_new(part<char>(parts, 0), n[0], n[1], n[2]));
    case PLAN_FREE: efq_plan_free(plan); return 0;
    case PLAN_ADD: return add(plan, parts);
    case MEMORY_NEW: return number(efq_memory_new(plan, int32_t(n[1])));
    case MEMORY_FREE: efq_memory_free(pointer<Memory>(n[0])); return 0;
    case MEMORY_SIZE: return efq_memory_size(plan, int32_t(n[1]));
    case TEAM_NEW: return number(efq_team_new(int32_t(n[0]), part<int32_t>(parts, 0), int32_t(n[1])));
    case TEAM_FREE: efq_team_free(pointer<Team>(n[0])); return 0;
    case PLAN_RUN: return efq_plan_run(plan, pointer<Memory>(n[1]), part<uint8_t>(parts, 0), n[2], floats);
    case PLAN_SHARE:
      return efq_plan_share(plan, pointer<Team>(n[1]), part<Memory*>(parts, 0), int32_t(n[2]), part<uint8_t>(parts, 1), n[3], floats);
    case PLAN_PROFILE: {
      Part embedding(size_t(n[2]) * sizeof(float));
      return efq_plan_profile(plan, pointer<Memory>(n[1]), part<uint8_t>(parts, 0), reinterpret_cast<float*>(embedding.data()),
                              reinterpret_cast<double*>(out.data()));
    }
    case PLAN_READ: return efq_plan_read(plan, pointer<Memory>(n[1]), n[2], n[3], out.data());
    case GIVE_BACK: efq_give_back(); return 0;
    default: return -1;
  }
}

}  // namespace

int main() {
  for (Request request; receive(STDIN_FILENO, &request, sizeof request);) {
    std::vector<Part> parts;
    for (uint64_t size : request.sizes) {
      parts.emplace_back(size);
      if (!receive(STDIN_FILENO, parts.back().data(), size)) return 1;
    }
    Part out(request.wanted);
    const int64_t result = answer(request, parts, out);
    if (!send(STDOUT_FILENO, &result, sizeof result) || !send(STDOUT_FILENO, out.data(), out.size())) return 1;
  }
  return 0;
}
