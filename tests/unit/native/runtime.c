/* A container's runtime as the agent calls it for an EXEC, in a few lines: its "process object" is a shell script. It
 * passes no terminal, and reaps nothing.
 *   runtime --log=FILE exec --detach --pid-file FILE [--console-socket PATH] --process FILE ID */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words) {
    static char script[65536];
    const char *log = words[1] + strlen("--log="), *pid_file = "";
    for (int i = 2; i < count - 1; i++) {
        if (!strcmp(words[i], "--pid-file")) pid_file = words[i + 1];
        if (!strcmp(words[i], "--process")) {
            int fd = open(words[i + 1], O_RDONLY);
            if (read(fd, script, sizeof script - 1) < 0) return 2;
            close(fd);
        }
    }
    if (!strncmp(script, "refuse", 6)) {
        FILE *file = fopen(log, "w");
        fputs("it was refused\n", file);
        fclose(file);
        return 1;
    }
    pid_t child = fork();
    if (!child) {
        for (int fd = 3; fd < 1024; fd++) close(fd);
        execl("/bin/sh", "sh", "-c", script, (char *)0);
        _exit(127);
    }
    FILE *file = fopen(pid_file, "w");
    fprintf(file, "%d", child);
    fclose(file);
    if (!strncmp(script, "exit", 4)) usleep(50000); /* the process ends before us */
    return 0;
}
