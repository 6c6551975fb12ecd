/* This file is what the clients of scripts/bench have in common. */
#include "tests/bench/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "src/base/parse.h"

_Noreturn void nadb_client_give_up(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
        errno != 0 ? strerror(errno) : "not as expected");
    exit(1);
}

int64_t nadb_client_number(const char *text, int64_t max)
{
    int64_t number;
    if (!nadb_parse_i64(nadb_slice_cstr(text), &number) || number < 1 || number > max) {
        fprintf(stderr, "%s: '%s' is not a number from 1 to %lld\n", program_invocation_short_name,
            text, (long long)max);
        exit(1);
    }
    return number;
}

int nadb_client_connect(const char *host, const char *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)nadb_client_number(port, UINT16_MAX)),
    };
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        nadb_client_give_up("address");
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        nadb_client_give_up("connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

uint64_t nadb_client_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}
