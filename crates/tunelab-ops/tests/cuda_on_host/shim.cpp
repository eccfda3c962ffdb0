// The scheduler behind shim.h.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <ucontext.h>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {
namespace {

constexpr size_t STACK = 64 << 10;

// A thread of a block. It is begun once and then runs one kernel after the other. Where it went on
// last is noted without asking the system, which changing contexts would do each time; the compiler
// must not look through that (noipa).
struct Fiber {
    ucontext_t context;
    std::vector<unsigned char> stack = std::vector<unsigned char>(STACK);
    void* place[5];
    dim3 index;
    bool begun = false, done = false;
};

// Those who wait for each other, a block or a warp: how many have come, and how often all of them
// have.
struct Group {
    unsigned members = 0, arrived = 0, times = 0;
    // Two sets of places, used in turn: nobody comes a second time before all have left the first.
    unsigned char places[2][32][64];
};

std::deque<Fiber> fibers;
// Those of the block under way.
unsigned threads;
std::vector<Group> warps;
Group block;
unsigned current;
// Arrivals and ends so far.
unsigned long events;
bool falling;
void* scheduler[5];
unsigned char* shared;
size_t shared_size;
const std::function<void()>* body;

[[gnu::noipa, gnu::no_sanitize("address")]] void jump(void** to) { __builtin_longjmp(to, 1); }

[[gnu::noipa]] void yield() {
    if (__builtin_setjmp(fibers[current].place) == 0) jump(scheduler);
}

void run_threads() {
    for (;;) {
        (*body)();
        fibers[current].done = true;
        yield();
    }
}

[[gnu::noipa]] void go_on(Fiber& fiber) {
    if (__builtin_setjmp(scheduler) != 0) return;
    if (fiber.begun) jump(fiber.place);
    fiber.begun = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_threads, 0);
    setcontext(&fiber.context);
}

void arrive(Group& group) {
    const unsigned time = group.times;
    events++;
    if (++group.arrived == group.members) {
        group.arrived = 0;
        group.times++;
    }
    while (group.times == time) yield();
}

void run_block() {
    block.members = threads;
    block.arrived = 0;
    for (unsigned w = 0; w < warps.size(); w++) {
        warps[w].members = min(32u, threads - 32 * w);
        warps[w].arrived = 0;
    }
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = fibers[i];
        fiber.done = false;
        fiber.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    }
    for (unsigned left = threads; left > 0;) {
        const unsigned long before = events;
        for (unsigned i = 0; i < threads; i++) {
            current = falling ? threads - 1 - i : i;
            if (fibers[current].done) continue;
            threadIdx = fibers[current].index;
            go_on(fibers[current]);
            if (fibers[current].done) {
                left--;
                events++;
            }
        }
        if (events == before) {
            fprintf(stderr, "threads wait for others that never come\n");
            abort();
        }
    }
}

}  // namespace

unsigned char* shared_memory(size_t bytes) {
    if (bytes != shared_size) {
        fprintf(stderr, "a kernel needs %zu bytes of shared memory and was given %zu\n", bytes, shared_size);
        abort();
    }
    return shared;
}
void wait_for_block() { arrive(block); }
unsigned lane() { return current % 32; }
void reverse(bool yes) { falling = yes; }

const unsigned char (*exchange(const void* mine, size_t bytes))[64] {
    Group& warp = warps[current / 32];
    auto& places = warp.places[warp.times % 2];
    memcpy(places[current % 32], mine, bytes);
    arrive(warp);
    return places;
}

void launch(dim3 grid, dim3 block_size, size_t shared_bytes, const std::function<void()>& kernel) {
    gridDim = grid;
    blockDim = block_size;
    body = &kernel;
    threads = block_size.x * block_size.y * block_size.z;
    if (fibers.size() < threads) fibers.resize(threads);
    warps.resize((threads + 31) / 32);
    shared = (unsigned char*)malloc(shared_bytes);
    shared_size = shared_bytes;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                memset(shared, 0xff, shared_bytes);
                run_block();
            }
    free(shared);
}

}  // namespace host
