// A card made of this machine's own memory and processor: the functions of the CUDA driver,
// cuBLASLt and cuDNN that tunelab and candle call, as one library. The kernels of src/cuda are
// compiled in; of candle's own there are stand-ins for the few that are used. So everything between
// Rust and a card is run for real: which kernel is launched, with which arguments over which
// blocks, which descriptors go with which memory. Speed, and what a card alone does wrong, it
// cannot show.

#include "card.h"

#include <chrono>
#include <cstdio>
#include <functional>
#include <malloc.h>
#include <map>
#include <set>
#include <string>
#include <vector>

#define C extern "C"
typedef uint64_t u64;

namespace {
std::map<std::string, card::Bind>& kernels() {
    static std::map<std::string, card::Bind> all;
    return all;
}
struct Function {
    std::string name;
    card::Bind bind;
};
// Every allocation stands between two guards, so that writing beyond it shows.
std::map<u64, size_t> memory;
u64 used, most;
constexpr size_t GUARD = 256;

[[noreturn]] void stop(const std::string& why) {
    fprintf(stderr, "card: %s\n", why.c_str());
    abort();
}

// Whether so many bytes from here on are within one allocation.
void within(const void* p, size_t bytes, const char* what) {
    auto found = memory.upper_bound((u64)p);
    if (found == memory.begin()) stop(std::string(what) + " is no memory of the card");
    --found;
    if ((u64)p + bytes > found->first + found->second) stop(std::string(what) + " goes beyond its memory");
}

// The bytes of the allocations that these are in, each counted once.
size_t allocated(const std::vector<const void*>& all) {
    std::map<u64, size_t> seen;
    for (const void* p : all) {
        auto found = memory.upper_bound((u64)p);
        if (found != memory.begin() && (u64)p < (--found)->first + found->second) seen.insert(*found);
    }
    size_t bytes = 0;
    for (const auto& [at, n] : seen) bytes += n;
    return bytes;
}

double value(const void* p, int type, size_t i) {
    switch (type) {
        case 0: return ((const float*)p)[i];
        case 2: return __half2float(((const __half*)p)[i]);
        default: return __bfloat162float(((const __nv_bfloat16*)p)[i]);
    }
}
void put(void* p, int type, size_t i, double v) {
    switch (type) {
        case 0: ((float*)p)[i] = v; break;
        case 2: ((__half*)p)[i] = __float2half_rn(v); break;
        default: ((__nv_bfloat16*)p)[i] = __float2bfloat16_rn(v);
    }
}
size_t size_of(int type) { return type == 0 ? 4 : 2; }

// With CARD_COUNTS set it is told on stderr what was asked for: of each graph what is in it, and at each of its launches what was
// asked for beside graphs since the last one. Bytes of a kernel are those of the allocations that its arguments point to, of a
// product or a convolution those of its operands.
enum What { KERNEL, PRODUCT, CONVOLUTION, ALLOCATION, RELEASE, COPY, SET, TO_CARD, FROM_CARD, WAIT, KINDS };
const char* const WHAT[KINDS] = {"kernels", "products", "convolutions", "allocations", "frees", "copies", "sets", "to card", "from card", "waits"};
struct Counts {
    u64 n[KINDS] = {}, bytes[KINDS] = {};
    std::map<std::string, u64> names;
    void add(What what, size_t b, const std::string& name = "") {
        n[what]++, bytes[what] += b;
        if (!name.empty()) names[name]++;
    }
    void tell(const char* of) const {
        std::string line = std::string("card: ") + of + ":";
        for (int i = 0; i < KINDS; i++)
            if (n[i]) {
                char part[96];
                snprintf(part, sizeof part, " %s %llu (%.1f MB)", WHAT[i], (unsigned long long)n[i], bytes[i] / 1e6);
                line += part;
            }
        fprintf(stderr, "%s\n", line.c_str());
        std::multimap<u64, std::string, std::greater<u64>> sorted;
        for (const auto& [name, count] : names) sorted.emplace(count, name);
        for (const auto& [count, name] : sorted) fprintf(stderr, "card:   %6llu %s\n", (unsigned long long)count, name.c_str());
    }
};
bool counting() {
    static const bool yes = getenv("CARD_COUNTS") != nullptr;
    return yes;
}
Counts beside;
// With CARD_COMPUTES=N only what works on at most N bytes is computed, so that networks of real sizes can be counted; all other
// results are 0. What a card is tried with when it is opened always is.
const char* const MOST_COMPUTED = getenv("CARD_COMPUTES");
bool computes(size_t bytes) {
    static const size_t most = MOST_COMPUTED ? std::max(strtoull(MOST_COMPUTED, nullptr, 10), 1024ull) : SIZE_MAX;
    return bytes <= most;
}

// What was asked for between the beginning and the end of a capture, to be done at each launch of
// the graph. Its memory stays its own until it is destroyed, however often it is freed and had
// again.
struct Graph {
    std::vector<std::function<void()>> nodes;
    std::map<u64, size_t> memory;
    // Of this memory: what its last node leaves, and of that what has been freed since the last
    // launch.
    std::set<u64> left, freed;
    u64 live = 0, most = 0, mapped = 0;
    Counts counts;
    bool broken = false, launched = false;
};
Graph* capture;
std::set<Graph*> graphs;
// What lost captures would have left.
std::set<u64> lost;
// What graphs that are gone have had, until it is asked back.
u64 idle;
u64 graph_used() {
    u64 all = idle;
    for (const Graph* graph : graphs) all += graph->mapped;
    return all;
}
u64 left_of(const Graph* graph);
bool fits(u64 bytes);

// Counts something that was asked for.
void count(What what, size_t bytes, const std::string& name = "") {
    if (counting()) (capture ? capture->counts : beside).add(what, bytes, name);
}
// Does something that touches so many bytes now, or notes it for the graph.
int give(What what, size_t bytes, std::function<void()> work, const std::string& name = "") {
    count(what, bytes, name);
    if (what != TO_CARD && what != FROM_CARD && !computes(bytes)) return 0;
    if (capture) capture->nodes.push_back(work);
    else work();
    return 0;
}
// What must not be done during a capture; the capture is lost, as with a real driver.
bool refused(const char* what) {
    if (!capture) return false;
    fprintf(stderr, "card: %s during a capture\n", what);
    return capture->broken = true;
}
constexpr int UNSUPPORTED = 900, INVALIDATED = 901;

void guarded(u64 p, size_t bytes) {
    const unsigned char *before = (unsigned char*)p - GUARD, *after = (unsigned char*)p + bytes;
    for (size_t i = 0; i < GUARD; i++)
        if (before[i] != 0xff || after[i] != 0xff) stop("a kernel wrote beyond its memory");
}
// The bytes that the last launch has left and nobody has freed.
u64 left_of(const Graph* graph) {
    u64 all = 0;
    for (u64 p : graph->left)
        if (graph->launched && !graph->freed.count(p)) all += memory.at(p);
    return all;
}
// From so many bytes on memory is taken from the system each time.
constexpr int FRESH = 128 << 10;
const int fresh = MOST_COMPUTED ? mallopt(M_MMAP_THRESHOLD, FRESH) : 1;
bool fits(u64 bytes) {
    const char* limit = getenv("CARD_BYTES");
    return !limit || used + graph_used() + bytes <= strtoull(limit, nullptr, 10);
}
u64 allocate(size_t bytes) {
    unsigned char* whole = (unsigned char*)aligned_alloc(256, (bytes + 2 * GUARD + 255) / 256 * 256);
    if (!whole) stop("this machine has no memory left");
    // What is read before it is written is not a number. Where not all is computed it is 0; large memory is taken fresh then, and
    // is none of this machine's as long as nobody touches it.
    if (!MOST_COMPUTED) memset(whole, 0xff, bytes + 2 * GUARD);
    else {
        if (bytes < FRESH) memset(whole, 0, bytes + 2 * GUARD);
        memset(whole, 0xff, GUARD);
        memset(whole + GUARD + bytes, 0xff, GUARD);
    }
    const u64 p = (u64)whole + GUARD;
    memory[p] = bytes;
    return p;
}
void release(u64 p) {
    guarded(p, memory.at(p));
    memory.erase(p);
    free((unsigned char*)p - GUARD);
}
}  // namespace

void card::know(const char* name, Bind bind) { kernels()[name] = bind; }

// ---------------------------------------------------------------- the driver

C int cuInit(unsigned) { return 0; }
C int cuDriverGetVersion(int* v) { return *v = 13000, 0; }
C int cuDeviceGet(int* d, int n) { return n == 0 ? (*d = 0, 0) : 101; }
C int cuDeviceGetCount(int* n) { return *n = 1, 0; }
C int cuDeviceGetName(char* name, int length, int) { return snprintf(name, length, "stand-in card"), 0; }
C int cuDeviceGetUuid_v2(unsigned char* uuid, int) {
    for (int i = 0; i < 8; i++) uuid[i] = 0xfe - 0x22 * i, uuid[15 - i] = 0xef - 0x22 * i;
    return 0;
}
C int cuDeviceGetUuid(unsigned char* uuid, int d) { return cuDeviceGetUuid_v2(uuid, d); }
C int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = (size_t)8 << 30, 0; }
C int cuDeviceGetAttribute(int* v, int which, int) {
    // Compute capability 8.0, pools of memory, multiprocessors, shared memory of a block.
    *v = which == 75 ? 8 : which == 76 ? 0 : which == 115 ? 1 : which == 16 ? 4 : which == 97 ? 166912 : 1;
    return 0;
}
C int cuDevicePrimaryCtxRetain(void** c, int) { return *c = (void*)1, 0; }
C int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
C int cuCtxGetCurrent(void** c) { return *c = (void*)1, 0; }
C int cuCtxSetCurrent(void*) { return 0; }
C int cuCtxSynchronize() { return count(WAIT, 0), refused("waiting") ? UNSUPPORTED : 0; }
C int cuStreamCreate(void** s, unsigned) { return *s = (void*)7, 0; }
C int cuStreamDestroy_v2(void*) { return 0; }
C int cuStreamSynchronize(void*) { return count(WAIT, 0), refused("waiting") ? UNSUPPORTED : 0; }
C int cuStreamWaitEvent(void*, void*, unsigned) { return 0; }
C int cuStreamIsCapturing(void*, int* s) { return *s = capture ? capture->broken ? 2 : 1 : 0, 0; }
C int cuStreamBeginCapture_v2(void* stream, int mode) {
    // Only a stream of its own can be captured, and what other threads do must not matter.
    if (stream != (void*)7 || mode != 1 || capture) stop("a wrong capture");
    return capture = new Graph(), 0;
}
C int cuStreamEndCapture(void*, Graph** graph) {
    if (!capture) stop("the end of no capture");
    *graph = std::exchange(capture, nullptr);
    if (getenv("CARD_LOSES_CAPTURES")) (*graph)->broken = true;
    for (auto [p, bytes] : (*graph)->memory) (*graph)->left.insert(p);
    for (u64 p : (*graph)->freed) (*graph)->left.erase(p);
    (*graph)->freed.clear();
    if (counting()) (*graph)->counts.tell("in the graph");
    if (!(*graph)->broken) return graphs.insert(*graph), 0;
    for (auto [p, bytes] : (*graph)->memory) {
        if ((*graph)->left.count(p)) lost.insert(p);
        release(p);
    }
    delete *graph;
    return *graph = nullptr, INVALIDATED;
}
C int cuGraphInstantiateWithFlags(Graph** exec, Graph* graph, u64 flags) {
    if (flags != 1) stop("a graph that would not free its memory before the next launch");
    return *exec = graph, 0;
}
C int cuGraphLaunch(Graph* graph, void*) {
    if (capture) stop("a graph within a graph");
    if (!fits(graph->most - graph->mapped)) return 2;
    if (counting()) std::exchange(beside, Counts()).tell("beside graphs, since the last one was launched");
    graph->mapped = graph->most;
    graph->launched = true;
    graph->freed.clear();
    for (const auto& node : graph->nodes) node();
    if (getenv("CARD_FORGETS_NODES") && !graph->left.empty()) {
        // A graph whose work was not what was captured.
        const u64 p = *graph->left.rbegin();
        memset((void*)p, 0, memory.at(p));
    }
    return 0;
}
C int cuGraphExecDestroy(Graph*) { return 0; }
C int cuGraphDestroy(Graph* graph) {
    idle += graph->mapped - std::min(graph->mapped, left_of(graph));
    for (auto [p, bytes] : graph->memory) {
        // What is still used outlives it, as an allocation like any other.
        if (graph->left.count(p) && !graph->freed.count(p)) used += bytes;
        else release(p);
    }
    graphs.erase(graph);
    return delete graph, 0;
}
C int cuDeviceGetGraphMemAttribute(int, int which, u64* bytes) { return *bytes = graph_used(), which > 1; }
C int cuDeviceGraphMemTrim(int) {
    idle = 0;
    for (Graph* graph : graphs)
        if (graph->launched) graph->mapped = std::min(graph->mapped, left_of(graph));
    return 0;
}
C int cuMemPoolTrimTo(void*, size_t) { return 0; }
// What is asked for is done at once, so an event is the time at which it is recorded.
typedef std::chrono::steady_clock::time_point Time;
C int cuEventCreate(Time** e, unsigned) { return *e = new Time, 0; }
C int cuEventDestroy_v2(Time* e) { return delete e, 0; }
C int cuEventRecord(Time* e, void*) { return *e = std::chrono::steady_clock::now(), 0; }
C int cuEventSynchronize(void*) { return count(WAIT, 0), refused("waiting") ? UNSUPPORTED : 0; }
C int cuEventElapsedTime(float* ms, const Time* begin, const Time* end) {
    return *ms = std::chrono::duration<float, std::milli>(*end - *begin).count(), 0;
}
C int cuEventElapsedTime_v2(float* ms, const Time* begin, const Time* end) { return cuEventElapsedTime(ms, begin, end); }
C int cuDeviceGetDefaultMemPool(void** p, int) { return *p = (void*)1, 0; }
C int cuMemPoolSetAttribute(void*, int which, u64* v) {
    if (which == 8) most = used;
    return (void)v, 0;
}
C int cuMemPoolGetAttribute(void*, int which, u64* v) { return *v = which == 8 ? most : used, 0; }
C int cuMemGetInfo_v2(size_t* free_bytes, size_t* all) {
    // Of so many bytes others may have some.
    const char *total = getenv("CARD_TOTAL"), *others = getenv("CARD_OTHERS");
    *all = total ? strtoull(total, nullptr, 10) : (size_t)8 << 30;
    *free_bytes = *all - used - (others ? strtoull(others, nullptr, 10) : 0);
    return 0;
}
C int cuMemAllocAsync(u64* p, size_t bytes, void*) {
    if (!capture && !fits(bytes)) return 2;
    if (!capture) count(ALLOCATION, bytes);
    const u64 at = *p = allocate(bytes);
    if (!capture) {
        used += bytes;
        most = std::max(most, used);
        return 0;
    }
    capture->memory[at] = bytes;
    capture->live += bytes;
    capture->most = std::max(capture->most, capture->live);
    return give(ALLOCATION, bytes, [=] { memset((void*)at, MOST_COMPUTED ? 0 : 0xff, bytes); });
}
C int cuMemFreeAsync(u64 p, void*) {
    if (lost.erase(p)) return 1;
    auto found = memory.find(p);
    if (found == memory.end()) stop("memory is freed that was not allocated");
    const size_t bytes = found->second;
    if (capture) {
        if (!capture->memory.count(p)) return refused("memory from before it is freed"), 1;
        if (!capture->freed.insert(p).second) stop("memory is freed twice in a capture");
        capture->live -= bytes;
        return give(RELEASE, bytes, [=] {
            guarded(p, bytes);
            memset((void*)p, 0xff, bytes);
        });
    }
    count(RELEASE, bytes);
    for (Graph* graph : graphs)
        if (graph->memory.count(p)) {
            if (!graph->launched || !graph->left.count(p)) stop("memory of a graph is freed that it does not leave");
            if (!graph->freed.insert(p).second) stop("memory of a graph is freed twice");
            return 0;
        }
    used -= bytes;
    return release(p), 0;
}
C int cuMemAlloc_v2(u64* p, size_t bytes) { return cuMemAllocAsync(p, bytes, nullptr); }
C int cuMemFree_v2(u64 p) { return cuMemFreeAsync(p, nullptr); }
static int copy(What what, void* to, const void* from, size_t bytes) {
    return give(what, bytes, [=] { memcpy(to, from, bytes); });
}
// From and to memory of the host: when the graph is launched, it is somebody else's.
C int cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t n, void*) {
    return refused("a copy from the host") ? UNSUPPORTED : copy(TO_CARD, (void*)to, from, n);
}
C int cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t n, void*) {
    return refused("a copy to the host") ? UNSUPPORTED : copy(FROM_CARD, to, (void*)from, n);
}
C int cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t n, void*) { return copy(COPY, (void*)to, (void*)from, n); }
C int cuMemsetD8Async(u64 p, unsigned char v, size_t n, void*) {
    return give(SET, n, [=] { memset((void*)p, v, n); });
}
C int cuModuleLoadData(void** m, const void*) { return *m = (void*)1, refused("loading kernels") ? UNSUPPORTED : 0; }
C int cuModuleUnload(void*) { return 0; }
C int cuModuleGetFunction(void** f, void*, const char* name) {
    auto found = kernels().find(name);
    *f = new Function{name, found == kernels().end() ? nullptr : found->second};
    return 0;
}
C int cuFuncSetAttribute(void*, int, int) { return 0; }
C int cuFuncGetAttribute(int* v, int, void*) { return *v = 0, 0; }
C int cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                     unsigned shared, void*, void** arguments, void**) {
    if (!f->bind) return fprintf(stderr, "card: no stand-in for the kernel %s\n", f->name.c_str()), 500;
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || bx * by * bz > 1024) stop("a wrong grid for " + f->name);
    static const bool told = getenv("CARD_TELLS") != nullptr;
    if (told) fprintf(stderr, "card: %s <%u %u %u> <%u %u %u>\n", f->name.c_str(), gx, gy, gz, bx, by, bz);
    const auto [kernel, pointers] = f->bind(arguments);
    return give(KERNEL, allocated(pointers), [=, kernel = kernel] { host::launch({gx, gy, gz}, {bx, by, bz}, shared, kernel); }, f->name);
}
C int cuGetErrorName(int e, const char** name) {
    return *name = e == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OTHER", 0;
}
C int cuGetErrorString(int e, const char** text) { return *text = e == 2 ? "out of memory" : "an error", 0; }

// ---------------------------------------------------------------- candle's kernels

namespace {
// Where the i-th value of a tensor of these dimensions and strides stands; no dimensions are given
// for what is contiguous.
size_t place(size_t i, size_t dims, const size_t* info, size_t which) {
    if (!info) return i;
    size_t at = 0;
    for (size_t d = dims; d-- > 0;) {
        at += i % info[d] * info[dims * (1 + which) + d];
        i /= info[d];
    }
    return at;
}
// Kernels are called once for every thread; the first one does it all.
bool first() {
    return threadIdx.x + threadIdx.y + threadIdx.z == 0 && blockIdx.x + blockIdx.y + blockIdx.z == 0;
}
template <int FROM, int TO> void cast(size_t n, size_t dims, const size_t* info, const void* x, void* y) {
    for (size_t i = 0; first() && i < n; i++) put(y, TO, i, value(x, FROM, place(i, dims, info, 0)));
}
template <int T, int OP> void binary(size_t n, size_t dims, const size_t* info, const void* a, const void* b, void* y) {
    for (size_t i = 0; first() && i < n; i++) {
        const double l = value(a, T, place(i, dims, info, 0)), r = value(b, T, place(i, dims, info, 1));
        put(y, T, i, OP == 0 ? l + r : OP == 1 ? l - r : OP == 2 ? l * r : OP == 3 ? l / r : OP == 4 ? max(l, r) : min(l, r));
    }
}
template <int T, int OP> void unary(size_t n, size_t dims, const size_t* info, const void* x, void* y) {
    for (size_t i = 0; first() && i < n; i++) {
        const double v = value(x, T, place(i, dims, info, 0));
        put(y, T, i, OP == 0 ? v : OP == 1 ? v * v : OP == 2 ? sqrt(v) : OP == 3 ? exp(v) : OP == 4 ? -v : tanh(v));
    }
}
template <int T> void set(size_t n, size_t dims, const size_t* info, std::conditional_t<T == 0, float, uint16_t> v, void* y) {
    for (size_t i = 0; first() && i < n; i++) memcpy((char*)y + size_of(T) * place(i, dims, info, 0), &v, sizeof v);
}
template <int T>
void affine(size_t n, size_t dims, const size_t* info, const void* x, void* y, std::conditional_t<T == 0, float, uint16_t> m,
            std::conditional_t<T == 0, float, uint16_t> a) {
    for (size_t i = 0; first() && i < n; i++) put(y, T, i, value(x, T, place(i, dims, info, 0)) * value(&m, T, 0) + value(&a, T, 0));
}
template <int T> void copy2d(const void* x, void* y, uint32_t rows, uint32_t columns, uint32_t from, uint32_t to) {
    for (size_t i = 0; first() && i < (size_t)rows * columns; i++)
        put(y, T, i / columns * to + i % columns, value(x, T, i / columns * from + i % columns));
}
template <int T, bool MOST> void reduce(size_t n, size_t block, size_t dims, const size_t* info, const void* x, void* y) {
    for (size_t row = 0; first() && row < n / block; row++) {
        double all = MOST ? -INFINITY : 0;
        for (size_t i = 0; i < block; i++) {
            const double v = value(x, T, place(row * block + i, dims, info, 0));
            all = MOST ? std::max(all, v) : all + v;
        }
        put(y, T, row, all);
    }
}
// The place of the largest, the first of them where there are several.
template <int T> void largest(size_t n, size_t block, size_t dims, const size_t* info, const void* x, uint32_t* y) {
    for (size_t row = 0; first() && row < n / block; row++) {
        size_t best = 0;
        const auto at = [&](size_t i) { return value(x, T, place(row * block + i, dims, info, 0)); };
        for (size_t i = 1; i < block; i++)
            if (at(i) > at(best)) best = i;
        y[row] = best;
    }
}
// Of few values each; n counts the sums.
template <int T> void sum_few(size_t n, size_t block, size_t dims, const size_t* info, const void* x, void* y) {
    reduce<T, false>(n * block, block, dims, info, x, y);
}
#define TYPED(T, suffix)                                                                                               \
    card::Known<binary<T, 0>> add_##suffix("badd_" #suffix);                                                           \
    card::Known<binary<T, 1>> sub_##suffix("bsub_" #suffix);                                                           \
    card::Known<binary<T, 2>> mul_##suffix("bmul_" #suffix);                                                           \
    card::Known<binary<T, 3>> div_##suffix("bdiv_" #suffix);                                                           \
    card::Known<binary<T, 4>> maximum_##suffix("bmaximum_" #suffix);                                                   \
    card::Known<binary<T, 5>> minimum_##suffix("bminimum_" #suffix);                                                   \
    card::Known<unary<T, 0>> copied_##suffix("ucopy_" #suffix);                                                        \
    card::Known<unary<T, 1>> sqr_##suffix("usqr_" #suffix);                                                            \
    card::Known<unary<T, 2>> sqrt_##suffix("usqrt_" #suffix);                                                          \
    card::Known<unary<T, 3>> exp_##suffix("uexp_" #suffix);                                                            \
    card::Known<unary<T, 4>> neg_##suffix("uneg_" #suffix);                                                            \
    card::Known<unary<T, 5>> tanh_##suffix("utanh_" #suffix);                                                          \
    card::Known<set<T>> set_##suffix("const_set_" #suffix);                                                            \
    card::Known<affine<T>> affine_##suffix("affine_" #suffix);                                                         \
    card::Known<copy2d<T>> copy2d_##suffix("copy2d_" #suffix);                                                         \
    card::Known<reduce<T, false>> sum_##suffix("fast_sum_" #suffix);                                                   \
    card::Known<sum_few<T>> few_##suffix("fast_sum_small_" #suffix);                                                   \
    card::Known<reduce<T, true>> max_##suffix("fast_max_" #suffix);                                                    \
    card::Known<largest<T>> argmax_##suffix("fast_argmax_" #suffix);                                                   \
    card::Known<cast<T, 0>> to_f32_##suffix("cast_" #suffix "_f32");                                                   \
    card::Known<cast<T, 2>> to_f16_##suffix("cast_" #suffix "_f16");                                                   \
    card::Known<cast<T, 14>> to_bf16_##suffix("cast_" #suffix "_bf16");
TYPED(0, f32) TYPED(2, f16) TYPED(14, bf16)
}  // namespace

// ---------------------------------------------------------------- cuBLAS and cuRAND: of these
// candle's products alone

C int cublasCreate_v2(void** h) { return *h = (void*)1, 0; }
C int cublasDestroy_v2(void*) { return 0; }
C int cublasSetStream_v2(void*, void*) { return 0; }
C int cublasSetMathMode(void*, int) { return 0; }
C int cublasGemmStridedBatchedEx(void*, int ta, int tb, int m, int n, int k, const float* alpha, const void* a, int type,
                                 int lda, long long sa, const void* b, int, int ldb, long long sb, const float* beta, void* c,
                                 int, int ldc, long long sc, int batch, int, int) {
    const size_t bytes = (size_t)batch * ((size_t)m * k + (size_t)k * n + (size_t)m * n) * size_of(type);
    return give(PRODUCT, bytes, [=, alpha = *alpha, beta = *beta] {
        for (long long s = 0; s < batch; s++)
            for (long long j = 0; j < n; j++)
                for (long long i = 0; i < m; i++) {
                    double sum = 0;
                    for (long long l = 0; l < k; l++)
                        sum += value(a, type, s * sa + (ta ? l + i * lda : i + l * lda)) *
                               value(b, type, s * sb + (tb ? j + l * ldb : l + j * ldb));
                    const size_t to = s * sc + i + j * ldc;
                    put(c, type, to, alpha * sum + (beta != 0 ? beta * value(c, type, to) : 0));
                }
    });
}
C int curandCreateGenerator(void** g, int) { return *g = (void*)1, 0; }
C int curandDestroyGenerator(void*) { return 0; }
C int curandSetStream(void*, void*) { return 0; }
C int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }

// ---------------------------------------------------------------- cuBLASLt

namespace {
struct Layout {
    int type;
    u64 rows, columns;
    int64_t step;
    // How many matrices, and the values from one to the next.
    int many = 1;
    int64_t between = 0;
    u64 bytes() const { return ((many - 1) * between + (columns - 1) * step + rows) * size_of(type); }
};
struct Product {
    int compute, transposed[2], epilogue;
    u64 bias;
};
// How the parts of a split sum may be kept, of which 1 and 4 are in the result's type; and what addresses are said to be
// multiples of.
struct Preference {
    uint32_t schemes = 7;
    uint32_t alignments[4] = {256, 256, 256, 256};
};
}  // namespace

C int cublasLtCreate(void** h) { return *h = (void*)1, 0; }
C int cublasLtDestroy(void*) { return 0; }
C int cublasLtMatrixLayoutCreate(Layout** l, int type, u64 rows, u64 columns, int64_t step) {
    return *l = new Layout{type, rows, columns, step}, 0;
}
C int cublasLtMatrixLayoutSetAttribute(Layout* l, int which, const void* v, size_t bytes) {
    if (bytes != (which == 6 ? 8 : 4)) stop("an attribute of a wrong size");
    switch (which) {
        case 5: return memcpy(&l->many, v, 4), 0;
        case 6: return memcpy(&l->between, v, 8), 0;
        default: return 7;
    }
}
C int cublasLtMatrixLayoutDestroy(Layout* l) { return delete l, 0; }
C int cublasLtMatmulDescCreate(Product** p, int compute, int scale) {
    if (scale != 0) stop("the scale's type is not f32");
    return *p = new Product{compute, {0, 0}, 1, 0}, 0;
}
C int cublasLtMatmulDescDestroy(Product* p) { return delete p, 0; }
C int cublasLtMatmulDescSetAttribute(Product* p, int which, const void* v, size_t bytes) {
    if (bytes != (which == 8 ? 8 : 4)) stop("an attribute of a wrong size");
    switch (which) {
        case 3: case 4: return memcpy(&p->transposed[which - 3], v, 4), 0;
        case 7: return memcpy(&p->epilogue, v, 4), 0;
        case 8: return memcpy(&p->bias, v, 8), 0;
        default: return 7;
    }
}
C int cublasLtMatmulPreferenceCreate(Preference** p) { return *p = new Preference, 0; }
C int cublasLtMatmulPreferenceDestroy(Preference* p) { return delete p, 0; }
C int cublasLtMatmulPreferenceSetAttribute(Preference* p, int which, const void* v, size_t bytes) {
    if (bytes != (which == 1 ? 8 : 4)) stop("an attribute of a wrong size");
    if (which == 3) memcpy(&p->schemes, v, 4);
    if (which >= 5 && which <= 8) memcpy(&p->alignments[which - 5], v, 4);
    return 0;
}
// There is none with a bias for odd numbers of short results, and none for several of some shapes at once. What is found is
// for the alignment that was said.
C int cublasLtMatmulAlgoGetHeuristic(void*, Product* p, Layout*, Layout*, Layout*, Layout* d, Preference* wanted, int,
                                     void* found, int* n) {
    if (d->type != 0 && wanted->schemes & 5) stop("parts of a split sum that may be rounded to a short type");
    memset(found, 0, 96);
    memcpy(found, wanted->alignments, sizeof wanted->alignments);
    const bool odd = p->epilogue == 4 && d->type != 0 && d->rows % 2, many = d->many > 1 && d->rows % 4 == 2;
    return *n = odd || many ? 0 : 1, 0;
}
C int cublasLtMatmul(void*, Product* p, const float* alpha, const void* a, Layout* la, const void* b, Layout* lb,
                     const float* beta, const void* c, Layout* lc, void* d, Layout* ld, const uint32_t* aligned_to, void* scratch,
                     size_t scratch_bytes, void*) {
    const u64 m = ld->rows, n = ld->columns;
    const u64 k = p->transposed[0] ? la->rows : la->columns, kb = p->transposed[1] ? lb->columns : lb->rows;
    const u64 ma = p->transposed[0] ? la->columns : la->rows, nb = p->transposed[1] ? lb->rows : lb->columns;
    if (k != kb || m != ma || n != nb || la->type != lb->type) return 7;
    if (memcmp(lc, ld, sizeof *lc)) stop("what is added is no matrix like the product");
    if (la->many != ld->many || lb->many != ld->many) return 7;
    // One behind the other, or side by side in common rows.
    const auto rows_overlap = [](const Layout* l) { return l->step < (int64_t)l->rows; };
    const bool behind = ld->between >= (int64_t)(n - 1) * ld->step + (int64_t)m;
    const bool beside = ld->between >= (int64_t)m && (ld->many - 1) * ld->between + (int64_t)m <= ld->step;
    if (rows_overlap(la) || rows_overlap(lb) || rows_overlap(ld)) stop("rows that overlap");
    if (ld->many > 1 && !behind && !beside) stop("products that overlap");
    if ((p->epilogue == 4 && ld->type != 0 && m % 2) || (ld->many > 1 && m % 4 == 2))
        stop("a product that no algorithm was offered for");
    // Of a batch each one.
    const auto aligned = [](const void* p, const Layout* l, uint32_t to) {
        return ((u64)p | (l->many > 1 ? l->between * size_of(l->type) : 0)) % to == 0;
    };
    if (!aligned(a, la, aligned_to[0]) || !aligned(b, lb, aligned_to[1]) || !aligned(c, lc, aligned_to[2]) || !aligned(d, ld, aligned_to[3]))
        stop("a matrix that is less aligned than was said");
    within(a, la->bytes(), "the first factor");
    within(b, lb->bytes(), "the second factor");
    within(c, lc->bytes(), "what is added");
    within(d, ld->bytes(), "the product");
    within(scratch, scratch_bytes, "the workspace");
    const bool biased = p->epilogue == 4;
    if (biased) within((void*)p->bias, m * size_of(ld->type), "the bias");
    // The descriptors may be changed before it is done.
    const size_t bytes = la->bytes() + lb->bytes() + ld->bytes() + (*beta != 0 && c != d ? lc->bytes() : 0);
    return give(PRODUCT, bytes, [=, p = *p, la = *la, lb = *lb, ld = *ld, alpha = *alpha, beta = *beta] {
        for (u64 at = 0; at < ld.many * n; at++) {
            const u64 s = at / n, j = at % n;
            for (u64 i = 0; i < m; i++) {
                double sum = 0;
                for (u64 l = 0; l < k; l++)
                    sum += value(a, la.type, s * la.between + (p.transposed[0] ? l + i * la.step : i + l * la.step)) *
                           value(b, lb.type, s * lb.between + (p.transposed[1] ? j + l * lb.step : l + j * lb.step));
                const u64 to = s * ld.between + i + j * ld.step;
                sum *= alpha;
                if (beta != 0) sum += beta * value(c, ld.type, to);
                if (biased) sum += value((void*)p.bias, ld.type, i);
                put(d, ld.type, to, sum);
            }
        }
    });
}

// ---------------------------------------------------------------- cuDNN

namespace {
struct Dims {
    int type, n[4];
    size_t count() const { return (size_t)n[0] * n[1] * n[2] * n[3]; }
};
struct Conv {
    int pad[2], step[2], type, math;
};
// cuDNN's numbers of the types are 0, 2 and 9.
int type_of(const Dims& d) { return d.type == 9 ? 14 : d.type; }

// Calls f(place in x, place in w, place in y) for all that belong together.
template <typename F> void every(const Dims& x, const Dims& w, const Dims& y, const Conv& c, F f) {
    if (x.n[0] != y.n[0] || x.n[1] != w.n[1] || w.n[0] != y.n[1] || c.type != 0) stop("a wrong convolution");
    for (int axis : {0, 1})
        if ((x.n[2 + axis] + 2 * c.pad[axis] - w.n[2 + axis]) / c.step[axis] + 1 != y.n[2 + axis]) stop("a wrong size");
    size_t to = 0;
    for (int s = 0; s < y.n[0]; s++)
        for (int o = 0; o < y.n[1]; o++)
            for (int i = 0; i < y.n[2]; i++)
                for (int j = 0; j < y.n[3]; j++, to++)
                    for (int ch = 0; ch < x.n[1]; ch++)
                        for (int u = 0; u < w.n[2]; u++)
                            for (int v = 0; v < w.n[3]; v++) {
                                const int r = i * c.step[0] + u - c.pad[0], q = j * c.step[1] + v - c.pad[1];
                                if (r < 0 || q < 0 || r >= x.n[2] || q >= x.n[3]) continue;
                                f((((size_t)s * x.n[1] + ch) * x.n[2] + r) * x.n[3] + q,
                                  (((size_t)o * w.n[1] + ch) * w.n[2] + u) * w.n[3] + v, to);
                            }
}
void write(const Dims& d, void* to, const std::vector<double>& sums) {
    for (size_t i = 0; i < sums.size(); i++) put(to, type_of(d), i, sums[i]);
}
size_t bytes_of(const Dims* d) { return d->count() * size_of(type_of(*d)); }
void check(const Dims* d, const void* p, const char* what) { within(p, bytes_of(d), what); }

// What cuDNN lists, says of the memory that is wanted, and then does are three things. A shape is offered one of the lists below, by
// turns: what comes first may add in no fixed order, want too much memory, or be refused when it is asked for its memory or launched;
// math types are mixed, whatever the descriptor has. What is launched must have been offered as it is, but that in f32 the strict
// type may stand for the default one.
enum Direction { FORWARD, DATA, FILTER };
enum Math { DEFAULT, TENSOR, CONVERTING, FMA };
enum Refused { NEVER, LISTED, SIZED, LAUNCHED };
struct Offer {
    int algorithm, math;
    bool ordered;
    size_t bytes;
    Refused refused;
};
constexpr size_t SCRATCH = 1000, TOO_MUCH = (size_t)1 << 30;
constexpr int NOT_SUPPORTED = 3000, BAD_PARAM = 2000;
const std::vector<std::vector<Offer>> LISTS = {
    {{0, TENSOR, false, SCRATCH, NEVER}, {1, DEFAULT, true, SCRATCH, NEVER}},
    {{5, TENSOR, true, TOO_MUCH, NEVER}, {4, DEFAULT, true, SCRATCH, LAUNCHED}, {1, FMA, true, 2 * SCRATCH, NEVER}},
    {{2, DEFAULT, true, SCRATCH, LISTED}, {1, TENSOR, true, SCRATCH, SIZED}, {5, DEFAULT, true, 3 * SCRATCH, NEVER}},
    {{1, TENSOR, true, SCRATCH, NEVER}, {1, FMA, true, SCRATCH, NEVER}},
    {{1, CONVERTING, true, SCRATCH, LAUNCHED}, {0, FMA, false, SCRATCH, NEVER}},
    {},
};
// Which list a shape was offered in a direction; the last one is answered with an error.
typedef std::vector<int> Shape;
std::map<Shape, size_t> offered;
Shape shape_of(Direction of, const Dims* x, const Dims* w, const Conv* c) {
    Shape shape{of, x->type, c->pad[0], c->pad[1], c->step[0], c->step[1]};
    shape.insert(shape.end(), x->n, x->n + 4);
    shape.insert(shape.end(), w->n, w->n + 4);
    return shape;
}
struct Listed {
    int algorithm, status;
    float time;
    size_t bytes;
    int ordered, math, reserved[3];
};
static_assert(sizeof(Listed) == 48);
int list(Direction of, const Dims* x, const Dims* w, const Conv* c, int most, int* n, Listed* found) {
    if (most != (of == FORWARD ? 8 : of == DATA ? 6 : 7)) stop("another number of algorithms than there are");
    const size_t which = offered.emplace(shape_of(of, x, w, c), offered.size() % LISTS.size()).first->second;
    if (which + 1 == LISTS.size()) return BAD_PARAM;
    *n = 0;
    for (const Offer& offer : LISTS[which])
        found[(*n)++] = {offer.algorithm, offer.refused == LISTED ? NOT_SUPPORTED : 0, 1, offer.bytes, offer.ordered, offer.math, {}};
    return 0;
}
// The one that is meant, if it may be launched: of a shape whose whole list is of no use, any of the algorithms that do for all.
Offer meant(Direction of, const Dims* x, const Dims* w, const Conv* c, int algorithm) {
    const auto shape = offered.find(shape_of(of, x, w, c));
    if (shape == offered.end()) stop("a convolution for which no algorithm was asked for");
    if (x->type == 0 && c->math != FMA && !getenv("CARD_TF32")) stop("a convolution of f32 that may be rounded to TF32");
    for (const Offer& offer : LISTS[shape->second])
        if (offer.algorithm == algorithm && (offer.math == c->math || (offer.math == DEFAULT && c->math == FMA))) return offer;
    if (algorithm == 1 && shape->second + 2 >= LISTS.size()) return {1, c->math, true, SCRATCH, NEVER};
    stop("algorithm " + std::to_string(algorithm) + " under math type " + std::to_string(c->math) + ", which was not offered");
}
int need(Direction of, const Dims* x, const Dims* w, const Conv* c, int algorithm, size_t* bytes) {
    const Offer offer = meant(of, x, w, c, algorithm);
    *bytes = offer.bytes;
    return offer.refused == SIZED ? NOT_SUPPORTED : 0;
}
// Whether it may be launched with this memory; what it is refused with, if not.
int launched(Direction of, const Dims* x, const Dims* w, const Conv* c, int algorithm, const void* p, size_t bytes) {
    const Offer offer = meant(of, x, w, c, algorithm);
    if (!offer.ordered) stop("an algorithm without a fixed order");
    if (offer.refused == SIZED) stop("an algorithm whose memory was refused");
    if (bytes < offer.bytes) stop("too small a workspace");
    within(p, bytes, "the workspace");
    return offer.refused == LAUNCHED ? NOT_SUPPORTED : 0;
}
}  // namespace

C int cudnnCreate(void** h) { return *h = (void*)1, 0; }
C int cudnnDestroy(void*) { return 0; }
C int cudnnSetStream(void*, void*) { return 0; }
C int cudnnCreateTensorDescriptor(Dims** d) { return *d = new Dims(), 0; }
C int cudnnDestroyTensorDescriptor(Dims* d) { return delete d, 0; }
C int cudnnSetTensor4dDescriptor(Dims* d, int format, int type, int n, int c, int h, int w) {
    return *d = {type, {n, c, h, w}}, format;
}
C int cudnnCreateFilterDescriptor(Dims** d) { return *d = new Dims(), 0; }
C int cudnnDestroyFilterDescriptor(Dims* d) { return delete d, 0; }
C int cudnnSetFilter4dDescriptor(Dims* d, int type, int format, int k, int c, int h, int w) {
    return *d = {type, {k, c, h, w}}, format;
}
C int cudnnCreateConvolutionDescriptor(Conv** c) { return *c = new Conv(), 0; }
C int cudnnDestroyConvolutionDescriptor(Conv* c) { return delete c, 0; }
C int cudnnSetConvolution2dDescriptor(Conv* c, int ph, int pw, int sh, int sw, int dh, int dw, int mode, int type) {
    if (dh != 1 || dw != 1 || mode != 1) stop("not a cross-correlation without gaps");
    return *c = {{ph, pw}, {sh, sw}, type, 0}, 0;
}
C int cudnnSetConvolutionMathType(Conv* c, int math) { return c->math = math, 0; }
C int cudnnGetConvolutionForwardAlgorithm_v7(void*, Dims* x, Dims* w, Conv* c, Dims*, int most, int* n, Listed* found) {
    return list(FORWARD, x, w, c, most, n, found);
}
C int cudnnGetConvolutionBackwardDataAlgorithm_v7(void*, Dims* w, Dims*, Conv* c, Dims* x, int most, int* n, Listed* found) {
    return list(DATA, x, w, c, most, n, found);
}
C int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void*, Dims* x, Dims*, Conv* c, Dims* w, int most, int* n, Listed* found) {
    return list(FILTER, x, w, c, most, n, found);
}
C int cudnnGetConvolutionForwardWorkspaceSize(void*, Dims* x, Dims* w, Conv* c, Dims*, int algorithm, size_t* bytes) {
    return need(FORWARD, x, w, c, algorithm, bytes);
}
C int cudnnGetConvolutionBackwardDataWorkspaceSize(void*, Dims* w, Dims*, Conv* c, Dims* x, int algorithm, size_t* bytes) {
    return need(DATA, x, w, c, algorithm, bytes);
}
C int cudnnGetConvolutionBackwardFilterWorkspaceSize(void*, Dims* x, Dims*, Conv* c, Dims* w, int algorithm, size_t* bytes) {
    return need(FILTER, x, w, c, algorithm, bytes);
}
C int cudnnConvolutionForward(void*, const float* alpha, Dims* xd, const void* x, Dims* wd, const void* w, Conv* c, int algorithm,
                              void* s, size_t n, const float* beta, Dims* yd, void* y) {
    if (*alpha != 1 || *beta != 0) stop("wrong factors");
    if (int refused = launched(FORWARD, xd, wd, c, algorithm, s, n)) return refused;
    check(xd, x, "x"), check(wd, w, "w"), check(yd, y, "y");
    return give(CONVOLUTION, bytes_of(xd) + bytes_of(wd) + bytes_of(yd), [=, xd = *xd, wd = *wd, yd = *yd, c = *c] {
        std::vector<double> sums(yd.count());
        every(xd, wd, yd, c, [&](size_t i, size_t j, size_t k) { sums[k] += value(x, type_of(xd), i) * value(w, type_of(wd), j); });
        write(yd, y, sums);
    });
}
C int cudnnConvolutionBackwardData(void*, const float* alpha, Dims* wd, const void* w, Dims* yd, const void* dy, Conv* c,
                                   int algorithm, void* s, size_t n, const float* beta, Dims* xd, void* dx) {
    if (*alpha != 1 || *beta != 0) stop("wrong factors");
    if (int refused = launched(DATA, xd, wd, c, algorithm, s, n)) return refused;
    check(xd, dx, "dx"), check(wd, w, "w"), check(yd, dy, "dy");
    return give(CONVOLUTION, bytes_of(xd) + bytes_of(wd) + bytes_of(yd), [=, xd = *xd, wd = *wd, yd = *yd, c = *c] {
        std::vector<double> sums(xd.count());
        every(xd, wd, yd, c, [&](size_t i, size_t j, size_t k) { sums[i] += value(w, type_of(wd), j) * value(dy, type_of(yd), k); });
        write(xd, dx, sums);
    });
}
C int cudnnConvolutionBackwardFilter(void*, const float* alpha, Dims* xd, const void* x, Dims* yd, const void* dy, Conv* c,
                                     int algorithm, void* s, size_t n, const float* beta, Dims* wd, void* dw) {
    if (*alpha != 1 || *beta != 0) stop("wrong factors");
    if (int refused = launched(FILTER, xd, wd, c, algorithm, s, n)) return refused;
    check(xd, x, "x"), check(wd, dw, "dw"), check(yd, dy, "dy");
    return give(CONVOLUTION, bytes_of(xd) + bytes_of(wd) + bytes_of(yd), [=, xd = *xd, wd = *wd, yd = *yd, c = *c] {
        std::vector<double> sums(wd.count());
        every(xd, wd, yd, c, [&](size_t i, size_t j, size_t k) { sums[j] += value(x, type_of(xd), i) * value(dy, type_of(yd), k); });
        write(wd, dw, sums);
    });
}
