#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* One buffer for all: what arrives is read in bulk and parsed in place, only an incomplete rest is kept. */
static char buffer[1 << 18];

static void watch(struct conn *c, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (epoll_ctl(load.epoll, operation, c->fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
}

void conn_open(struct conn *c, enum kind kind, uint32_t index) {
  memset(c, 0, sizeof *c);
  c->kind = (uint8_t)kind;
  c->index = index;
  c->state = CONNECTING;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail("socket %u: %s", index, strerror(errno));
  int yes = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (index >= 20000 && ntohl(load.server.sin_addr.s_addr) >> 24 == 127) {
    /* One source address has some 28,000 ports: further ones come from 127.0.0.2, .3, … */
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / 20000);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0) fail("bind: %s", strerror(errno));
  }
  int rc = connect(c->fd, (struct sockaddr *)&load.server, sizeof load.server);
  if (rc < 0 && errno != EINPROGRESS) fail("connect: %s", strerror(errno));
  c->waiting = true;
  watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

/* Ends with a reset, so that no port stays behind in TIME_WAIT for the next round. */
void conn_close(struct conn *c) {
  if (c->state == CLOSED) return;
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  close(c->fd);
  free(c->in);
  free(c->out);
  c->in = c->out = NULL;
  c->state = CLOSED;
}

/* Wakes us for this connection only when so many bytes are there. */
void conn_gather(struct conn *c, int bytes) {
  if (c->state == OPEN) setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

static void lost(struct conn *c, const char *why) {
  load.closed++;
  note_error(why, strlen(why));
  conn_close(c);
}

void conn_queue(struct conn *c, const char *bytes, size_t length) {
  if (c->outLength + length > c->outRoom) {
    c->outRoom = (uint32_t)((c->outLength + length) * 2);
    c->out = realloc(c->out, c->outRoom);
    if (!c->out) fail("out of memory");
  }
  memcpy(c->out + c->outLength, bytes, length);
  c->outLength += (uint32_t)length;
}

void conn_flush(struct conn *c) {
  if (c->state == CLOSED || c->state == CONNECTING || c->outAt == c->outLength) return;
  ssize_t n = write(c->fd, c->out + c->outAt, c->outLength - c->outAt);
  if (n < 0 && errno != EAGAIN && errno != EINTR) {
    lost(c, strerror(errno));
    return;
  }
  if (n > 0) c->outAt += (uint32_t)n;
  bool rest = c->outAt < c->outLength;
  if (!rest) c->outAt = c->outLength = 0;
  if (!rest && c->kind == SUBSCRIBER) {
    free(c->out);
    c->out = NULL;
    c->outRoom = 0;
  }
  if (rest != c->waiting) {
    c->waiting = rest;
    watch(c, EPOLL_CTL_MOD, rest ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
}

static void keep(struct conn *c, const char *rest, size_t length) {
  if (length > c->inRoom) {
    c->inRoom = (uint32_t)length;
    c->in = realloc(c->in, c->inRoom);
    if (!c->in) fail("out of memory");
  }
  memcpy(c->in, rest, length);
  c->inLength = (uint32_t)length;
}

static void readable(struct conn *c) {
  size_t have = c->inLength;
  memcpy(buffer, c->in ? c->in : buffer, have);
  ssize_t n = read(c->fd, buffer + have, sizeof buffer - have);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    lost(c, n == 0 ? "the server closed the connection" : strerror(errno));
    return;
  }
  load.now = now_ns();
  phase_on_read((size_t)n);
  have += (size_t)n;
  c->inLength = 0;
  size_t used = 0;
  if (c->kind == REQUESTER) {
    used = http_response(c, buffer, have);
  } else if (c->speech == SSE || c->speech == POLL) {
    if (c->state == UPGRADING) used = feed_opened(c, buffer, have);
    if (c->state == OPEN) used += feed_read(c, buffer + used, have - used);
  } else {
    if (c->state == UPGRADING) used = websocket_upgraded(c, buffer, have);
    if (c->state == OPEN) used += websocket_frames(c, buffer + used, have - used);
  }
  if (c->state == CLOSED) return;
  if (have - used == sizeof buffer) fail("a frame or response over %zu bytes", sizeof buffer);
  if (used < have) keep(c, buffer + used, have - used);
}

void conn_ready(struct conn *c, uint32_t events) {
  if (c->state == CLOSED) return;
  if (c->state == CONNECTING && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) fail("connection %u: %s", c->index, strerror(error));
    c->state = c->kind == REQUESTER ? OPEN : UPGRADING;
    if (c->state == OPEN) opening_on_open(c);
    conn_flush(c);
    if (c->state != CLOSED && c->waiting && c->outLength == 0) {
      c->waiting = false;
      watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    return;
  }
  if (events & EPOLLOUT) conn_flush(c);
  if (c->state != CLOSED && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
}
