/* Descriptors that go from one process to another (descriptors.c). */
#ifndef SCRUN_DESCRIPTORS_H
#define SCRUN_DESCRIPTORS_H

#include "base.h"

int send_descriptors(int to, const void *text, size_t length, const int *fds, int count); /* 4 of them at most */
int receive_descriptors(int from, void *text, size_t size, int *fds, int most, int *count);

#endif
