#include <stdlib.h>
#include <string.h>

#include "words.h"

void add(struct table *table, const char *text)
{
    struct word **at = &table->buckets[hash(text) % 1024];
    for (; *at; at = &(*at)->next)
        if (!strcmp((*at)->text, text)) {
            (*at)->count++;
            return;
        }
    *at = calloc(1, sizeof **at);
    if (!*at || !((*at)->text = strdup(text)))
        abort();
    (*at)->count = 1;
    table->words++;
}
