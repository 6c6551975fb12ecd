/* This file is base64 as RFC 4648 has it. */
#include "src/ctl/ctl.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void ctl_base64_encode(const void *bytes, size_t len, char *out)
{
    const unsigned char *in = bytes;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t bits = (uint32_t)in[i] << 16;
        bits |= i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0;
        bits |= i + 2 < len ? (uint32_t)in[i + 2] : 0;
        *out++ = digits[bits >> 18];
        *out++ = digits[bits >> 12 & 63];
        *out++ = i + 1 < len ? digits[bits >> 6 & 63] : '=';
        *out++ = i + 2 < len ? digits[bits & 63] : '=';
    }
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool ctl_base64_decode(const char *text, size_t len, char *out, size_t *ret_len)
{
    if (len % 4 != 0) {
        return false;
    }
    size_t padding = len == 0 || text[len - 1] != '=' ? 0 : text[len - 2] != '=' ? 1 : 2;
    char *at = out;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            bool is_padding = i + k >= len - padding;
            int value = is_padding ? 0 : value_of(text[i + k]);
            if (value < 0) {
                return false;
            }
            bits = bits << 6 | (uint32_t)value;
        }
        size_t count = i + 4 < len ? 3 : 3 - padding;
        for (size_t k = 0; k < 3; k++) {
            char byte = (char)(unsigned char)(bits >> (16 - 8 * k));
            if (k < count) {
                *at++ = byte;
            } else if (byte != 0) {
                return false; /* bits behind the last byte: another encoder's, or none's */
            }
        }
    }
    *ret_len = (size_t)(at - out);
    return true;
}
