/* This file is the door to zlib. */
#include "src/base/compress.h"

#include <zlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

void nadb_compressor_fini(struct nadb_compressor *compressor)
{
    if (compressor->stream != NULL) {
        (void)deflateEnd(compressor->stream); /* says only that output was dropped */
        nadb_mem_free(compressor->stream);
    }
    *compressor = (struct nadb_compressor){0};
}

/* A stream of the level that begins anew; NULL: no memory. */
static z_stream *begin(struct nadb_compressor *compressor, int level)
{
    if (compressor->stream != NULL && compressor->level == level) {
        int rc = deflateReset(compressor->stream);
        NADB_ASSERT(rc == Z_OK);
        return compressor->stream;
    }
    nadb_compressor_fini(compressor);
    z_stream *stream = nadb_mem_zalloc(sizeof(*stream));
    if (deflateInit(stream, level) != Z_OK) {
        nadb_mem_free(stream);
        return NULL;
    }
    compressor->stream = stream;
    compressor->level = level;
    return stream;
}

/* zlib's pointers to input have no const; it does not write through them. */
static Bytef *bytes_of(const char *data)
{
    return (Bytef *)(uintptr_t)data;
}

size_t nadb_compress(
    struct nadb_compressor *compressor, int level, struct nadb_slice in, char *out, size_t cap)
{
    NADB_ASSERT(level >= NADB_COMPRESS_LEVEL_MIN && level <= NADB_COMPRESS_LEVEL_MAX);
    NADB_ASSERT(in.len <= UINT32_MAX && cap <= UINT32_MAX);
    z_stream *stream = begin(compressor, level);
    if (stream == NULL) {
        return 0;
    }
    stream->next_in = bytes_of(in.data);
    stream->avail_in = (uInt)in.len;
    stream->next_out = bytes_of(out);
    stream->avail_out = (uInt)cap;
    return deflate(stream, Z_FINISH) == Z_STREAM_END ? cap - stream->avail_out : 0;
}

bool nadb_decompress(struct nadb_slice in, char *out, size_t len)
{
    z_stream stream = {
        .next_in = bytes_of(in.data),
        .avail_in = (uInt)in.len,
        .next_out = bytes_of(out),
        .avail_out = (uInt)len,
    };
    NADB_ASSERT(in.len <= UINT32_MAX && len <= UINT32_MAX);
    if (inflateInit(&stream) != Z_OK) {
        return false;
    }
    int rc = inflate(&stream, Z_FINISH);
    bool is_exact = rc == Z_STREAM_END && stream.avail_in == 0 && stream.avail_out == 0;
    (void)inflateEnd(&stream); /* frees; what was wrong is known */
    return is_exact;
}
