#include "load.h"

#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>

/*
 * Warming and measuring each end with a drain: publishing stops, and the stage is over when everything that
 * was published has arrived. So what is counted in the window is exactly what was published in it.
 */
enum stage { IDLE, PREPARING, WARMING, WARMED, MEASURING, DRAINING };

static struct plan plan;
static enum stage stage;
static uint32_t sequence, nextRequester;
static uint64_t startedAt, endsAt, deadline, lastAt, firstSentAt;
static uint64_t sent, answered, failed, received, bytes, reads, readBytes, disordered, unstamped, lag;
static double serverCpu, loadCpu, machineCpu;
static struct histogram latency, answers;

/*
 * {"t":"<18 digits of ns>","n":"<10 digits>","p":"xxx…"}, or as PostgreSQL's jsonb gives it back: with the keys in
 * order and a space after each colon.
 */
#define STAMP_DIGITS 18
#define NUMBER_DIGITS 10

static size_t write_data(char *to, uint32_t size, uint64_t now, uint32_t number) {
  int n = sprintf(to, "{\"t\":\"%018lu\",\"n\":\"%010u\",\"p\":\"", now, number);
  uint32_t at = (uint32_t)n;
  while (at < size - 2) to[at++] = 'x';
  to[at++] = '"';
  to[at++] = '}';
  return at;
}

static uint64_t digits(const char *p, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; i++) value = value * 10 + (uint64_t)(p[i] - '0');
  return value;
}

/* The text of the next member with this one-letter name, `digits` long at least; NULL where there is none. */
static const char *member(const char *text, size_t length, char name, size_t digits) {
  char start[] = {'"', name, '"', ':'};
  const char *found = memmem(text, length, start, sizeof start);
  if (!found) return NULL;
  found += sizeof start;
  if (*found == ' ') found++;
  return *found == '"' && (size_t)(text + length - found) > digits ? found + 1 : NULL;
}

/* Half of the receiving side's CPU time is the kernel's work per read and per ACK: fewer, larger reads. */
static void gather(int size) {
  if (plan.lowat <= 1) return;
  for (uint32_t i = 0; i < load.subscriberCount; i++) conn_gather(&load.subscribers[i], size);
}

static void enter(enum stage next) {
  if (next == WARMING || next == MEASURING) gather(plan.lowat);
  if (next == WARMED || next == DRAINING) gather(1);
  stage = next;
  if (next == PREPARING || next == WARMED || next == DRAINING) {
    deadline = load.now + (uint64_t)(plan.deadline * 1e9);
    return;
  }
  sent = answered = failed = received = bytes = reads = readBytes = disordered = unstamped = lag = 0;
  firstSentAt = 0;
  histogram_clear(&latency);
  histogram_clear(&answers);
  load.now = startedAt = lastAt = now_ns();
  endsAt = startedAt + (uint64_t)((next == WARMING ? plan.warmup : plan.seconds) * 1e9);
  deadline = startedAt + (uint64_t)(plan.deadline * 1e9);
  serverCpu = server_cpu();
  loadCpu = own_cpu();
  machineCpu = machine_cpu();
}

void phase_start(const struct plan *wanted) {
  if (stage != IDLE) fail("a phase is running");
  plan = *wanted;
  if (plan.how != RECEIVE && plan.size < 64) fail("size: at least 64 bytes, got %u", plan.size);
  if (plan.size > 32768) fail("size: at most 32768 bytes, got %u", plan.size);
  for (uint32_t i = 0; i < load.subscriberCount; i++) load.subscribers[i].next = 0;
  enter(PREPARING);
}

/* The publishers' connections are open. */
static bool prepared(void) {
  if (plan.how == PUBLISH) return load.publisher.state == OPEN;
  if (plan.how == RECEIVE) return true;
  for (uint32_t i = 0; i < load.requesterCount; i++) {
    if (load.requesters[i].state != OPEN) return false;
  }
  return true;
}

bool phase_active(void) { return stage != IDLE; }

void phase_on_read(size_t length) {
  reads++;
  readBytes += length;
}

void phase_on_message(struct conn *c, const char *text, size_t length) {
  static size_t at; /* where the stamp stood in the message before: nearly always the same */
  received++;
  bytes += length;
  lastAt = load.now;
  if (at < 6 || at + STAMP_DIGITS > length ||
      (memcmp(text + at - 5, "\"t\":\"", 5) != 0 && memcmp(text + at - 6, "\"t\": \"", 6) != 0)) {
    const char *stamp = member(text, length, 't', STAMP_DIGITS);
    if (!stamp) {
      unstamped++;
      return;
    }
    at = (size_t)(stamp - text);
  }
  uint64_t sentAt = digits(text + at, STAMP_DIGITS);
  if (!firstSentAt) firstSentAt = sentAt;
  histogram_add(&latency, load.now > sentAt ? load.now - sentAt : 0);
  if (!plan.ordered) return;
  uint32_t number = message_number(text + at, length - at, NULL);
  if (c->next && number != c->next) disordered++;
  c->next = number + 1;
}

/* The number of the next publication in the text, and where the text goes on; 0 where there is none. */
uint32_t message_number(const char *text, size_t length, const char **rest) {
  const char *found = member(text, length, 'n', NUMBER_DIGITS);
  if (!found) return 0;
  if (rest) *rest = found + NUMBER_DIGITS;
  return (uint32_t)digits(found, NUMBER_DIGITS);
}

static void asked(struct conn *c) {
  c->askedAt = load.now;
  c->answered = false;
  sent++;
  conn_flush(c);
}

static void post(struct conn *c) {
  char channel[512], body[32800];
  uint32_t number = ++sequence;
  if (plan.how == CALL) {
    size_t length = expand(body, sizeof body, plan.frame, number % plan.spread);
    websocket_queue_text(c, body, length);
    asked(c);
    return;
  }
  expand(channel, sizeof channel, plan.channel, number % plan.spread);
  size_t length = write_data(body, plan.size, load.now, number);
  http_queue_post(c, channel, body, length);
  asked(c);
}

static void publish(void) {
  char frame[33600], channel[512];
  uint32_t number = ++sequence;
  expand(channel, sizeof channel, plan.channel, number % plan.spread);
  int n = sprintf(frame, "{\"type\":\"publish\",\"id\":%u,\"channel\":\"%s\",\"data\":", number, channel);
  size_t at = (size_t)n + write_data(frame + n, plan.size, load.now, number);
  frame[at++] = '}';
  websocket_queue_text(&load.publisher, frame, at);
  sent++;
}

void phase_on_answer(struct conn *c, bool ok) {
  answered++;
  if (!ok) failed++;
  if (c->kind != REQUESTER && c->kind != CALLER) return;
  c->answered = true;
  histogram_add(&answers, load.now - c->askedAt);
  if (plan.rate == 0 && (stage == WARMING || stage == MEASURING) && load.now < endsAt) post(c);
}

/* How many publications may have left by now. */
static uint64_t due(void) {
  if (plan.rate > 0) return (uint64_t)((double)(load.now - startedAt) / 1e9 * plan.rate) + 1;
  return plan.how == PUBLISH ? answered + plan.flight : UINT64_MAX;
}

static void pump(void) {
  uint64_t until = due();
  if (plan.how == PUBLISH) {
    while (sent < until) publish();
    conn_flush(&load.publisher);
  } else if (plan.how == POST || plan.how == CALL) {
    for (uint32_t i = 0; i < load.requesterCount && sent < until; i++) {
      struct conn *c = &load.requesters[nextRequester++ % load.requesterCount];
      if (c->state == OPEN && c->answered) post(c);
    }
  }
}

static uint64_t expected(void) {
  return plan.how == RECEIVE ? plan.expect : (sent - failed) * plan.fan;
}

static void print_histogram(const char *name, const struct histogram *h) {
  printf(",\"%s\":{\"count\":%lu,\"p50\":%lu,\"p99\":%lu,\"p999\":%lu,\"max\":%lu}", name, h->count,
         histogram_at(h, 0.5), histogram_at(h, 0.99), histogram_at(h, 0.999), h->max);
}

static void report(void) {
  uint64_t from = plan.how == RECEIVE && firstSentAt ? firstSentAt : startedAt;
  printf("{\"event\":\"measured\",\"seconds\":%.6f,\"sent\":%lu,\"failed\":%lu,\"expected\":%lu,"
         "\"received\":%lu,\"disordered\":%lu,\"unstamped\":%lu,\"bytes\":%lu,\"reads\":%lu,"
         "\"readBytes\":%lu,\"lag\":%lu,\"serverCpu\":%.6f,\"loadCpu\":%.6f,"
         "\"machineCpu\":%.6f",
         (double)(load.now - from) / 1e9, sent, failed, expected(), received, disordered, unstamped, bytes,
         reads, readBytes, lag, server_cpu() - serverCpu, own_cpu() - loadCpu,
         machine_cpu() - machineCpu);
  print_histogram("latency", &latency);
  print_histogram("answers", &answers);
  printf(",\"closed\":%lu,\"errors\":%lu,\"error\":\"%s\"}\n", load.closed, load.errors, load.firstError);
  fflush(stdout);
  stage = IDLE;
}

static void arm(void) {
  uint64_t at = stage == WARMING || stage == MEASURING ? endsAt : deadline;
  if (plan.how == RECEIVE) at = deadline;
  if (plan.rate > 0 && (stage == WARMING || stage == MEASURING)) {
    uint64_t next = startedAt + (uint64_t)((double)sent / plan.rate * 1e9);
    if (next < at) at = next;
  }
  if (at <= load.now) at = load.now + 1000000; /* what is due waits for a free connection */
  struct itimerspec spec = {.it_value.tv_sec = (time_t)(at / 1000000000)};
  spec.it_value.tv_nsec = (long)(at % 1000000000);
  timerfd_settime(load.timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

void phase_step(void) {
  if (stage == IDLE) return;
  if (stage == PREPARING) {
    if (prepared()) enter(plan.warmup > 0 ? WARMING : MEASURING);
    else if (load.now >= deadline) fail("the publisher's connections don't open");
  }
  if (stage == PREPARING) {
    arm();
    return;
  }
  if (plan.how == RECEIVE) {
    if (received >= plan.expect || load.now >= deadline || load.closed) report();
    else arm();
    return;
  }
  if (load.closed) {
    report();
    return;
  }
  if (plan.fan && sent * plan.fan > received) {
    uint64_t behind = sent - received / plan.fan;
    if (behind > lag) lag = behind;
  }
  if (stage == WARMING || stage == MEASURING) {
    if (load.now < endsAt) pump();
    else enter(stage == WARMING ? WARMED : DRAINING);
  }
  if (stage == WARMED || stage == DRAINING) {
    bool complete = answered == sent && received >= expected();
    if (!complete && load.now < deadline) {
      arm();
      return;
    }
    if (stage == DRAINING || !complete) {
      report();
      return;
    }
    enter(MEASURING);
    pump();
  }
  arm();
}
