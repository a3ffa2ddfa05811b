/* A SPANK plugin that prints wherever it can in a task, with and without an end of line. */
#include <slurm/spank.h>
#include <string.h>
#include <unistd.h>

SPANK_PLUGIN(noise, 1)

static void say(const char *words)
{
        (void) !write(1, words, strlen(words));
        (void) !write(2, words, strlen(words));
}

int slurm_spank_local_user_init(spank_t spank, int count, char **words)
{
        say("<<noise:a plugin:noise-line>>\n");
        return 0;
}

int slurm_spank_task_init(spank_t spank, int count, char **words)
{
        say("<<noise:a plugin, in no line of its own:noise>>");
        return 0;
}

int slurm_spank_task_exit(spank_t spank, int count, char **words)
{
        say("<<noise:a plugin at the end:noise>>");
        return 0;
}

int slurm_spank_exit(spank_t spank, int count, char **words)
{
        say("<<noise:a plugin at the very end:noise>>");
        return 0;
}
