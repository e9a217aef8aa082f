#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_queue_post(struct conn *c, const char *channel, const char *body, size_t length) {
  char head[768];
  int n = snprintf(head, sizeof head,
                   "POST /publish?channel=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   channel, load.host, length);
  conn_queue(c, head, (size_t)n);
  conn_queue(c, body, length);
}

size_t http_content_length(const char *head, const char *end) {
  for (const char *line = head; line < end; line++) {
    if (strncasecmp(line, "\r\ncontent-length:", 17) == 0) return strtoul(line + 17, NULL, 10);
  }
  fail("an HTTP answer without Content-Length: %.*s", (int)(end - head), head);
}

/* Handles one response, once it is complete; returns how many bytes it was. No request is pipelined. */
size_t http_response(struct conn *c, const char *bytes, size_t length) {
  const char *end = memmem(bytes, length, "\r\n\r\n", 4);
  if (!end || length < 12) return 0;
  size_t total = (size_t)(end - bytes) + 4 + http_content_length(bytes, end);
  if (length < total) return 0;
  bool ok = memcmp(bytes + 9, "200", 3) == 0;
  if (!ok) note_error(bytes, total);
  phase_on_answer(c, ok);
  return total;
}
