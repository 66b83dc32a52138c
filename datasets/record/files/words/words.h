#include <stddef.h>
#include <stdio.h>

/* A count of the words of a text. */
struct word {
    char *text;
    unsigned long count;
    struct word *next;
};

struct table {
    struct word *buckets[1024];
    size_t words;
};

unsigned hash(const char *text);
void add(struct table *table, const char *text);
void read_words(struct table *table, FILE *in);
int print_top(const struct table *table, size_t most, FILE *out);
