#include "volume/dicom_decode.h"

#include "base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Seconds for one file; 1000 frames of JPEG 2000 take about 50. */
#define SECONDS_MOST 300

/* What goes to the child, followed by the fragments. */
typedef struct request {
    tomo_gdcm_image image; /* its text pointer is set anew */
    char syntax[65];
    size_t size;
} request;

/* What comes back; the pixels are in the shared memory. */
typedef struct verdict {
    size_t size; /* 0: not decoded */
    unsigned bits_allocated;
} verdict;

/* ------------------------------------------------------------------ messages */

static bool send_all(int fd, const void *bytes, size_t size) {
    const char *p = bytes;
    while (size > 0) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t size) {
    char *p = bytes;
    while (size > 0) {
        ssize_t n = recv(fd, p, size, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

/* ------------------------------------------------------------------ child */

/* Answers requests until the socket closes. Nothing of the parent's is to run here: no handlers, no exit
 * functions. */
static _Noreturn void run_child(int fd, unsigned char *shared, size_t most) {
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    const struct rlimit no_core = {0, 0};
    sigset_t none; /* a thread of a pool, which holds signals back, may have begun this */
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) (void)signal(fatal[i], SIG_DFL);
    /* Ctrl-C and the like reach the whole group of processes: the parent decides, and closes the socket. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0 || dup2(nowhere, STDERR_FILENO) < 0) _exit(1);
    /* Only the socket stays open: a file or lock of the program must not outlive it in here. */
    fd = dup2(fd, STDERR_FILENO + 1);
    if (fd < 0 || close_range((unsigned)fd + 1, ~0u, 0) != 0) _exit(1);
    request r;
    while (receive_all(fd, &r, sizeof r)) {
        verdict v = {0};
        unsigned char *fragments = malloc(r.size + 1);
        if (fragments == NULL || !receive_all(fd, fragments, r.size)) _exit(1);
        r.image.transfer_syntax = r.syntax;
        v.size = tomo_gdcm_decode(&r.image, fragments, r.size, shared, most, &v.bits_allocated);
        free(fragments);
        if (!send_all(fd, &v, sizeof v)) _exit(1);
    }
    _exit(0);
}

/* ------------------------------------------------------------------ parent */

static void stop(tomo_dicom_decoder *d) {
    if (d->child == 0) return;
    (void)close(d->socket);
    (void)kill(d->child, SIGKILL);
    while (waitpid(d->child, NULL, 0) < 0 && errno == EINTR) {
    }
    d->child = 0;
}

void tomo_dicom_decoder_close(tomo_dicom_decoder *d) {
    stop(d);
    if (d->shared != NULL) (void)munmap(d->shared, d->shared_size);
    *d = (tomo_dicom_decoder){0};
}

static tomo_status start(tomo_dicom_decoder *d, const char *name, tomo_error *err) {
    int ends[2];
    if (d->shared == NULL) {
        if (!tomo_size_mul(d->most_pixels, 4, &d->shared_size) || d->shared_size == 0) {
            return tomo_fail(err, TOMO_E_LIMIT, "%s: too many pixels", name);
        }
        void *shared = mmap(NULL, d->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED) return tomo_fail_memory(err, name, d->shared_size);
        d->shared = shared;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return tomo_fail_errno(err, name, "make a socket for the decoder");
    }
    pid_t child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        run_child(ends[1], d->shared, d->shared_size);
    }
    (void)close(ends[1]);
    if (child < 0) {
        (void)close(ends[0]);
        return tomo_fail_errno(err, name, "start the decoder");
    }
    d->child = child;
    d->socket = ends[0];
    return TOMO_OK;
}

/* False: the child ended or took too long. */
static bool ask(const tomo_dicom_decoder *d, const request *r, const unsigned char *fragments, verdict *v) {
    if (!send_all(d->socket, r, sizeof *r) || !send_all(d->socket, fragments, r->size)) return false;
    struct pollfd answer = {.fd = d->socket, .events = POLLIN};
    int ready;
    do {
        ready = poll(&answer, 1, SECONDS_MOST * 1000);
    } while (ready < 0 && errno == EINTR);
    return ready > 0 && receive_all(d->socket, v, sizeof *v);
}

tomo_status tomo_dicom_decode(tomo_dicom_decoder *d, const char *name, const tomo_gdcm_image *image,
                              const unsigned char *fragments, size_t size, size_t count,
                              tomo_dicom_decoded *decoded, tomo_error *err) {
    *decoded = (tomo_dicom_decoded){0};
    tomo_status status = d->child == 0 ? start(d, name, err) : TOMO_OK;
    if (status != TOMO_OK) return status;
    request r;
    verdict v = {0};
    memset(&r, 0, sizeof r); /* no byte of the stack leaves, padding included */
    r.image = *image;
    r.image.transfer_syntax = NULL;
    r.size = size;
    (void)snprintf(r.syntax, sizeof r.syntax, "%s", image->transfer_syntax);
    if (!ask(d, &r, fragments, &v)) {
        stop(d);
        v.size = 0;
    }
    decoded->bytes = d->shared;
    decoded->element = v.bits_allocated / 8;
    bool known = v.bits_allocated == 8 || v.bits_allocated == 16 || v.bits_allocated == 32;
    if (known && v.size <= d->shared_size && v.size / decoded->element >= count) return TOMO_OK;
    return tomo_fail(err, TOMO_E_DECODE, "%s: the compressed pixels (transfer syntax %s) cannot be decoded",
                     name, image->transfer_syntax);
}
