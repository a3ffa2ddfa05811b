/* Setting up the container's network namespace (furnish.c), for the process that serves it (network.c). */
#ifndef SCRUN_FURNISH_H
#define SCRUN_FURNISH_H

#include "network.h"
#include "node.h"

/* Makes what isn't there yet. `taps` are the links' descriptors, by number, -1 for those that are to be made; `names`
 * the sockets at 127.0.0.11, for datagrams and for streams; `user` is -1 where the container has the node's user
 * namespace. `wrong` gets why it can't be done. */
void furnish(struct network *n, int *taps, int names[2], int user, int net, struct text *wrong);

#endif
