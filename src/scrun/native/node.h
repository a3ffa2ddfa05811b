/* What the files of scrun-node share. docs/protocol.md is the page that all of this follows. */
#ifndef SCRUN_NODE_H
#define SCRUN_NODE_H

#include "base.h"
#include "descriptors.h"

/* ---- sha256.c ---- */
struct sha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
};
void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *from, size_t size);
void sha256_end(struct sha256 *s, uint8_t digest[32]);
struct hmac {
    struct sha256 inner, outer;
};
void hmac_begin(struct hmac *h, const uint8_t key[32]);
void hmac_end(struct hmac *h, uint8_t digest[32]);
int same_bytes(const uint8_t *a, const uint8_t *b, size_t size); /* takes as long for different ones */

/* ---- settings.c: the bundle's file `connection`, and what the runtime tells a hook ---- */
#define ADDRESSES 16 /* which login gives at most */
#define LIMITS 16
#define LEFT_LIMIT 17 /* bytes of a limit that the agent leaves to the init: its kind, and both numbers */
enum stdio { PIPES, TERMINAL, TASK };
struct settings {
    uint8_t key[32];
    struct sockaddr_storage addresses[ADDRESSES];
    int address_count;
    char meeting[64], runtime[4096], init[256], carried[2][4096], job[32];
    char bundle[4096]; /* the directory of the file itself */
    long patience; /* milliseconds */
    int network;   /* whether login says what the container's network is */
    enum stdio stdio;
    struct {
        long kind; /* RLIMIT_NOFILE, say */
        uint64_t soft, hard;
        int is_hard; /* whether both are to be set; otherwise the soft one, as far as the hard one allows */
    } limits[LIMITS];
    int limit_count;
};
struct state {
    char id[1100];
    pid_t pid;
};
extern struct settings settings;
void read_settings(const char *path);
void read_state(struct state *to); /* from standard input, to its end */
int read_address(const char *text, struct sockaddr_storage *to);
void put_address(struct text *to, const struct sockaddr_storage *address);

/* ---- meeting.c: the directory in which the hooks meet the agent ---- */
extern char meeting_directory[96];
int meet(const struct state *state, char *const *environment); /* makes it; the socket, listening */
/* A cleaner of /tmp or another job's Epilog may have removed it: makes it anew. The socket that listens from now on. */
int meet_again(int fd, const struct state *state, char *const *environment);
int join(const struct state *state, char *const *environment); /* connects to it; -1: nobody is there */
void part(void);                                               /* removes it */
int is_own_directory(const char *path);                        /* and nobody else's to enter */

/* ---- hooks.c, init.c ---- */
#define INIT_SOCKET ".socket" /* beside the init; no init has a name with a dot before it */
#define INIT_FAILURE 6 /* bytes: FAILED's `where`, errno, and which limit */
void lift_file_size(void);    /* in a hook, and so in the agent */
void restore_file_size(void); /* in a child that the agent runs a program in */
void hook_inside(const char *connection, char *const *environment);
int init(char **arguments, char **environment);
int run_program(char *const *arguments, char *const *environment); /* comes back with errno only */

/* ---- handshake.c ---- */
enum purpose { FOR_AGENT, FOR_NETWORK };
struct proof {
    enum purpose purpose;
    const uint8_t *name, *nodes, *logins; /* the agent's name, and both nonces */
};
void prove(const struct proof *p, char letter, const uint8_t *rest, size_t size, uint8_t mac[32]); /* mac() */
/* A connection to the first of the addresses, tried one soon after the other, where login proves the key; or -1 with
 * errno, which is the 0th address's. `arrived` is how many bytes of our frames login has, `which` is the address. */
int connect_any(const struct sockaddr_storage *(*address)(int), int count, enum purpose purpose, const uint8_t name[16],
                uint64_t received, uint64_t *arrived, int *which);

/* ---- relay.c ---- */
int relay(void); /* hands a stream on to other nodes */

/* ---- link.c: the connection, and what is kept until login has acknowledged it ---- */
#define PAYLOAD 65536
enum message {
    START = 1, PART, EXEC, RUN, DATA, END, CREDIT, CLOSED, SIGNAL, RESIZE, STOP, CONTINUE, ACK, BYE,
    READY = 32, STARTED, FAILED, EXIT, ANSWER, DONE, NOTE
};
const uint8_t *link_name(void); /* the agent's, of 16 bytes */
int link_begin(void);         /* 0, or errno of the first address */
const struct sockaddr_storage *link_address(int k); /* to be tried as the k-th; the 0th has answered last */
int link_descriptor(void);    /* -1 while it is broken */
int link_wants_to_send(void);
size_t link_room(void);       /* bytes of DATA that may be kept now */
int link_wait(void);          /* milliseconds until the next try; -1: it isn't broken */
int link_is_given_up(void);
void link_try(void);          /* connects again, if it is time */
void link_flush(void);
void link_receive(void);      /* calls take_message for each whole frame */
void link_release(void);      /* gives back the memory that isn't in use */
int link_is_dirty(void);      /* there may be such memory */
void link_break(void);        /* the peer is broken, or dead: see link_ended */
int link_ended(void);
uint8_t *frame_begin(void);   /* where the payload of the next frame, of PAYLOAD bytes at most, may be put */
void frame_end(enum message type, uint32_t stream, size_t length);
void frame(enum message type, uint32_t stream, const void *payload, size_t length);
void frame_number(enum message type, uint32_t stream, uint32_t number);
void frame_answer(uint32_t process, uint32_t request, int error, const char *text);
void frame_failed(uint32_t process, char where, int error, const char *text, size_t length);

/* ---- process.c: a process, and its streams ---- */
#define PROCESSES 256
#define WINDOW 262144
enum kind { CONTAINER, EXECUTED, COMMAND, OWN }; /* OWN: the answer to @members or @environ */
enum stage { FREE, ASKED, STARTING, RUNNING, ENDED, REPORTED };
struct process {
    enum stage stage;
    enum kind kind;
    int terminal;
    uint16_t rows, columns;
    pid_t pid, runtime;         /* runtime: what runs an EXEC, until that has ended */
    int status;
    int fd[3];                  /* the agent's ends, -1 if closed; a terminal's 0 and 1 are the same */
    int aside;                  /* an EXEC's console socket; a RUN's pipe that tells whether execve failed */
    int request, request_size, request_error; /* the PARTs */
    int64_t credit[3];          /* how much may be sent; of 0: received */
    int64_t budget[3];          /* what may be sent without credit once it has ended */
    int unread;                 /* bits of the streams that login has closed */
    uint8_t *input;             /* what its standard input hasn't taken */
    size_t input_length, input_done;
    uint32_t taken;             /* not yet told to login as credit */
    int input_ends;
};
extern struct process processes[PROCESSES];
uint32_t number_of(const struct process *p);
void process_begin(struct process *p, enum kind kind);
void process_free(struct process *p);
int process_pipes(struct process *p, int theirs[3], int with_input);
void process_terminal(struct process *p, int master);
void process_started(struct process *p);
void process_failed(struct process *p, char where, int error, const char *text, size_t length);
void process_ended(struct process *p, int wait_status);
void process_input(struct process *p, const uint8_t *from, size_t length);
void process_feed(struct process *p);
void process_input_closed(struct process *p);
void process_output(struct process *p, int i);
void process_report(struct process *p);
void process_unread(struct process *p, int i);
void process_close(struct process *p, int i);
void process_resize(struct process *p, uint32_t rows_and_columns);
int wants_output(const struct process *p, int i);

/* ---- start.c: process 0 ---- */
void first_listens(int listener, int master); /* what the hook `inside` has passed */
int first_is_started(void); /* whether START has come */
int first_listener(void);                     /* the sockets to be looked at, or -1 */
int first_socket(void);
void first_comes(void);
void first_start(uint32_t rows_and_columns);
void first_answers(void);
int environment_file(void);                   /* for @environ */

/* ---- exec.c: the other processes ---- */
void run_part(struct process *p, const uint8_t *from, size_t length);
void run_exec(struct process *p, int terminal, uint32_t rows_and_columns);
void run_command(struct process *p);
void run_aside(struct process *p); /* `aside` can be read */
void run_reap(void);
void run_remove_files(void); /* what runtimes that didn't end have left in the meeting directory */
void run_kill(void); /* process 0 has ended: they go with it */
void cancel_job(void);

/* ---- members.c: the processes of the container ---- */
void members_begin(pid_t first); /* remembers its namespaces */
void members_signal(uint32_t request, int number);
int members_file(void); /* for @members */
void members_kill(void); /* until none is left */
void members_stop(uint32_t request);
void members_continue(uint32_t request);
int members_wait(void); /* milliseconds until the next look; -1: none is due */
void members_look(void);

/* ---- network.c: a process for the container's network, where that is the engine's ---- */
void network_begin(int peer, int net, int user); /* the hook `inside` has passed its namespaces, and waits at `peer` */
int network_socket(void);                        /* to be looked at, or -1 */
void network_says(void);
void network_stop(void); /* has the process end, which takes the kernel a while, while the agent does the rest */
void network_end(void); /* removes what it has made on the node, or an agent that was killed */

/* ---- agent.c ---- */
struct agent {
    struct state state;
    char *const *environment;  /* the runtime's, as slurmstepd ran it */
    uint32_t task;
    int meeting, first;        /* sockets; the first process's pidfd */
};
extern struct agent agent;
void agent_set_task(uint32_t number);
int agent_connect(const char *connection, char *const *environment);
void agent_serve(void);
void take_message(enum message type, uint32_t stream, const uint8_t *payload, size_t length);

#endif
