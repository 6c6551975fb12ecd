/* This file shows how far a command is. */
#include <time.h>
#include <unistd.h>

#include "src/ctl/ctl.h"

#define BAR_WIDTH     40u
#define BAR_EVERY_MS  100u
#define LINE_EVERY_MS 5000u

static uint64_t last_ms;
static bool is_bar_open;

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void draw(const char *what, uint64_t done, uint64_t all)
{
    char bar[BAR_WIDTH + 1];
    uint64_t filled = all == 0 ? 0 : done * BAR_WIDTH / all;
    for (uint64_t i = 0; i < BAR_WIDTH; i++) {
        bar[i] = i < filled ? '#' : '.';
    }
    bar[BAR_WIDTH] = '\0';
    (void)fprintf(stderr, "\r%-10s [%s] %3u %%", what, bar,
        all == 0 ? 0u : (unsigned)(done * 100 / all)); /* nothing depends on it */
    is_bar_open = true;
}

void ctl_progress(const char *what, uint64_t done, uint64_t all)
{
    done = all != 0 && done > all ? all : done;
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    uint64_t now = now_ms();
    if (now - last_ms < (is_terminal ? BAR_EVERY_MS : LINE_EVERY_MS) &&
        !(is_terminal && done == all)) {
        return;
    }
    last_ms = now;
    if (is_terminal) {
        draw(what, done, all);
    } else {
        (void)fprintf(stderr, "%s: %llu of %llu\n", what, (unsigned long long)done,
            (unsigned long long)all); /* nothing depends on it */
    }
}

void ctl_progress_end(void)
{
    if (is_bar_open) {
        (void)fputc('\n', stderr); /* nothing depends on it */
        is_bar_open = false;
    }
}
