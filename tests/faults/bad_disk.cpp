// A disk that fails as it is told to: preloaded into a server and its workers, in front of the C library.
//
// BAD_DISK names a file with the rules, which all processes map and a test may change at any time; `bad_disk.py` has
// the same layout. A rule says which calls it is about, on which paths (a pattern as of fnmatch), how many of them it
// lets pass first, how many it is about then (0: all), the error that they fail with (0: none), and how long they take.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

namespace {

enum Call { WRITE = 1, SYNC = 2, NAME = 4, MAKE = 8 };

struct Rule {
    int calls;  // 0: no rule
    int error;
    int milliseconds;
    int passing;
    int times;
    int hits;
    char pattern[488];
};

constexpr int RULES = 8;

Rule *rules() {
    static Rule *mapped = []() -> Rule * {
        const char *path = getenv("BAD_DISK");
        auto real = reinterpret_cast<int (*)(const char *, int, ...)>(dlsym(RTLD_NEXT, "open64"));
        int file = path ? real(path, O_RDWR | O_CLOEXEC) : -1;
        if (file < 0) return nullptr;
        void *found = mmap(nullptr, RULES * sizeof(Rule), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        return found == MAP_FAILED ? nullptr : static_cast<Rule *>(found);
    }();
    return mapped;
}

// Whether a call on a path is to fail, with errno set; sleeps where it is to be slow.
bool fails(int call, const char *path) {
    Rule *rule = rules();
    for (int place = 0; rule && place < RULES; ++place, ++rule) {
        if (!(__atomic_load_n(&rule->calls, __ATOMIC_ACQUIRE) & call) || fnmatch(rule->pattern, path, 0)) continue;
        if (__atomic_fetch_sub(&rule->passing, 1, __ATOMIC_ACQ_REL) > 0) continue;
        int before = __atomic_fetch_add(&rule->hits, 1, __ATOMIC_ACQ_REL);
        if (rule->times && before >= rule->times) continue;
        if (rule->milliseconds) {
            timespec time{rule->milliseconds / 1000, rule->milliseconds % 1000 * 1000000L};
            nanosleep(&time, nullptr);
        }
        if (rule->error) {
            errno = rule->error;
            return true;
        }
    }
    return false;
}

bool none() {
    Rule *rule = rules();
    for (int place = 0; rule && place < RULES; ++place)
        if (__atomic_load_n(&rule[place].calls, __ATOMIC_ACQUIRE)) return false;
    return true;
}

bool fails(int call, int file) {
    if (none()) return false;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    int before = errno;
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = before;
    if (size < 0) return false;
    path[size] = 0;
    return fails(call, path);
}

template <typename Function>
Function real(Function, const char *name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define PASS(name, ...)                                \
    static auto call = real(&name, #name);             \
    return call(__VA_ARGS__)

extern "C" {

ssize_t write(int file, const void *data, size_t size) {
    if (fails(WRITE, file)) return -1;
    PASS(write, file, data, size);
}

ssize_t writev(int file, const iovec *parts, int count) {
    if (fails(WRITE, file)) return -1;
    PASS(writev, file, parts, count);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    if (fails(WRITE, file)) return -1;
    PASS(pwrite, file, data, size, offset);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    if (fails(WRITE, file)) return -1;
    PASS(pwrite64, file, data, size, offset);
}

int posix_fallocate(int file, off_t offset, off_t size) {
    if (fails(WRITE, file)) return errno;
    PASS(posix_fallocate, file, offset, size);
}

int posix_fallocate64(int file, off64_t offset, off64_t size) {
    if (fails(WRITE, file)) return errno;
    PASS(posix_fallocate64, file, offset, size);
}

int fsync(int file) {
    if (fails(SYNC, file)) return -1;
    PASS(fsync, file);
}

int fdatasync(int file) {
    if (fails(SYNC, file)) return -1;
    PASS(fdatasync, file);
}

int rename(const char *from, const char *to) noexcept {
    if (fails(NAME, to)) return -1;
    PASS(rename, from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) noexcept {
    if (fails(NAME, to)) return -1;
    PASS(renameat, from_folder, from, to_folder, to);
}

int link(const char *from, const char *to) noexcept {
    if (fails(NAME, to)) return -1;
    PASS(link, from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) noexcept {
    if (fails(NAME, to)) return -1;
    PASS(linkat, from_folder, from, to_folder, to, flags);
}

int mkdir(const char *path, mode_t mode) noexcept {
    if (fails(MAKE, path)) return -1;
    PASS(mkdir, path, mode);
}

static bool makes(const char *path, int flags) {
    return (flags & O_CREAT) && !none() && access(path, F_OK) != 0 && fails(MAKE, path);
}

#define OPEN(name)                                     \
    int name(const char *path, int flags, ...) {       \
        va_list rest;                                  \
        va_start(rest, flags);                         \
        mode_t mode = va_arg(rest, mode_t);            \
        va_end(rest);                                  \
        if (makes(path, flags)) return -1;             \
        PASS(name, path, flags, mode);                 \
    }

OPEN(open)
OPEN(open64)

}  // extern "C"
