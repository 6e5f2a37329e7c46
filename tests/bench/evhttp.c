/* GET /get answered by libevent's own HTTP server, evhttp: what kvnode would cost had it used that.
 *
 * evhttp -p PORT. Looks the key up in nothing and prints it into the answer, with the headers kvnode sends.
 */
#include "tests/bench/ceiling.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

static void on_get(struct evhttp_request *request, void *arg) {
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request), query;
    struct evbuffer *body = evbuffer_new();
    const char *given = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    (void)arg;
    if (!body || evhttp_parse_query_str(given ? given : "", &query))
        err(1, "request");
    const char *key = evhttp_find_header(&query, "key");
    evbuffer_add_printf(body, "{\"key\":\"%s\",\"value\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}",
                        key ? key : "");
    evhttp_clear_headers(&query);
    evhttp_add_header(headers, "Content-Type", "application/json");
    evhttp_add_header(headers, "ETag", "\"1.10042\"");
    evhttp_add_header(headers, "KV-Node", "bench00000000000");
    evhttp_add_header(headers, "KV-Group", "0");
    evhttp_send_reply(request, 200, "OK", body);
    evbuffer_free(body);
}

int main(int argc, char **argv) {
    if (argc != 3 || strcmp(argv[1], "-p"))
        errx(2, "evhttp -p PORT");
    struct event_base *base = event_base_new();
    struct evhttp *server = evhttp_new(base);
    if (!server || evhttp_bind_socket(server, "127.0.0.1", ceiling_port(argv[2])) ||
        evhttp_set_cb(server, "/get", on_get, NULL))
        err(1, "evhttp");
    event_base_dispatch(base);
    return 0;
}
