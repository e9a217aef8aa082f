/*
 * The load generator of `npm run bench`: one thread, one epoll. It holds the subscribers, publishes, counts
 * what arrives and measures how long it took; the commands come on standard input (see commands.c).
 */
#pragma once

#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind { SUBSCRIBER, PUBLISHER, REQUESTER, CALLER };
enum state { CLOSED, CONNECTING, UPGRADING, OPEN };
enum speech { WEBSOCKET, SOCKETIO, SSE, POLL };

struct conn {
  int fd;
  uint8_t kind, state, speech;
  bool answered; /* a subscriber has got the answer that everybody waits for */
  bool waiting;  /* EPOLLOUT is asked for */
  uint32_t index;
  uint32_t next; /* the sequence number that must come next; 0 takes any */
  uint32_t inLength, inRoom;
  uint32_t outLength, outAt, outRoom;
  char *in; /* the head of a frame or of a response whose rest has not come yet */
  char *out;
  uint64_t askedAt; /* when the HTTP request left, ns */
};

/* Log-linear: exact below 256 ns, better than 1 % above. */
#define HISTOGRAM_CELLS (64 * 128)
struct histogram {
  uint64_t count, max;
  uint64_t cells[HISTOGRAM_CELLS];
};

void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_at(const struct histogram *h, double quantile);

/* What the commands set up; there is one of it. */
struct load {
  int epoll, timer;
  struct sockaddr_in server;
  int serverPid;
  char host[64];
  uint64_t now; /* CLOCK_MONOTONIC, ns; taken after each wait and each read */

  struct conn *subscribers;
  uint32_t subscriberCount;
  struct conn publisher;
  struct conn *requesters;
  uint32_t requesterCount;

  uint64_t closed; /* connections that the server ended */
  uint64_t errors; /* `error` frames and HTTP answers other than 200 */
  char firstError[512];
};
extern struct load load;

uint64_t now_ns(void);
double own_cpu(void);
double server_cpu(void);
double machine_cpu(void);
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void note_error(const char *text, size_t length);

/* connection.c: sockets, with whatever they speak on top of them */
void conn_open(struct conn *c, enum kind kind, uint32_t index);
void conn_close(struct conn *c);
void conn_ready(struct conn *c, uint32_t events);
void conn_gather(struct conn *c, int bytes);
void conn_queue(struct conn *c, const char *bytes, size_t length);
void conn_flush(struct conn *c);

/* websocket.c */
void websocket_upgrade(struct conn *c, const char *path);
size_t websocket_upgraded(struct conn *c, const char *bytes, size_t length);
size_t websocket_frames(struct conn *c, const char *bytes, size_t length);
void websocket_queue_text(struct conn *c, const char *text, size_t length);

/* feed.c: subscribers over HTTP, and Socket.IO's packets in WebSocket texts */
void feed_ask(struct conn *c, const char *path);
size_t feed_opened(struct conn *c, const char *bytes, size_t length);
size_t feed_read(struct conn *c, const char *bytes, size_t length);
void socketio_on_text(struct conn *c, const char *text, size_t length);

/* http.c */
void http_queue_post(struct conn *c, const char *channel, const char *body, size_t length);
size_t http_response(struct conn *c, const char *bytes, size_t length);
size_t http_content_length(const char *head, const char *end);

/* opening.c: the ramp of subscribers, and frames that all of them send */
void opening_start(enum speech speech, uint32_t count, uint32_t ramp, const char *path, const char *frame,
                   const char *answer);
void opening_expect(uint32_t missed);
const char *opening_frame(void);
void opening_send(const char *frame, const char *answer);
void opening_on_open(struct conn *c);
void opening_on_text(struct conn *c, const char *text, size_t length);
void opening_step(void);
size_t expand(char *to, size_t room, const char *template, uint32_t index);

/* phase.c: one measured stretch of publishing and receiving */
enum how { PUBLISH, POST, CALL, RECEIVE };
struct plan {
  enum how how;
  char channel[256]; /* %d: the number of the subscriber, going round */
  char frame[1024];  /* CALL: what is sent; %d: a number, going round `spread` */
  uint32_t flight;   /* publications under way at once */
  double rate;       /* publications a second; 0: as fast as they are answered */
  double seconds, warmup;
  uint32_t size;   /* bytes of data */
  uint32_t fan;    /* deliveries that each publication must cause */
  uint32_t spread; /* how many channels %d goes round */
  int lowat;       /* bytes that a subscriber lets gather before it reads; 1 measures latencies rightly */
  uint64_t expect; /* RECEIVE: deliveries to wait for */
  double deadline; /* seconds to wait for what is missing */
  bool ordered;    /* each subscriber must see every number */
};
void phase_start(const struct plan *plan);
bool phase_active(void);
void phase_on_message(struct conn *c, const char *text, size_t length);
uint32_t message_number(const char *text, size_t length, const char **rest);
void phase_on_answer(struct conn *c, bool ok);
void phase_on_read(size_t length);
void phase_step(void);

/* commands.c */
void command_run(char *line);
