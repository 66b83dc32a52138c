#include <stdlib.h>
#include <string.h>

#include "words.h"

static int by_count(const void *a, const void *b)
{
    const struct word *x = *(struct word *const *)a, *y = *(struct word *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->text, y->text);
}

int print_top(const struct table *table, size_t most, FILE *out)
{
    struct word **all = malloc((table->words + 1) * sizeof *all);
    size_t n = 0;
    if (!all)
        return -1;
    for (size_t i = 0; i < 1024; i++)
        for (struct word *word = table->buckets[i]; word; word = word->next)
            all[n++] = word;
    qsort(all, n, sizeof *all, by_count);
    for (size_t i = 0; i < n && i < most; i++)
        fprintf(out, "%lu %s\n", all[i]->count, all[i]->text);
    free(all);
    return ferror(out);
}
