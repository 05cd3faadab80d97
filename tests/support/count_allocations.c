// Preloaded into a process (glibc only), counts its allocations into a file that others may read
// while it runs.
//
// Layout    SIGNALBOX_ALLOCATIONS names the file; its first eight bytes are the count, in the
// machine's byte order
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);
extern void* __libc_realloc(void* old, size_t size);

static _Atomic long before_start;
static _Atomic long* counter = &before_start;

__attribute__((constructor)) static void start(void) {
    const char* const path = getenv("SIGNALBOX_ALLOCATIONS");
    const int file = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file < 0 || ftruncate(file, sizeof *counter) != 0) {
        return;
    }
    void* const shared = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED) {
        counter = shared;
    }
    close(file);
}

void* malloc(size_t size) {
    atomic_fetch_add(counter, 1);
    return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
    atomic_fetch_add(counter, 1);
    return __libc_calloc(count, size);
}

void* realloc(void* old, size_t size) {
    atomic_fetch_add(counter, 1);
    return __libc_realloc(old, size);
}
