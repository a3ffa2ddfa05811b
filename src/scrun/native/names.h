/* The container's questions for names at docker's 127.0.0.11 (names.c). */
#ifndef SCRUN_NAMES_H
#define SCRUN_NAMES_H

#include "network.h"

#define NAME_STREAMS 16
#define NAME_SOCKETS (2 + NAME_STREAMS)
int names_watch(struct pollfd *set, const int sockets[2], int is_open); /* milliseconds to wait, or -1 */
void names_serve(const struct pollfd *set, const int sockets[2], struct tunnel *t);
void names_answer(const uint8_t *bytes, size_t length);

#endif
