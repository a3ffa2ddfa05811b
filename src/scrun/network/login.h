/* What the files of scrun-network share. main.c says what the program is. */
#ifndef SCRUN_LOGIN_H
#define SCRUN_LOGIN_H

#include "../native/descriptors.h"
#include "../native/network.h"

extern struct network network;   /* what the container is told */
extern int packets[LINKS];       /* the sockets of the links, by number, or -1 */
extern int netlink;              /* for questions; its own answers only */
_Noreturn void give_up(const char *what, const char *which, int error); /* tells the anchor, and exits */

/* ---- look.c: the engine's namespace ---- */
int look(void);                  /* what has come or gone since the last look; 1: something has */
void take_over(int with_local);  /* the kernel no longer answers for what is in `network` */
void restore(void);              /* it does again */

/* ---- near.c: those who mean the container and are in its namespace themselves ---- */
extern int near_tap;             /* -1: there is none */
void near_begin(void);           /* and again when `network` has changed */
void near_end(void);
const uint8_t *near_target(void); /* an IPv4 address that leads to the container */

/* ---- loopback.c: those who connect to ::1 there ---- */
#define PUBLISHED 64 /* ports */
#define PAIRS 128    /* connections */
#define LOOPBACKS (PUBLISHED + 2 * PAIRS)
int loopback_publish(const char *first, const char *last); /* the first and the last port of a range; -1: none */
void loopback_begin(void);
void loopback_watch(struct pollfd *set); /* LOOPBACKS of them */
void loopback_serve(const struct pollfd *set);

/* ---- answers.c: the container's questions for names ---- */
#define ANSWERS (1 + 16)
void answers_begin(void);
int answers_watch(struct pollfd *set, int has_room);       /* ANSWERS of them; milliseconds to wait, or -1 */
void answers_serve(const struct pollfd *set, struct tunnel *t);
void answers_ask(const uint8_t *bytes, size_t length, struct tunnel *t);

#endif
