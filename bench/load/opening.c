#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
  bool active;
  uint32_t wanted, started, open, answered, ramp;
  uint32_t missed, recovered; /* how many messages each answer must hold, and the answers that hold them */
  uint64_t messages;
  enum speech speech;
  char path[512], frame[4096], answer[64];
  uint64_t startedAt, deadline;
} opening;

/* Replaces every %d by the index. */
size_t expand(char *to, size_t room, const char *template, uint32_t index) {
  size_t n = 0;
  for (const char *p = template; *p; p++) {
    if (n + 12 > room) fail("too long: %s", template);
    if (p[0] == '%' && p[1] == 'd') {
      n += (size_t)snprintf(to + n, room - n, "%u", index);
      p++;
    } else {
      to[n++] = *p;
    }
  }
  to[n] = 0;
  return n;
}

static void begin(const char *frame, const char *answer) {
  snprintf(opening.frame, sizeof opening.frame, "%s", frame);
  opening.answer[0] = 0;
  bool framed = opening.speech == WEBSOCKET;
  if (*answer) snprintf(opening.answer, sizeof opening.answer, framed ? "\"type\":\"%s\"" : "%s", answer);
  opening.active = true;
  opening.answered = opening.missed = opening.recovered = 0;
  opening.messages = 0;
  opening.startedAt = now_ns();
  opening.deadline = opening.startedAt + 90ull * 1000000000;
}

/* No more than `ramp` connections are being made at once: the server's queue of them is short. */
void opening_start(enum speech speech, uint32_t count, uint32_t ramp, const char *path, const char *frame,
                   const char *answer) {
  if (load.subscriberCount) fail("the subscribers are open already: close first");
  load.subscribers = calloc(count, sizeof *load.subscribers);
  load.subscriberCount = count;
  if (!load.subscribers) fail("out of memory");
  opening.wanted = count;
  opening.started = opening.open = 0;
  opening.ramp = ramp;
  opening.speech = speech;
  snprintf(opening.path, sizeof opening.path, "%s", path);
  begin(frame, answer);
}

const char *opening_frame(void) { return opening.frame; }

/* Each answer must say that all was recovered, and hold so many messages, numbered without a gap. */
void opening_expect(uint32_t missed) { opening.missed = missed; }

static void count_missed(const char *text, size_t length) {
  const char *end = text + length, *at = text;
  uint32_t count = 0, next = 0, number;
  while ((number = message_number(at, (size_t)(end - at), &at))) {
    if (next && number != next) break;
    next = number + 1;
    count++;
  }
  opening.messages += count;
  if (count == opening.missed && memmem(text, length, "\"recovered\":true", 16)) opening.recovered++;
}

/* Sends a frame on every open subscriber, no more than `ramp` of them unanswered. */
void opening_send(const char *frame, const char *answer) {
  opening.started = opening.open = 0;
  opening.wanted = load.subscriberCount;
  for (uint32_t i = 0; i < load.subscriberCount; i++) load.subscribers[i].answered = false;
  opening.path[0] = 0;
  begin(frame, answer);
}

static void say(struct conn *c) {
  opening.open++;
  if (!opening.frame[0] || c->speech == SOCKETIO) return;
  char text[4096];
  size_t n = expand(text, sizeof text, opening.frame, c->index);
  websocket_queue_text(c, text, n);
  conn_flush(c);
}

void opening_on_open(struct conn *c) {
  if (c->kind == SUBSCRIBER) say(c);
}

void opening_on_text(struct conn *c, const char *text, size_t length) {
  if (!opening.active || c->answered || !opening.answer[0]) return;
  if (!memmem(text, length, opening.answer, strlen(opening.answer))) return;
  c->answered = true;
  opening.answered++;
  count_missed(text, length);
}

static void report(const char *event) {
  printf("{\"event\":\"%s\",\"wanted\":%u,\"open\":%u,\"answered\":%u,\"recovered\":%u,\"messages\":%lu,\"seconds\":%.6f,\"closed\":%lu,"
         "\"errors\":%lu,\"error\":\"%s\"}\n",
         event, opening.wanted, opening.open, opening.answered, opening.recovered, opening.messages,
         (double)(load.now - opening.startedAt) / 1e9, load.closed, load.errors, load.firstError);
  fflush(stdout);
  opening.active = false;
}

void opening_step(void) {
  if (!opening.active) return;
  uint32_t finished = opening.answer[0] ? opening.answered : opening.open;
  while (opening.started < opening.wanted && opening.started - finished < opening.ramp) {
    struct conn *c = &load.subscribers[opening.started];
    opening.started++;
    if (opening.path[0]) {
      char path[512];
      expand(path, sizeof path, opening.path, c - load.subscribers);
      conn_open(c, SUBSCRIBER, (uint32_t)(c - load.subscribers));
      c->speech = (uint8_t)opening.speech;
      if (c->speech == SSE || c->speech == POLL) feed_ask(c, path);
      else websocket_upgrade(c, path);
    } else {
      say(c);
    }
  }
  if (finished == opening.wanted) {
    report("opened");
  } else if (load.now > opening.deadline || load.closed || load.errors) {
    report("failed");
  }
}
