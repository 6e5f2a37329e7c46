/* Sizes of the names that stand on disk and travel between nodes alike. */
#ifndef STORAGE_NAME_H
#define STORAGE_NAME_H

#define NODE_ID_SIZE     16 /* bytes of [A-Za-z0-9_-], no NUL */
#define CLUSTER_NAME_MAX 64 /* bytes */

#endif
