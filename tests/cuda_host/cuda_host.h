// Runs CUDA kernels on the host, one block after another. The threads of a block are fibers that change places at
// __syncthreads only, in a fixed order, so a run is repeatable; a kernel that is right in one order and wrong in
// another has a race.
//
// What kernels may use: threadIdx, blockIdx, blockDim, gridDim, __syncthreads, __threadfence_block, __ldg, min and max,
// the functions of <math.h>, the bit casts below, and dynamic shared memory, which they must call `dynamic_shared`. The
// harness refuses other shared memory. There are no warp functions and no atomics.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __forceinline__ inline
#define __noinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
    unsigned x, y, z;
};

struct __align__(16) ulonglong2 {
    unsigned long long x, y;
};

namespace cuda_host {

constexpr int MOST_SHARED = 227 * 1024, GUARD = 4096, MOST_THREADS = 1024, STACK = 64 * 1024;
constexpr unsigned char POISON = 0xa5, GUARDED = 0x5a;

enum Outcome { DONE, SHARED_MEMORY_OVERRUN, THREADS_MISSED_A_BARRIER, BAD_LAUNCH };

struct Fiber {
    jmp_buf place;
    bool started, ended;
};

inline Fiber fibers[MOST_THREADS];
inline jmp_buf scheduler;
inline int running;
inline void (*body)(void**);
inline void** arguments;

}  // namespace cuda_host

inline uint3 threadIdx, blockIdx, blockDim, gridDim;
__attribute__((aligned(128))) inline unsigned char dynamic_shared[cuda_host::MOST_SHARED + cuda_host::GUARD];

namespace cuda_host {

// Back to the scheduler. By jumps, because swapcontext asks the kernel for the signal mask each time.
__attribute__((noinline)) inline void leave()
{
    if (!_setjmp(fibers[running].place)) {
        _longjmp(scheduler, 1);
    }
}

}  // namespace cuda_host

inline void __syncthreads() { cuda_host::leave(); }

inline void __threadfence_block() {}

template <class T>
inline T __ldg(const T* at)
{
    return *at;
}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

template <class To, class From>
inline To cuda_host_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof(to));
    return to;
}
inline double __longlong_as_double(long long bits) { return cuda_host_bits<double>(bits); }
inline long long __double_as_longlong(double value) { return cuda_host_bits<long long>(value); }
inline float __int_as_float(int bits) { return cuda_host_bits<float>(bits); }
inline int __float_as_int(float value) { return cuda_host_bits<int>(value); }

namespace cuda_host {

// A fiber is made once, and is a thread of one block after another.
inline void fiber_main()
{
    while (true) {
        body(arguments);
        fibers[running].ended = true;
        leave();
    }
}

// Runs the thread `running` up to its next barrier, or to its end.
__attribute__((noinline)) inline void go_on()
{
    if (_setjmp(scheduler)) {
        return;
    }
    if (fibers[running].started) {
        _longjmp(fibers[running].place, 1);
    }
    fibers[running].started = true;
    static char* stacks = (char*)mmap(nullptr, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks + (size_t)running * STACK;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, fiber_main, 0);
    setcontext(&context);
}

// Runs every thread up to its next barrier, again and again until all have ended.
inline Outcome run_block(int threads, bool backwards)
{
    for (int thread = 0; thread < threads; ++thread) {
        fibers[thread].ended = false;
    }
    while (true) {
        int ended = 0;
        for (int turn = 0; turn < threads; ++turn) {
            running = backwards ? threads - 1 - turn : turn;
            threadIdx.x = running % blockDim.x;
            threadIdx.y = running / blockDim.x % blockDim.y;
            threadIdx.z = running / blockDim.x / blockDim.y;
            go_on();
            ended += fibers[running].ended;
        }
        if (ended == threads) {
            return DONE;
        }
        if (ended) {
            for (Fiber& fiber : fibers) {
                fiber.started = false;  // some are in the middle of a kernel, and stay there
            }
            return THREADS_MISSED_A_BARRIER;
        }
    }
}

inline int run_grid(
    void (*call)(void**), void** values, const unsigned* grid, const unsigned* block, unsigned shared_bytes,
    bool backwards)
{
    const unsigned long long threads = (unsigned long long)block[0] * block[1] * block[2];
    if (!threads || threads > MOST_THREADS || shared_bytes > MOST_SHARED || !grid[0] || grid[1] - 1 > 65534 ||
        grid[2] - 1 > 65534) {
        return BAD_LAUNCH;
    }
    body = call;
    arguments = values;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z) {
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y) {
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
                memset(dynamic_shared, POISON, shared_bytes);
                memset(dynamic_shared + shared_bytes, GUARDED, GUARD);
                if (const Outcome outcome = run_block((int)threads, backwards)) {
                    return outcome;
                }
                for (int at = 0; at < GUARD; ++at) {
                    if (dynamic_shared[shared_bytes + at] != GUARDED) {
                        return SHARED_MEMORY_OVERRUN;
                    }
                }
            }
        }
    }
    return DONE;
}

// One letter for a scalar's kind and one for its size, as NumPy has them; pointers begin with P.
template <class T>
constexpr int type_code()
{
    using Value = std::remove_cv_t<std::remove_pointer_t<T>>;
    const int kind = std::is_floating_point_v<Value> ? 'f'
                     : !std::is_integral_v<Value>    ? 'V'
                     : std::is_signed_v<Value>       ? 'i'
                                                     : 'u';
    return (std::is_pointer_v<T> ? 'P' << 16 : 0) | kind << 8 | (kind == 'V' ? 0 : (int)sizeof(Value));
}

template <class... A>
constexpr int type_codes(void (*)(A...), int* codes)
{
    const int all[] = {type_code<A>()..., 0};
    for (size_t at = 0; at < sizeof...(A); ++at) {
        codes[at] = all[at];
    }
    return sizeof...(A);
}

template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void** values, std::index_sequence<I...>)
{
    kernel(*(std::remove_cv_t<A>*)values[I]...);
}

template <class... A>
inline void call(void (*kernel)(A...), void** values)
{
    call(kernel, values, std::index_sequence_for<A...>());
}

}  // namespace cuda_host

#define CUDA_HOST_KERNEL(NAME)                                                                                       \
    extern "C" int cuda_host_types_##NAME(int* codes) { return cuda_host::type_codes(NAME, codes); }                 \
    extern "C" int cuda_host_launch_##NAME(                                                                          \
        void** values, const unsigned* grid, const unsigned* block, unsigned shared_bytes, bool backwards)           \
    {                                                                                                                \
        return cuda_host::run_grid([](void** all) { cuda_host::call(NAME, all); }, values, grid, block,              \
                                   shared_bytes, backwards);                                                         \
    }
