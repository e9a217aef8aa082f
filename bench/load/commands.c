#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A command is a line: its name, then words `key=value`; `frame=` is last and takes the rest of the line.
 * Each is answered by one line of JSON.
 *
 *   open count=1000 path=/ws ramp=128 answer=subscribed frame={"type":"subscribe","id":1,"channel":"a:%d"}
 *   open speak=sse count=1000 path=/sse?channel=a:1 answer=welcome      as EventSource; speak=poll: long-polling
 *   open speak=socketio count=1000 path=/socket.io/?EIO=4&transport=websocket answer=43 frame=/a 1
 *                                         joins the namespace /a and subscribes to 1 there
 *   open … missed=100 …                   each answer must hold what was missed: 100 numbered messages
 *   send answer=subscribed frame=…        a frame on every connection
 *   publish channel=a:1 flight=16 rate=0 seconds=4 warmup=0.5 size=128 lowat=1
 *   post connections=64 channel=a:%d spread=5000 fan=1 rate=0 seconds=4 warmup=0.5 size=128
 *   call connections=1000 path=/ws spread=1 seconds=4 warmup=0.5 frame={…}
 *                                         over WebSockets, one unanswered frame on each
 *   receive expect=100000 deadline=60     what somebody else publishes
 *   close                                 all connections
 */
static const char *word(char *line, const char *key, const char *missing) {
  static char values[8][4200];
  static int turn;
  size_t length = strlen(key);
  for (char *p = line; (p = strchr(p, ' ')); ) {
    p++;
    if (strncmp(p, key, length) != 0 || p[length] != '=') {
      if (strncmp(p, "frame=", 6) == 0) break;
      continue;
    }
    char *value = values[turn++ % 8];
    size_t size = strcmp(key, "frame") == 0 ? strlen(p + length + 1) : strcspn(p + length + 1, " ");
    if (size >= sizeof values[0]) fail("%s is too long", key);
    memcpy(value, p + length + 1, size);
    value[size] = 0;
    return value;
  }
  if (!missing) fail("%s: %s= is missing", line, key);
  return missing;
}

static double number(char *line, const char *key, double missing) {
  const char *text = word(line, key, "");
  return *text ? strtod(text, NULL) : missing;
}

static void open_publisher(void) {
  if (load.publisher.state != CLOSED) return;
  conn_open(&load.publisher, PUBLISHER, 0);
  websocket_upgrade(&load.publisher, "/ws");
}

/* With a path they are WebSockets. */
static void open_requesters(uint32_t count, const char *path) {
  if (load.requesterCount == count) return;
  for (uint32_t i = 0; i < load.requesterCount; i++) conn_close(&load.requesters[i]);
  free(load.requesters);
  load.requesters = calloc(count, sizeof *load.requesters);
  load.requesterCount = count;
  for (uint32_t i = 0; i < count; i++) {
    conn_open(&load.requesters[i], path ? CALLER : REQUESTER, 0);
    if (path) websocket_upgrade(&load.requesters[i], path);
    load.requesters[i].answered = true;
  }
}

static void close_all(void) {
  for (uint32_t i = 0; i < load.subscriberCount; i++) conn_close(&load.subscribers[i]);
  for (uint32_t i = 0; i < load.requesterCount; i++) conn_close(&load.requesters[i]);
  conn_close(&load.publisher);
  free(load.subscribers);
  free(load.requesters);
  load.subscribers = load.requesters = NULL;
  load.subscriberCount = load.requesterCount = 0;
  load.closed = load.errors = 0;
  load.firstError[0] = 0;
  printf("{\"event\":\"closed\"}\n");
  fflush(stdout);
}

static void measure(char *line, enum how how) {
  struct plan plan = {.how = how};
  snprintf(plan.channel, sizeof plan.channel, "%s", word(line, "channel", how == RECEIVE || how == CALL ? "" : NULL));
  snprintf(plan.frame, sizeof plan.frame, "%s", word(line, "frame", how == CALL ? NULL : ""));
  plan.flight = (uint32_t)number(line, "flight", 16);
  plan.rate = number(line, "rate", 0);
  plan.seconds = number(line, "seconds", 4);
  plan.warmup = number(line, "warmup", 0);
  plan.size = (uint32_t)number(line, "size", 128);
  plan.spread = (uint32_t)number(line, "spread", 1);
  plan.fan = (uint32_t)number(line, "fan", load.subscriberCount);
  plan.expect = (uint64_t)number(line, "expect", 0);
  plan.deadline = number(line, "deadline", 20);
  plan.lowat = (int)number(line, "lowat", 1);
  plan.ordered = how == PUBLISH && plan.spread == 1;
  if (how == PUBLISH) open_publisher();
  if (how == CALL) plan.fan = 0;
  if (how == POST) open_requesters((uint32_t)number(line, "connections", 64), NULL);
  if (how == CALL) open_requesters((uint32_t)number(line, "connections", 1), word(line, "path", "/ws"));
  phase_start(&plan);
}

static enum speech speech_of(const char *name) {
  static const char *names[] = {"websocket", "socketio", "sse", "poll"};
  for (int i = 0; i < 4; i++) {
    if (strcmp(name, names[i]) == 0) return (enum speech)i;
  }
  fail("speak=%s: websocket, socketio, sse or poll", name);
}

void command_run(char *line) {
  if (strncmp(line, "open ", 5) == 0) {
    opening_start(speech_of(word(line, "speak", "websocket")), (uint32_t)number(line, "count", 1), (uint32_t)number(line, "ramp", 128),
                  word(line, "path", "/ws"), word(line, "frame", ""), word(line, "answer", ""));
    opening_expect((uint32_t)number(line, "missed", 0));
  } else if (strncmp(line, "send ", 5) == 0) {
    opening_send(word(line, "frame", NULL), word(line, "answer", ""));
  } else if (strncmp(line, "publish ", 8) == 0) {
    measure(line, PUBLISH);
  } else if (strncmp(line, "post ", 5) == 0) {
    measure(line, POST);
  } else if (strncmp(line, "call ", 5) == 0) {
    measure(line, CALL);
  } else if (strncmp(line, "receive ", 8) == 0) {
    measure(line, RECEIVE);
  } else if (strcmp(line, "close") == 0) {
    close_all();
  } else {
    fail("unknown command: %s", line);
  }
}
