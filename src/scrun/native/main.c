/* scrun-node: the part of scrun that runs on the node. See docs/protocol.md.
 *
 *   scrun-node agent CONNECTION    the hook createRuntime: connects, and leaves the agent behind
 *   scrun-node inside CONNECTION   the hook createContainer: prepares the container for its init
 *   scrun-node flush CONNECTION    the hook poststop: waits until the agent has delivered everything
 *   scrun-node relay               no hook: hands the files that are carried on to other nodes
 *   DIRECTORY/NAME ARGUMENTS...    the container's init, a copy of this program; the hooks are called by no path
 */
#include "node.h"

static int flush(const char *connection, char *const *environment) {
    static struct state state;
    char answer;
    read_state(&state);
    read_settings(connection);
    int fd = join(&state, environment);
    if (fd >= 0 && send(fd, "f", 1, MSG_NOSIGNAL) == 1)
        while (recv(fd, &answer, 1, 0) < 0 && errno == EINTR) {}
    if (*meeting_directory) { /* the agent was killed and couldn't */
        network_end();
        part();
    }
    return 0;
}

int main(int count, char **arguments, char **environment) {
    const char *name = count ? arguments[0] : "";
    if (strchr(name, '/')) return init(arguments, environment);
    signal(SIGPIPE, SIG_IGN);
    lift_file_size();
    if (count == 2 && !strcmp(arguments[1], "relay")) return relay();
    if (count == 3 && !strcmp(arguments[1], "flush")) return flush(arguments[2], environment);
    if (count == 3 && !strcmp(arguments[1], "inside")) {
        hook_inside(arguments[2], environment);
        return 0;
    }
    if (count == 3 && !strcmp(arguments[1], "agent")) {
        close_all_but(NULL, 0); /* what the caller has left open: its readers would wait for the agent */
        if (agent_connect(arguments[2], environment)) agent_serve();
        return 0;
    }
    die("it is called by a container's runtime: agent, inside or flush, and the path of a connection file", NULL, 0);
}
