/* JSON strings, written into a buffer. */
#ifndef API_JSON_OUT_H
#define API_JSON_OUT_H

#include "storage/buffer.h"

#define JSON_NOT_UTF8 SIZE_MAX

/* Bytes that json_put writes for text, without quotes; JSON_NOT_UTF8 where JSON cannot hold it. text.size:
 * nothing has to be escaped. */
size_t json_size(struct bytes text);
/* Writes text, escaped, without quotes, and returns the end. The room is the caller's, json_size bytes. */
uint8_t *json_put(uint8_t *out, struct bytes text, size_t size);

/* Quoted. Bytes that are no UTF-8 become U+FFFD: for messages and listings, never for values. */
void json_append(struct buffer *out, struct bytes text);
/* The content alone. */
void json_append_content(struct buffer *out, struct bytes text);

#endif
