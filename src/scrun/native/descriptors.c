/* Descriptors that go from one process to another (unix(7), SCM_RIGHTS), and those that don't. */
#include "descriptors.h"

int send_descriptors(int to, const void *text, size_t length, const int *fds, int count) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {0};
    struct iovec bytes = {(void *)text, length};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (count) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
    }
    return sendmsg(to, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* How many bytes came, with `count` descriptors, which are close-on-exec; those beyond `most` are closed. */
int receive_descriptors(int from, void *text, size_t size, int *fds, int most, int *count) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    struct iovec bytes = {text, size};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    *count = 0;
    ssize_t length = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = length < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return (int)length;
    int came = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < came; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + (size_t)i * sizeof fd, sizeof fd);
        if (i < most)
            fds[(*count)++] = fd;
        else
            close(fd);
    }
    return (int)length;
}

static void close_between(unsigned first, unsigned last) {
    if (first > last || !syscall(SYS_close_range, (long)first, (long)last, 0L, 0L, 0L, 0L)) return;
    for (unsigned fd = first; fd <= last && fd < 65536; fd++) close((int)fd); /* a kernel before 5.9 */
}

void close_all_but(const int *kept, int count) {
    unsigned from = 3;
    for (;;) {
        int least = -1;
        for (int i = 0; i < count; i++)
            if (kept[i] >= (int)from && (least < 0 || kept[i] < least)) least = kept[i];
        if (least < 0) break;
        close_between(from, (unsigned)least - 1);
        from = (unsigned)least + 1;
    }
    close_between(from, ~0U);
}
