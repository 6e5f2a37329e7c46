/* The names that the files of a data directory have (FORMAT.md). A node removes and renames no others:
 * somebody may have named a directory that holds files of his own. */
#ifndef STORAGE_DIRECTORY_H
#define STORAGE_DIRECTORY_H

#include "storage/file.h"

#define DIRECTORY_SEGMENT "log-"
#define DIRECTORY_SPARE   "spare-"
#define DIRECTORY_ASIDE   "aside-"
#define DIRECTORY_LEDGER  "rejected"
#define DIRECTORY_NEW     ".new" /* behind the name of the file that it is to replace */

/* Of `<prefix><number>`, 16 hexadecimal digits: not 0 and not the highest. */
bool directory_number(const char *name, const char *prefix, uint64_t *number);
/* Whether a node's file has this name. */
bool directory_owns(const char *name);
/* The name of such a file that was damaged, or stood beside one, until this incarnation of the node began. */
void directory_aside_name(char out[FILE_NAME_MAX], uint64_t incarnation, const char *name);
bool directory_is_aside(const char *name);
/* Of one of these files, a replacement that was not finished. */
bool directory_is_unfinished(const char *name);

#endif
