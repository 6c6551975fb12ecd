/* This file makes and frees records and their blobs. */
#include "src/store/record.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

struct nadb_blob *nadb_blob_new(size_t cap)
{
    struct nadb_blob *blob = nadb_mem_try_alloc(sizeof(*blob) + cap);
    if (blob != NULL) {
        *blob = (struct nadb_blob){.refs = 1, .cap = cap};
    }
    return blob;
}

void nadb_blob_unref(struct nadb_blob *blob)
{
    NADB_ASSERT(blob->refs > 0);
    if (--blob->refs == 0) {
        nadb_mem_free(blob);
    }
}

struct nadb_rec *nadb_rec_new(const struct nadb_rec_parts *parts)
{
    unsigned flags = (parts->expire_ms != 0 ? NADB_REC_HAS_TTL : 0u) |
                     (parts->tags != NULL ? NADB_REC_HAS_TAGS : 0u) |
                     (parts->blob != NULL ? NADB_REC_HAS_BLOB : 0u) |
                     (parts->is_cold ? NADB_REC_IS_COLD : 0u);
    struct nadb_rec layout = {.flags = flags & 0xff};
    size_t key_offset = nadb_rec_key_offset(&layout);
    size_t inline_len = parts->blob != NULL || parts->is_cold ? 0 : parts->value_len;
    struct nadb_rec *rec =
        nadb_mem_alloc(nadb_rec_rounded(key_offset + parts->key.len + inline_len));
    *rec = (struct nadb_rec){
        .key_len_low = parts->key.len & 0xffff,
        .key_len_high = (parts->key.len >> 16) & 1,
        .value_len = parts->value_len & 0x3fffffff,
        .flags = flags & 0xff,
    };
    if (flags & NADB_REC_HAS_TTL) {
        *nadb_rec_ttl_part(rec) = (struct nadb_rec_ttl){
            .expire_ms = parts->expire_ms & (((uint64_t)1 << 48) - 1),
            .keyspace = parts->keyspace,
        };
    }
    if (flags & NADB_REC_HAS_TAGS) {
        *nadb_rec_tags_part(rec) = (struct nadb_rec_tags){.blob = parts->tags};
    }
    if (flags & NADB_REC_HAS_BLOB) {
        *nadb_rec_blob_part(rec) = parts->blob;
    }
    memcpy((char *)rec + key_offset, parts->key.data, parts->key.len);
    return rec;
}

void nadb_rec_free(struct nadb_rec *rec)
{
    if (rec->flags & NADB_REC_HAS_TAGS) {
        nadb_blob_unref(nadb_rec_tags_part(rec)->blob);
    }
    if (rec->flags & NADB_REC_HAS_BLOB) {
        nadb_blob_unref(*nadb_rec_blob_part(rec));
    }
    nadb_mem_free(rec);
}
