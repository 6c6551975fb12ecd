/* This file is the write buffer: what has changed since the last batch was cut, each key once. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define CAP_FIRST    1024u
#define CONTROL_COST 64u

static void *entry_address(uint64_t entry)
{
    return (void *)(uintptr_t)(entry & NADB_WBUF_ADDRESS_MASK);
}

static enum nadb_wbuf_kind entry_kind(uint64_t entry)
{
    return (enum nadb_wbuf_kind)(entry & NADB_WBUF_KIND_MASK);
}

static uint64_t make_entry(uint16_t space_id, const void *address, enum nadb_wbuf_kind kind)
{
    uint64_t bits = (uint64_t)(uintptr_t)address;
    NADB_ASSERT((bits & ~NADB_WBUF_ADDRESS_MASK) == 0);
    return (uint64_t)space_id << NADB_WBUF_SPACE_SHIFT | bits | (uint64_t)kind;
}

void nadb_wbuf__drop_entry(uint64_t entry)
{
    if (entry != 0 && entry_kind(entry) == NADB_WBUF_DELETE) {
        nadb_rec_free(entry_address(entry));
    } else if (entry != 0 && entry_kind(entry) == NADB_WBUF_CONTROL) {
        nadb_mem_free(entry_address(entry));
    }
}

void nadb_wbuf__fini(struct nadb_wbuf *buf)
{
    for (size_t i = 0; i < buf->count; i++) {
        nadb_wbuf__drop_entry(buf->entries[i]);
    }
    nadb_mem_free(buf->entries);
    *buf = (struct nadb_wbuf){0};
}

static void describe_control(const struct nadb_control *control, struct nadb_entry *ret)
{
    ret->kind = control->kind;
    ret->db = control->db;
    ret->version = control->version;
    struct nadb_slice bytes = nadb_slice_of(control->bytes, control->len);
    if (control->kind == NADB_ENTRY_INVALIDATE) {
        ret->value = bytes;
    } else {
        ret->key = bytes;
    }
}

static void describe_put(const struct nadb_rec *rec, uint64_t now_s, struct nadb_entry *ret)
{
    ret->kind = NADB_ENTRY_PUT;
    ret->version = rec->version;
    ret->key = nadb_rec_key(rec);
    ret->value = nadb_rec_value(rec);
    ret->tags = nadb_rec_tags(rec);
    ret->created_ms = rec->created_ms;
    ret->updated_ms = rec->updated_ms;
    ret->expire_ms = nadb_rec_expire_ms(rec);
    ret->accessed_s = (uint32_t)nadb_rec_accessed_s(rec, now_s);
}

void nadb_wbuf__describe(uint64_t entry, uint64_t now_s, struct nadb_entry *ret)
{
    *ret = (struct nadb_entry){.keyspace = (uint16_t)(entry >> NADB_WBUF_SPACE_SHIFT)};
    switch (entry_kind(entry)) {
    case NADB_WBUF_PUT:
        describe_put(entry_address(entry), now_s, ret);
        break;
    case NADB_WBUF_DELETE: {
        const struct nadb_rec *tomb = entry_address(entry);
        ret->kind = NADB_ENTRY_DELETE;
        ret->version = tomb->version;
        ret->key = nadb_rec_key(tomb);
        break;
    }
    case NADB_WBUF_CONTROL:
        describe_control(entry_address(entry), ret);
        break;
    }
}

static void append(struct nadb_store *store, uint64_t entry, uint64_t cost)
{
    struct nadb_wbuf *buf = &store->buf;
    if (NADB_UNLIKELY(buf->count == buf->cap)) {
        buf->cap = buf->cap == 0 ? CAP_FIRST : buf->cap * 2;
        buf->entries = nadb_mem_realloc(buf->entries, buf->cap * sizeof(*buf->entries));
    }
    if (buf->count == 0) {
        buf->first_us = store->now_us;
    }
    buf->entries[buf->count++] = entry;
    buf->bytes += cost;
}

void nadb_wbuf__put(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec)
{
    nadb_rec_set_place(rec, store->buf.count);
    rec->flags |= NADB_REC_IS_DIRTY;
    append(store, make_entry(space->id, rec, NADB_WBUF_PUT), nadb_wbuf__cost(rec));
}

void nadb_wbuf__delete(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *tomb)
{
    append(store, make_entry(space->id, tomb, NADB_WBUF_DELETE), nadb_wbuf__cost(tomb));
}

static void append_control(struct nadb_store *store, struct nadb_space *space,
    enum nadb_entry_kind kind, uint64_t version, struct nadb_slice bytes)
{
    struct nadb_control *control = nadb_mem_alloc(sizeof(*control) + bytes.len);
    *control = (struct nadb_control){
        .kind = kind,
        .db = (uint16_t)space->owner->db,
        .version = version,
        .len = bytes.len,
    };
    if (bytes.len > 0) {
        memcpy(control->bytes, bytes.data, bytes.len);
    }
    append(store, make_entry(space->id, control, NADB_WBUF_CONTROL), CONTROL_COST + bytes.len);
}

void nadb_wbuf__control(
    struct nadb_store *store, struct nadb_space *space, enum nadb_entry_kind kind, uint64_t version)
{
    struct nadb_slice name = {NULL, 0};
    if (kind == NADB_ENTRY_NAME) {
        name = nadb_keyspace_name(space->owner);
    }
    append_control(store, space, kind, version, name);
}

void nadb_wbuf__invalidate(
    struct nadb_store *store, struct nadb_space *space, struct nadb_slice packed, uint64_t version)
{
    append_control(store, space, NADB_ENTRY_INVALIDATE, version, packed);
}

void nadb_wbuf__replace(
    struct nadb_store *store, struct nadb_rec *old, struct nadb_rec *rec, enum nadb_wbuf_kind kind)
{
    struct nadb_wbuf *buf = &store->buf;
    uint64_t place = nadb_rec_place(old);
    NADB_ASSERT(place < buf->count && entry_address(buf->entries[place]) == old);
    buf->bytes -= nadb_wbuf__cost(old);
    if (rec == NULL) {
        buf->entries[place] = 0;
        return;
    }
    uint16_t space_id = (uint16_t)(buf->entries[place] >> NADB_WBUF_SPACE_SHIFT);
    buf->entries[place] = make_entry(space_id, rec, kind);
    buf->bytes += nadb_wbuf__cost(rec);
    if (kind == NADB_WBUF_PUT) {
        nadb_rec_set_place(rec, place);
        rec->flags |= NADB_REC_IS_DIRTY;
    }
}
