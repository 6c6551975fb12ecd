/* This file reads the urls of engines. */
#include "backends/redis/url.h"

#include <string.h>

#include "src/base/parse.h"
#include "src/base/slice.h"

/* Cuts what is in front of `mark` off `text`; false: there is no mark, and nothing has changed. */
static bool cut(struct nadb_slice *text, char mark, bool is_last, struct nadb_slice *ret)
{
    const char *at =
        is_last ? memrchr(text->data, mark, text->len) : memchr(text->data, mark, text->len);
    if (at == NULL) {
        return false;
    }
    size_t len = (size_t)(at - text->data);
    *ret = nadb_slice_of(text->data, len);
    *text = nadb_slice_of(at + 1, text->len - len - 1);
    return true;
}

/* Copies with %XX replaced; false: too long, a malformed escape or a NUL. */
static bool decode(struct nadb_slice text, char *out, size_t cap)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '%') {
            if (text.len - i < 3 || nadb_hex_digit(text.data[i + 1]) < 0 ||
                nadb_hex_digit(text.data[i + 2]) < 0) {
                return false;
            }
            c = (char)(nadb_hex_digit(text.data[i + 1]) << 4 | nadb_hex_digit(text.data[i + 2]));
            i += 2;
        }
        if (c == '\0' || len + 1 >= cap) {
            return false;
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return true;
}

static const char *parse_user(struct nadb_slice *rest, struct nadb_redis_url *url)
{
    struct nadb_slice login;
    struct nadb_slice user;
    if (!cut(rest, '@', true, &login)) {
        return NULL;
    }
    if (!cut(&login, ':', false, &user)) {
        return "user without a password";
    }
    if (!decode(user, url->user, sizeof(url->user)) ||
        !decode(login, url->password, sizeof(url->password))) {
        return "malformed user or password";
    }
    return url->password[0] == '\0' && url->user[0] != '\0' ? "user without a password" : NULL;
}

static bool parse_number(struct nadb_slice text, uint64_t max, uint64_t *ret)
{
    return nadb_parse_u64(text, ret) && *ret <= max;
}

static const char *parse_tcp(struct nadb_slice rest, struct nadb_redis_url *url)
{
    struct nadb_slice place = rest;
    struct nadb_slice host;
    uint64_t number = 0;
    if (cut(&rest, '/', false, &place)) {
        if (rest.len > 0 && !parse_number(rest, INT32_MAX, &number)) {
            return "malformed number of the database";
        }
        url->db = (uint32_t)number;
    }
    number = NADB_REDIS_PORT_DEFAULT;
    if (place.len > 0 && place.data[0] == '[') {
        place = nadb_slice_of(place.data + 1, place.len - 1);
        if (!cut(&place, ']', false, &host) || (place.len > 0 && place.data[0] != ':')) {
            return "malformed address";
        }
        if (place.len > 0) {
            place = nadb_slice_of(place.data + 1, place.len - 1);
        }
    } else if (!cut(&place, ':', true, &host)) {
        host = place;
        place = nadb_slice_of(NULL, 0);
    }
    if (place.len > 0 && (!parse_number(place, UINT16_MAX, &number) || number == 0)) {
        return "malformed port";
    }
    url->port = (uint16_t)number;
    return host.len > 0 && decode(host, url->host, sizeof(url->host)) ? NULL : "malformed host";
}

static const char *parse_unix(struct nadb_slice rest, struct nadb_redis_url *url)
{
    struct nadb_slice query = rest;
    struct nadb_slice path = rest;
    if (cut(&query, '?', false, &path)) {
        uint64_t number = 0;
        if (query.len < 3 || memcmp(query.data, "db=", 3) != 0 ||
            !parse_number(nadb_slice_of(query.data + 3, query.len - 3), INT32_MAX, &number)) {
            return "malformed number of the database";
        }
        url->db = (uint32_t)number;
    }
    url->is_unix = true;
    return path.len > 0 && path.data[0] == '/' && decode(path, url->host, sizeof(url->host))
               ? NULL
               : "malformed path";
}

enum nadb_err nadb_redis_url_parse(
    const char *text, struct nadb_redis_url *ret, struct nadb_error *reterr)
{
    struct nadb_redis_url url = {.port = 0};
    struct nadb_slice rest = nadb_slice_cstr(text);
    const char *scheme_end = strstr(text, "://");
    const char *secret_end = strrchr(text, '@');
    const char *shown = secret_end != NULL ? secret_end + 1 : text;
    const char *problem;
    if (scheme_end != NULL) {
        rest = nadb_slice_cstr(scheme_end + strlen("://"));
    }
    if (strncmp(text, "rediss://", strlen("rediss://")) == 0) {
        problem = "TLS to the engine is not supported";
    } else if (strncmp(text, "redis://", strlen("redis://")) == 0) {
        problem = parse_user(&rest, &url);
        problem = problem != NULL ? problem : parse_tcp(rest, &url);
    } else if (strncmp(text, "unix://", strlen("unix://")) == 0) {
        problem = parse_user(&rest, &url);
        problem = problem != NULL ? problem : parse_unix(rest, &url);
    } else {
        problem = "neither redis:// nor unix://";
    }
    if (problem != NULL) {
        return nadb_error_set(reterr, NADB_EINVAL, 0, "redis-url '%s%s': %s",
            secret_end != NULL ? "...@" : "", shown, problem);
    }
    *ret = url;
    return NADB_OK;
}
