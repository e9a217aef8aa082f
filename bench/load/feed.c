#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void ask(struct conn *c, const char *path, const char *since, size_t sinceLength) {
  char request[1024];
  int n = snprintf(request, sizeof request, "GET %s%s%.*s HTTP/1.1\r\nHost: %s\r\n\r\n", path,
                   sinceLength ? "&since=" : "", (int)sinceLength, since, load.host);
  if (n >= (int)sizeof request) fail("the path is too long");
  conn_queue(c, request, (size_t)n);
}

/* All subscribers ask for the same, but for %d, which polls don't have. */
static char pollPath[512];

void feed_ask(struct conn *c, const char *path) {
  if (c->speech == POLL) snprintf(pollPath, sizeof pollPath, "%s", path);
  ask(c, path, "", 0);
}

/* Reads the head of an endless answer; a poll's answer is one that ends, and is left as it is. */
size_t feed_opened(struct conn *c, const char *bytes, size_t length) {
  const char *end = memmem(bytes, length, "\r\n\r\n", 4);
  if (!end) return 0;
  if (length < 12 || memcmp(bytes + 9, "200", 3) != 0) {
    const char *line = memchr(bytes, '\r', length);
    fail("connection %u: refused: %.*s", c->index, (int)(line - bytes), bytes);
  }
  c->state = OPEN;
  opening_on_open(c);
  return c->speech == POLL ? 0 : (size_t)(end - bytes) + 4;
}

static void on_block(struct conn *c, const char *text, size_t length) {
  static const char mark[] = "event: message\n";
  if (memmem(text, length, mark, sizeof mark - 1)) phase_on_message(c, text, length);
  else opening_on_text(c, text, length);
}

/*
 * Each chunk holds whole blocks: what does not is counted as no delivery, and found so. The line break behind a chunk
 * may come with the next one only.
 */
static size_t sse_chunks(struct conn *c, const char *bytes, size_t length) {
  size_t at = 0;
  while (at < length) {
    size_t gap = length - at >= 2 && memcmp(bytes + at, "\r\n", 2) == 0 ? 2 : 0;
    const char *line = memmem(bytes + at + gap, length - at - gap, "\r\n", 2);
    if (!line) break;
    size_t size = strtoul(bytes + at + gap, NULL, 16), head = (size_t)(line - bytes) - at + 2;
    if (length - at < head + size) break;
    const char *block = bytes + at + head, *end = block + size, *stop;
    at += head + size;
    while (block < end && (stop = memmem(block, (size_t)(end - block), "\n\n", 2))) {
      on_block(c, block, (size_t)(stop - block));
      block = stop + 2;
    }
  }
  return at;
}

/* An answer: its messages are deliveries, and the next request goes on from its cursor. */
static size_t poll_answer(struct conn *c, const char *bytes, size_t length) {
  static const char key[] = "\"cursor\":\"";
  const char *end = memmem(bytes, length, "\r\n\r\n", 4);
  if (!end) return 0;
  const char *body = end + 4;
  size_t size = http_content_length(bytes, end);
  if ((size_t)(body - bytes) + size > length) return 0;
  if (memcmp(bytes + 9, "200", 3) != 0) note_error(bytes, (size_t)(body - bytes) + size);
  const char *cursor = memmem(body, size, key, sizeof key - 1);
  if (!cursor) fail("a poll's answer without a cursor: %.*s", (int)size, body);
  cursor += sizeof key - 1;
  ask(c, pollPath, cursor, (size_t)((const char *)memchr(cursor, '"', 80) - cursor));
  conn_flush(c);
  opening_on_text(c, body, size);
  const char *at = body, *rest;
  while (message_number(at, (size_t)(body + size - at), &rest)) {
    /* From this message's stamp on: the one before has been passed. */
    phase_on_message(c, at, (size_t)(body + size - at));
    at = rest;
  }
  return (size_t)(body - bytes) + size;
}

size_t feed_read(struct conn *c, const char *bytes, size_t length) {
  return c->speech == SSE ? sse_chunks(c, bytes, length) : poll_answer(c, bytes, length);
}

/* Engine.IO 4: 0 open, 2 ping, 3 pong, 4 message; Socket.IO 5 within: 0 connect, 2 event, 3 ack. */
void socketio_on_text(struct conn *c, const char *text, size_t length) {
  static char namespace[64];
  char packet[512], room[256];
  int n = 0;
  if (text[0] == '0') {
    const char *frame = opening_frame();
    size_t size = strcspn(frame, " ");
    snprintf(namespace, sizeof namespace, "%.*s", (int)size, frame);
    n = snprintf(packet, sizeof packet, "40%s,", namespace);
  } else if (text[0] == '2') {
    n = snprintf(packet, sizeof packet, "3");
  } else if (length > 1 && text[1] == '0') {
    expand(room, sizeof room, opening_frame() + strcspn(opening_frame(), " ") + 1, c->index);
    n = snprintf(packet, sizeof packet, "42%s,0[\"subscribe\",\"%s\"]", namespace, room);
  } else if (length > 1 && text[1] == '2' && memmem(text, length, "[\"message\"", 10)) {
    phase_on_message(c, text, length);
  } else {
    if (length > 1 && text[1] == '4') note_error(text, length);
    opening_on_text(c, text, length);
  }
  if (n == 0) return;
  websocket_queue_text(c, packet, (size_t)n);
  conn_flush(c);
}
