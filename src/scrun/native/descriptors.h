/* Descriptors that go from one process to another, and those that don't (descriptors.c). */
#ifndef SCRUN_DESCRIPTORS_H
#define SCRUN_DESCRIPTORS_H

#include "base.h"

int send_descriptors(int to, const void *text, size_t length, const int *fds, int count); /* 4 of them at most */
int receive_descriptors(int from, void *text, size_t size, int *fds, int most, int *count);
void close_all_but(const int *kept, int count); /* and but for 0, 1 and 2; one that is -1 is none */

#endif
