/* The load client: thousands of WebSockets, event streams or polls on one thread, counting what arrives.
 *
 *   load PORTS FILE READY [COUNT]
 *
 * PORTS are separated by commas; the connections take turns. Each line of FILE is a connection: "ws", "sio" (Socket.IO
 * over a WebSocket: joins and answers its pings), "sse" or "poll" (asks again, with the last cursor, as soon as an answer
 * or a refusal has come and everybody is connected), its path, and further header lines, separated by tabs. A connection
 * counts as ready once READY has come in its stream ("-": with the answer to its handshake). An event is whatever holds "n":<count> and "ts":<ns of CLOCK_MONOTONIC>, in this order;
 * n rises by one per connection. With COUNT, such as "unread":, that stands before the count, and no time is looked for.
 *
 * Commands on stdin, an answer line of JSON for each: "connect IN_FLIGHT", "report" (what came since the last report,
 * and how much processor time this client took), "level N SECONDS" (the same, as soon as the count of every connection
 * has reached N, or nothing has come for so long), "quit". Events are read all the time. A frame is, of an event stream,
 * what one read brings, and of a poll an answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, STEP_NS = 10000, STEPS = 3000000 }; /* latencies in steps of 10 us, up to 30 s */

typedef struct {
    int fd, port, is_ws, is_sio, is_poll, is_open, is_ready, is_gone;
    char *target, *tail; /* of a request: before and after its query */
    char *cursor;        /* of a poll, as the query of its next request */
    char *held; /* what is not a whole token or frame yet */
    size_t held_size, held_room;
    long long last_n;
} Connection;

static Connection *connections;
static size_t count, begun, ready, gone, levelled;
static long long level = 1;
static int epoll, ports[64], is_asking, is_timeless;
static size_t port_count;
static const char *ready_token, *count_token = "\"n\":";
static uint32_t steps[STEPS];
static uint64_t deliveries, missing, doubled, refused, frames, bytes, first_ns, last_ns;
static char buffer[BUFFER];

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static double cpu_seconds(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void read_ports(char *text) {
    for (char *one; (one = strsep(&text, ",")) && port_count < sizeof ports / sizeof *ports;) ports[port_count++] = atoi(one);
}

static void read_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    char *line = NULL;
    size_t room = 0, most = 0;
    while (getline(&line, &room, file) > 0) {
        line[strcspn(line, "\n")] = 0;
        if (count == most) {
            most = most ? most * 2 : 1024;
            connections = realloc(connections, most * sizeof *connections);
        }
        Connection *one = &connections[count++];
        memset(one, 0, sizeof *one);
        one->fd = -1;
        one->port = ports[(count - 1) % port_count];
        char *rest = line, *kind = strsep(&rest, "\t"), *target = strsep(&rest, "\t"), *header;
        one->is_sio = !strcmp(kind, "sio");
        one->is_ws = one->is_sio || !strcmp(kind, "ws");
        one->is_poll = !strcmp(kind, "poll");
        one->target = strdup(target);
        size_t size = (rest ? strlen(rest) * 2 : 0) + 400;
        one->tail = malloc(size);
        int at = snprintf(one->tail, size, " HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n", one->port);
        while ((header = strsep(&rest, "\t"))) at += snprintf(one->tail + at, size - at, "%s\r\n", header);
        snprintf(one->tail + at, size - at, "%s",
                 one->is_ws ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                 : one->is_poll ? "\r\n" : "Accept: text/event-stream\r\n\r\n");
    }
    free(line);
    fclose(file);
}

static void lose(Connection *one) {
    if (one->is_gone) return;
    one->is_gone = 1;
    gone++;
    levelled -= one->last_n >= level;
    epoll_ctl(epoll, EPOLL_CTL_DEL, one->fd, NULL);
    close(one->fd);
}

static void ask(Connection *one, const char *query) {
    static char request[16 * 1024];
    int size = snprintf(request, sizeof request, "GET %s%s%s", one->target, query, one->tail);
    if (write(one->fd, request, (size_t)size) != size) lose(one);
}

static void begin(Connection *one) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)one->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (one->fd < 0) fail("socket");
    if (connect(one->fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    int yes = 1;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    epoll_ctl(epoll, EPOLL_CTL_ADD, one->fd, &event);
    begun++;
    ask(one, one->is_poll ? "?wait=0" : "");
}

static void hold(Connection *one, const char *from, size_t size) {
    if (size > one->held_room) {
        one->held_room = size + 1024;
        one->held = realloc(one->held, one->held_room);
    }
    memmove(one->held, from, size);
    one->held_size = size;
}

static void arrived(Connection *one, long long n, uint64_t sent, uint64_t at) {
    if (!deliveries++) first_ns = at;
    last_ns = at;
    if (one->last_n && n > one->last_n + 1) missing += (uint64_t)(n - one->last_n - 1);
    if (n <= one->last_n) doubled++;
    else {
        levelled += one->last_n < level && n >= level;
        one->last_n = n;
    }
    uint64_t step = at > sent ? (at - sent) / STEP_NS : 0;
    steps[step < STEPS ? step : STEPS - 1]++;
}

/* Count the events of a stretch of payload; returns how many bytes at its end may be the beginning of one. */
static size_t scan(Connection *one, const char *from, size_t size, uint64_t at) {
    const char *here = from, *end = from + size;
    if (!one->is_ready && memmem(from, size, ready_token, strlen(ready_token))) one->is_ready = 1, ready++;
    while (here < end) {
        const char *found = memmem(here, (size_t)(end - here), count_token, strlen(count_token));
        if (!found) break;
        char *after;
        if (is_timeless) {
            arrived(one, strtoll(found + strlen(count_token), &after, 10), at, at);
            here = after;
            continue;
        }
        const char *stamp = memmem(found, (size_t)(end - found) < 64 ? (size_t)(end - found) : 64, "\"ts\":", 5);
        if (!stamp || end - stamp < 30) {
            if (end - found < 100) return (size_t)(end - found);
            here = found + 4;
            continue;
        }
        long long n = strtoll(found + 4, &after, 10);
        arrived(one, n, strtoull(stamp + 5, &after, 10), at);
        here = after;
    }
    return 0;
}

static void say(Connection *one, int opcode, const char *payload, size_t size) {
    char answer[132] = {(char)(0x80 | opcode), (char)(0x80 | size), 0, 0, 0, 0};
    memcpy(answer + 6, payload, size);
    if (write(one->fd, answer, size + 6) < 0) lose(one);
}

static void say_socketio(Connection *one, const char *packet, size_t size) {
    if (size && packet[0] == '0') say(one, 1, "40", 2);
    else if (size == 1 && packet[0] == '2') say(one, 1, "3", 1);
}

/* Whole frames of what is held; the rest stays. */
static void take_frames(Connection *one, const char *from, size_t size, uint64_t at) {
    while (size >= 2) {
        const unsigned char *head = (const unsigned char *)from;
        size_t start = 2;
        uint64_t length = head[1] & 127;
        if (length == 126) {
            if (size < 4) break;
            length = (uint64_t)head[2] << 8 | head[3];
            start = 4;
        } else if (length == 127) {
            if (size < 10) break;
            length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | head[i];
            start = 10;
        }
        if (size < start + length) break;
        int opcode = head[0] & 15;
        if (opcode <= 2) {
            frames++;
            scan(one, from + start, length, at);
            if (one->is_sio) say_socketio(one, from + start, length);
        } else if (opcode == 9) say(one, 10, from + start, length);
        else if (opcode == 8) {
            lose(one);
            return;
        }
        from += start + length;
        size -= start + length;
    }
    hold(one, from, size);
}

/* One answer, once it is whole; whoever asks hears but one at a time. */
static void take_answer(Connection *one, const char *from, size_t size, uint64_t at) {
    const char *body = memmem(from, size, "\r\n\r\n", 4);
    if (!body) {
        hold(one, from, size);
        return;
    }
    body += 4;
    const char *length = memmem(from, (size_t)(body - from), "\r\nContent-Length: ", 18);
    if (!length) {
        lose(one);
        return;
    }
    size_t whole = strtoull(length + 18, NULL, 10), came = size - (size_t)(body - from);
    if (came < whole) {
        hold(one, from, size);
        return;
    }
    if (memcmp(from + 9, "200", 3)) {
        refused++;
        if (one->cursor) ask(one, one->cursor);
        else lose(one);
        return;
    }
    frames++;
    scan(one, body, whole, at);
    const char *cursor = memmem(body, whole, "\"cursor\":\"", 10);
    if (!cursor) return;
    cursor += 10;
    free(one->cursor);
    if (asprintf(&one->cursor, "?cursor=%.*s", (int)strcspn(cursor, "\""), cursor) < 0) fail("cursor");
    if (is_asking) ask(one, one->cursor);
}

static void take(Connection *one, const char *from, size_t size, uint64_t at) {
    if (one->is_poll) {
        take_answer(one, from, size, at);
        return;
    }
    if (!one->is_open) {
        const char *end = memmem(from, size, "\r\n\r\n", 4);
        if (!end) {
            hold(one, from, size);
            return;
        }
        if (memcmp(from + 9, one->is_ws ? "101" : "200", 3)) {
            fprintf(stderr, "refused: %.60s\n", from);
            lose(one);
            return;
        }
        one->is_open = 1;
        if (!strcmp(ready_token, "-")) one->is_ready = 1, ready++;
        size -= (size_t)(end + 4 - from);
        from = end + 4;
    }
    if (one->is_ws) take_frames(one, from, size, at);
    else {
        frames++;
        size_t rest = scan(one, from, size, at);
        hold(one, from + size - rest, rest);
    }
}

static void readable(Connection *one) {
    for (;;) {
        memcpy(buffer, one->held, one->held_size);
        ssize_t got = read(one->fd, buffer + one->held_size, BUFFER - one->held_size);
        if (got == 0 || (got < 0 && errno != EAGAIN)) lose(one);
        if (got <= 0) return;
        bytes += (uint64_t)got;
        size_t size = one->held_size + (size_t)got;
        one->held_size = 0;
        take(one, buffer, size, now_ns());
        if (one->is_gone || (size_t)got + one->held_size < BUFFER / 2) return;
    }
}

static double latency_ms(double part) {
    uint64_t want = (uint64_t)((double)deliveries * part), seen = 0;
    for (size_t step = 0; step < STEPS; step++) {
        seen += steps[step];
        if (seen > want) return (double)step * STEP_NS / 1e6;
    }
    return 0;
}

static void report(void) {
    printf("{\"connections\":%zu,\"gone\":%zu,\"deliveries\":%llu,\"missing\":%llu,\"doubled\":%llu,\"refused\":%llu,\"frames\":%llu,\"bytes\":%llu,"
           "\"first_ns\":%llu,\"last_ns\":%llu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"client_cpu_s\":%.3f}\n",
           ready, gone, (unsigned long long)deliveries, (unsigned long long)missing, (unsigned long long)doubled,
           (unsigned long long)refused, (unsigned long long)frames, (unsigned long long)bytes, (unsigned long long)first_ns, (unsigned long long)last_ns,
           latency_ms(0.5), latency_ms(0.99), cpu_seconds());
    fflush(stdout);
    memset(steps, 0, sizeof steps);
    deliveries = missing = doubled = refused = frames = bytes = first_ns = last_ns = 0;
}

static void serve_events(int timeout_ms) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, timeout_ms);
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr && !((Connection *)events[i].data.ptr)->is_gone) readable(events[i].data.ptr);
}

static void connect_all(size_t in_flight) {
    uint64_t began = now_ns();
    while (ready + gone < count) {
        while (begun < count && begun - ready - gone < in_flight) begin(&connections[begun]);
        serve_events(100);
        if (now_ns() - began > 120ull * 1000000000u) break;
    }
    is_asking = 1;
    for (size_t i = 0; i < begun; i++)
        if (connections[i].cursor && !connections[i].is_gone) ask(&connections[i], connections[i].cursor);
    printf("{\"connections\":%zu,\"gone\":%zu,\"seconds\":%.3f}\n", ready, gone, (double)(now_ns() - began) / 1e9);
    fflush(stdout);
}

static void wait_level(long long n, double seconds) {
    level = n;
    levelled = 0;
    for (size_t i = 0; i < count; i++) levelled += !connections[i].is_gone && connections[i].last_n >= n;
    uint64_t seen = deliveries, since = now_ns();
    while (levelled + gone < count && (double)(now_ns() - since) < seconds * 1e9) {
        serve_events(100);
        if (seen != deliveries) seen = deliveries, since = now_ns();
    }
    report();
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 5) {
        fputs("load PORTS FILE READY [COUNT]\n", stderr);
        return 2;
    }
    read_ports(argv[1]);
    ready_token = argv[3];
    if (argc == 5) count_token = argv[4], is_timeless = 1;
    read_file(argv[2]);
    epoll = epoll_create1(0);
    struct epoll_event commands = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &commands);
    char line[64];
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                Connection *one = events[i].data.ptr;
                if (!one->is_gone) readable(one);
                continue;
            }
            ssize_t got = read(0, line, sizeof line - 1);
            if (got <= 0) return 0;
            line[got] = 0;
            if (!strncmp(line, "connect ", 8)) connect_all((size_t)atol(line + 8));
            else if (!strncmp(line, "report", 6)) report();
            else if (!strncmp(line, "level ", 6)) {
                char *seconds;
                long long n = strtoll(line + 6, &seconds, 10);
                wait_level(n, atof(seconds));
            }
            else return 0;
        }
    }
}
