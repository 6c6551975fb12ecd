/* This file talks to a running server. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/parse.h"
#include "src/ctl/ctl.h"

#define PORT_DEFAULT 6380

bool ctl_link_parse(int argc, char **argv, struct ctl_link_opts *ret, int *ret_at)
{
    *ret = (struct ctl_link_opts){
        .host = "127.0.0.1", .port = PORT_DEFAULT, .password = getenv("NADBCTL_AUTH")};
    int64_t port;
    int option;
    while ((option = getopt(argc, argv, "+h:p:s:u:a:")) != -1) {
        switch (option) {
        case 'h':
            ret->host = optarg;
            break;
        case 'p':
            if (!nadb_parse_i64(nadb_slice_cstr(optarg), &port) || port < 1 || port > 65535) {
                return false;
            }
            ret->port = (uint16_t)port;
            break;
        case 's':
            ret->socket = optarg;
            break;
        case 'u':
            ret->user = optarg;
            break;
        case 'a':
            ret->password = optarg;
            break;
        default:
            return false;
        }
    }
    *ret_at = optind;
    return true;
}

static bool authenticate(redisContext *link, const struct ctl_link_opts *opts)
{
    if (opts->password == NULL) {
        return true;
    }
    const char *argv[3] = {"AUTH", opts->user, opts->password};
    int argc = 3;
    if (opts->user == NULL) {
        argv[1] = opts->password;
        argc = 2;
    }
    redisReply *reply = ctl_link_call(link, argc, argv, NULL);
    bool is_ok = reply != NULL;
    freeReplyObject(reply);
    return is_ok;
}

redisContext *ctl_link_open(const struct ctl_link_opts *opts)
{
    redisContext *link = opts->socket != NULL ? redisConnectUnix(opts->socket)
                                              : redisConnect(opts->host, opts->port);
    if (link == NULL || link->err != 0) {
        (void)ctl_fail("cannot connect to %s: %s", opts->socket != NULL ? opts->socket : opts->host,
            link == NULL ? "not enough memory" : link->errstr);
        redisFree(link);
        return NULL;
    }
    if (!authenticate(link, opts)) {
        redisFree(link);
        return NULL;
    }
    return link;
}

redisReply *ctl_link_read(redisContext *link)
{
    void *reply = NULL;
    if (redisGetReply(link, &reply) != REDIS_OK) {
        (void)ctl_fail("connection: %s", link->errstr);
        return NULL;
    }
    if (((redisReply *)reply)->type == REDIS_REPLY_ERROR) {
        (void)ctl_fail("the server answers: %s", ((redisReply *)reply)->str);
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

redisReply *ctl_link_call(redisContext *link, int argc, const char **argv, const size_t *lens)
{
    if (redisAppendCommandArgv(link, argc, argv, lens) != REDIS_OK) {
        (void)ctl_fail("connection: %s", link->errstr);
        return NULL;
    }
    return ctl_link_read(link);
}
