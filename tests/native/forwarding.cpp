// The end of `aarch64.sh` that Python loads in place of EFQ's kernels: it sends each call to a process with them, started by
// the command in EFQ_EMULATED. Calls take turns. The child of a fork has a process of its own; what its parent made is not
// freed there.
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <initializer_list>
#include <mutex>
#include <vector>

#include "../../runtime/native/source/step.h"
#include "messages.h"

namespace {

struct Bytes { const void* at; uint64_t size; };
struct Handle { int64_t there; pid_t process; };

std::mutex turns;
pid_t owner = 0;
int to = -1, from = -1;

[[noreturn]] void give_up(const char* what) {
  perror(what);
  abort();
}

void start() {
  const char* command = getenv("EFQ_EMULATED");
  int request[2], reply[2];
  if (!command || pipe2(request, O_CLOEXEC) || pipe2(reply, O_CLOEXEC)) give_up("EFQ_EMULATED, or pipes");
  const pid_t child = fork();
  if (child < 0) give_up("fork");
  if (!child) {
    dup2(request[0], STDIN_FILENO);
    dup2(reply[1], STDOUT_FILENO);
    execl("/bin/sh", "sh", "-c", command, nullptr);
    _exit(127);
  }
  close(request[0]);
  close(reply[1]);
  to = request[1];
  from = reply[0];
  owner = getpid();
}

int64_t ask(Function function, std::initializer_list<int64_t> numbers, std::initializer_list<Bytes> parts = {},
            void* out = nullptr, uint64_t wanted = 0) {
  const std::lock_guard<std::mutex> turn(turns);
  if (owner != getpid()) start();
  Request request{function, {}, {}, wanted};
  int i = 0;
  for (int64_t number : numbers) request.numbers[i++] = number;
  i = 0;
  for (const Bytes& part : parts) request.sizes[i++] = part.at ? part.size : 0;
  bool done = send(to, &request, sizeof request);
  for (const Bytes& part : parts) done = done && (!part.at || send(to, part.at, part.size));
  int64_t result = 0;
  if (!done || !receive(from, &result, sizeof result) || !receive(from, out, wanted)) give_up("the emulated kernels ended");
  return result;
}

template <class T> T* made(Function function, std::initializer_list<int64_t> numbers, std::initializer_list<Bytes> parts = {}) {
  const int64_t there = ask(function, numbers, parts);
  if (!there) return nullptr;
  T* handle = new T();
  handle->there = there;
  handle->process = getpid();
  return handle;
}

void end(Function function, Handle* handle) {
  if (handle->process == getpid()) ask(function, {handle->there});
}

}  // namespace

struct Plan : Handle { uint64_t images = 0, outputs = 0, steps = 0; };
struct Memory : Handle {};
struct Team : Handle {};

#define EFQ_API extern "C" __attribute__((visibility("default")))

EFQ_API int32_t efq_step_size() { return int32_t(sizeof(Step)); }

EFQ_API const char* efq_instruction_sets() {
  static char names[256];
  ask(INSTRUCTION_SETS, {}, {}, names, sizeof names);
  return names;
}

EFQ_API Plan* efq_plan_new(const char* set, int64_t arena, int64_t images_place, int64_t images_bytes) {
  uint64_t length = 1;
  while (set[length - 1]) length++;
  Plan* plan = made<Plan>(PLAN_NEW, {arena, images_place, images_bytes}, {{set, length}});
  if (plan) plan->images = uint64_t(images_bytes);
  return plan;
}

EFQ_API void efq_plan_free(Plan* plan) { end(PLAN_FREE, plan); delete plan; }
EFQ_API void efq_give_back() { ask(GIVE_BACK, {}); }

EFQ_API int32_t efq_plan_add(Plan* plan, const Step* s) {
  uint64_t weights = 1;  // of a step that is not sound, none are sent
  for (int size : {s->outputs, s->groups < 1 ? 0 : s->channels / s->groups, s->kernel_rows, s->kernel_columns})
    weights = size < 1 || weights > (uint64_t(1) << 31) ? 0 : weights * uint64_t(size);
  const uint64_t outputs = weights ? uint64_t(s->outputs) * 4 : 0, list = s->taken_channels > 0 ? uint64_t(s->taken_channels) * 4 : 0;
  const int64_t done = ask(PLAN_ADD, {plan->there}, {{s, sizeof *s}, {s->weights, weights}, {s->bias, outputs},
                                                     {s->factors, outputs}, {s->slopes, outputs}, {s->table, 256}, {s->list, list}});
  if (done < 0) return int32_t(done);
  plan->steps++;
  if (s->kind == EMBEDDING) plan->outputs = uint64_t(s->outputs);
  return int32_t(done);
}

EFQ_API Memory* efq_memory_new(const Plan* plan, int32_t threads) { return made<Memory>(MEMORY_NEW, {plan->there, threads}); }
EFQ_API void efq_memory_free(Memory* memory) { end(MEMORY_FREE, memory); delete memory; }
EFQ_API int64_t efq_memory_size(const Plan* plan, int32_t threads) { return ask(MEMORY_SIZE, {plan->there, threads}); }

EFQ_API Team* efq_team_new(int32_t threads, const int32_t* cpus, int32_t count) {
  return made<Team>(TEAM_NEW, {threads, count}, {{cpus, uint64_t(count) * 4}});
}
EFQ_API void efq_team_free(Team* team) { end(TEAM_FREE, team); delete team; }

EFQ_API int32_t efq_plan_run(const Plan* plan, Memory* memory, const uint8_t* images, int64_t count, float* embeddings) {
  return int32_t(ask(PLAN_RUN, {plan->there, memory->there, count}, {{images, uint64_t(count) * plan->images}}, embeddings,
                     uint64_t(count) * plan->outputs * 4));
}

EFQ_API int32_t efq_plan_share(const Plan* plan, Team* team, Memory* const* memories, int32_t memory_count,
                               const uint8_t* images, int64_t count, float* embeddings) {
  if (team->process != getpid()) return 1;  // as the team of a fork's parent
  std::vector<int64_t> there;
  for (int32_t i = 0; i < memory_count; i++) there.push_back(memories[i]->there);
  return int32_t(ask(PLAN_SHARE, {plan->there, team->there, memory_count, count},
                     {{there.data(), there.size() * 8}, {images, uint64_t(count) * plan->images}}, embeddings,
                     uint64_t(count) * plan->outputs * 4));
}

EFQ_API int32_t efq_plan_profile(const Plan* plan, Memory* memory, const uint8_t* image, float*, double* seconds) {
  return int32_t(ask(PLAN_PROFILE, {plan->there, memory->there, int64_t(plan->outputs)}, {{image, plan->images}}, seconds,
                     plan->steps * 8));
}

EFQ_API int32_t efq_plan_read(const Plan* plan, const Memory* memory, int64_t place, int64_t bytes, uint8_t* into) {
  return int32_t(ask(PLAN_READ, {plan->there, memory->there, place, bytes}, {}, into, uint64_t(bytes)));
}
