/* A request to the container's anchor, and its answer: scrun.lifecycle.container.client tells more. */
#include "front.h"

#define PATIENCE 5 /* seconds, as client.PATIENCE: then Python looks whether the anchor is there at all */

/* Sends the request, and waits for one of the answers. Whatever else happens once it is sent is left to Python, which
 * takes the connection over: what the anchor has said is still in it (MSG_PEEK), and nothing is asked for twice. */
int ask(const struct place *place, const char *request, const char *const *answers) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {PATIENCE, 0};
    TEXT(path, sizeof address.sun_path);
    put(&path, "/proc/self/fd/"); /* short enough, whatever --root is (unix(7)) */
    put_number(&path, (uint64_t)place->directory);
    put(&path, "/anchor.sock");
    memcpy(address.sun_path, path.start, path.length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience))
        python();
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        if (errno != ENOENT && errno != ECONNREFUSED) python();
        close(fd);
        return 0;
    }
    size_t length = strlen(request);
    if (send(fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) python();
    asked = fd;
    char answer[256];
    ssize_t size = recv(fd, answer, sizeof answer, MSG_PEEK);
    for (int i = 0; answers[i]; i++)
        if (size == (ssize_t)strlen(answers[i]) && !memcmp(answer, answers[i], (size_t)size)) {
            asked = -1;
            close(fd);
            return i + 1;
        }
    python();
}
