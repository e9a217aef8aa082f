#include "load.h"

#include <stdio.h>
#include <string.h>

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

void websocket_upgrade(struct conn *c, const char *path) {
  char request[2048];
  int n = snprintf(request, sizeof request,
                   "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                   path, load.host);
  if (n >= (int)sizeof request) fail("the path is too long");
  conn_queue(c, request, (size_t)n);
}

/* Reads the answer to the upgrade; returns how much of `bytes` it was. */
size_t websocket_upgraded(struct conn *c, const char *bytes, size_t length) {
  const char *end = memmem(bytes, length, "\r\n\r\n", 4);
  if (!end) return 0;
  if (length < 12 || memcmp(bytes + 9, "101", 3) != 0) {
    const char *line = memchr(bytes, '\r', length);
    fail("connection %u: refused: %.*s", c->index, (int)(line - bytes), bytes);
  }
  c->state = OPEN;
  opening_on_open(c);
  return (size_t)(end - bytes) + 4;
}

static void queue_frame(struct conn *c, int opcode, const char *payload, size_t length) {
  static const unsigned char key[4] = {0x5a, 0xc3, 0x17, 0x8e};
  unsigned char frame[14 + 65536];
  if (length > 65535) fail("a frame over 65535 bytes");
  size_t at = 0;
  frame[at++] = (unsigned char)(0x80 | opcode);
  if (length < 126) {
    frame[at++] = (unsigned char)(0x80 | length);
  } else {
    frame[at++] = 0x80 | 126;
    frame[at++] = (unsigned char)(length >> 8);
    frame[at++] = (unsigned char)length;
  }
  memcpy(frame + at, key, 4);
  at += 4;
  for (size_t i = 0; i < length; i++) frame[at + i] = (unsigned char)payload[i] ^ key[i & 3];
  conn_queue(c, (const char *)frame, at + length);
}

void websocket_queue_text(struct conn *c, const char *text, size_t length) {
  queue_frame(c, TEXT, text, length);
}

static bool is_type(const char *text, size_t length, const char *field, size_t size) {
  /* Nearly always the first field: {"type":"…" */
  if (length > size && memcmp(text + 1, field, size) == 0) return true;
  return memmem(text, length, field, size) != NULL;
}
#define IS_TYPE(text, length, name) \
  is_type(text, length, "\"type\":\"" name "\"", sizeof("\"type\":\"" name "\"") - 1)

static void on_text(struct conn *c, const char *text, size_t length) {
  if (c->kind == PUBLISHER) {
    if (IS_TYPE(text, length, "reply")) {
      phase_on_answer(c, true);
    } else if (IS_TYPE(text, length, "error")) {
      note_error(text, length);
      phase_on_answer(c, false);
    }
    return;
  }
  if (c->kind == CALLER) {
    if (IS_TYPE(text, length, "welcome")) return;
    bool failed = IS_TYPE(text, length, "error");
    if (failed) note_error(text, length);
    phase_on_answer(c, !failed);
    return;
  }
  if (c->speech == SOCKETIO) {
    socketio_on_text(c, text, length);
    return;
  }
  if (IS_TYPE(text, length, "message")) {
    phase_on_message(c, text, length);
    return;
  }
  if (IS_TYPE(text, length, "error")) note_error(text, length);
  opening_on_text(c, text, length);
}

/* Handles all complete frames; returns how many bytes they were. */
size_t websocket_frames(struct conn *c, const char *bytes, size_t length) {
  const unsigned char *p = (const unsigned char *)bytes;
  size_t at = 0;
  while (length - at >= 2) {
    int opcode = p[at] & 15;
    size_t size = p[at + 1] & 127, head = 2;
    if (size == 126) {
      if (length - at < 4) break;
      size = (size_t)p[at + 2] << 8 | p[at + 3];
      head = 4;
    } else if (size == 127) {
      if (length - at < 10) break;
      size = 0;
      for (int i = 2; i < 10; i++) size = size << 8 | p[at + (size_t)i];
      head = 10;
    }
    if (length - at - head < size || length - at < head) break;
    const char *payload = bytes + at + head;
    at += head + size;
    if (opcode == TEXT) {
      on_text(c, payload, size);
    } else if (opcode == PING) {
      queue_frame(c, PONG, payload, size);
      conn_flush(c);
    } else if (opcode == CLOSE) {
      char why[160];
      unsigned code = size >= 2 ? (unsigned)(unsigned char)payload[0] << 8 | (unsigned char)payload[1] : 1005;
      int n = snprintf(why, sizeof why, "closed with %u %.*s", code, size > 2 ? (int)size - 2 : 0,
                       size > 2 ? payload + 2 : "");
      note_error(why, n < (int)sizeof why ? (size_t)n : sizeof why - 1);
    }
    if (c->state == CLOSED) return at;
  }
  return at;
}
