#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct load load;

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

double own_cpu(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* utime + stime of the server with all its threads, as in /proc/<pid>/stat but not rounded to 10 ms. */
double server_cpu(void) {
  clockid_t clock;
  struct timespec t;
  if (!load.serverPid) return 0;
  if (clock_getcpuclockid(load.serverPid, &clock) != 0 || clock_gettime(clock, &t) != 0) {
    fail("no process %d: the server has ended", load.serverPid);
  }
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* CPU seconds of everything that runs on the machine, time that the host took away included. */
double machine_cpu(void) {
  unsigned long user, nice, system, idle, wait, irq, softirq, steal;
  FILE *file = fopen("/proc/stat", "r");
  if (!file) fail("/proc/stat: %s", strerror(errno));
  int n = fscanf(file, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &user, &nice, &system, &idle, &wait, &irq,
                 &softirq, &steal);
  fclose(file);
  if (n != 8) fail("/proc/stat: eight numbers expected, got %d", n);
  return (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

/* Keeps the first error's text, made fit for a JSON string. */
void note_error(const char *text, size_t length) {
  load.errors++;
  if (load.firstError[0]) return;
  size_t n = 0;
  for (size_t i = 0; i < length && n < sizeof load.firstError - 2; i++) {
    unsigned char byte = (unsigned char)text[i];
    if (byte == '"' || byte == '\\') load.firstError[n++] = '\\';
    load.firstError[n++] = byte < 32 || byte > 126 ? ' ' : (char)byte;
  }
  load.firstError[n] = 0;
}

static void read_commands(void) {
  static char input[16384];
  static size_t have;
  ssize_t n = read(STDIN_FILENO, input + have, sizeof input - have - 1);
  if (n <= 0) exit(0);
  have += (size_t)n;
  char *line = input, *end;
  while ((end = memchr(line, '\n', have - (size_t)(line - input)))) {
    *end = 0;
    load.now = now_ns();
    command_run(line);
    line = end + 1;
  }
  have -= (size_t)(line - input);
  if (have == sizeof input - 1) fail("a command over %zu bytes", sizeof input);
  memmove(input, line, have);
}

static char commandMark, timerMark;

static void watch(int fd, void *mark) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = mark};
  if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
}

int main(int argc, char **argv) {
  if (argc != 4) fail("usage: load <address> <port> <pid of the server>");
  signal(SIGPIPE, SIG_IGN);
  load.server.sin_family = AF_INET;
  load.server.sin_port = htons((uint16_t)atoi(argv[2]));
  if (inet_pton(AF_INET, argv[1], &load.server.sin_addr) != 1) fail("%s is no IPv4 address", argv[1]);
  snprintf(load.host, sizeof load.host, "%s:%s", argv[1], argv[2]);
  load.serverPid = atoi(argv[3]);
  load.epoll = epoll_create1(EPOLL_CLOEXEC);
  load.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  watch(STDIN_FILENO, &commandMark);
  watch(load.timer, &timerMark);

  static struct epoll_event events[1024];
  for (;;) {
    int n = epoll_wait(load.epoll, events, 1024, phase_active() ? -1 : 1000);
    if (n < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
    load.now = now_ns();
    bool commanded = false;
    for (int i = 0; i < n; i++) {
      if (events[i].data.ptr == &commandMark) {
        commanded = true; /* after the others: `close` frees connections that may stand in `events` */
      } else if (events[i].data.ptr == &timerMark) {
        uint64_t expirations;
        ssize_t got = read(load.timer, &expirations, sizeof expirations);
        if (got < 0 && errno != EAGAIN) fail("timer: %s", strerror(errno));
      } else {
        conn_ready(events[i].data.ptr, events[i].events);
      }
    }
    if (commanded) read_commands();
    opening_step();
    phase_step();
  }
}
