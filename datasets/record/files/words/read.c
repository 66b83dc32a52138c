#include <ctype.h>

#include "words.h"

void read_words(struct table *table, FILE *in)
{
    char word[64];
    size_t length = 0;
    for (int c; (c = getc(in)) != EOF;) {
        if (isalnum(c) && length + 1 < sizeof word) {
            word[length++] = (char)tolower(c);
        } else if (length) {
            word[length] = 0;
            add(table, word);
            length = 0;
        }
    }
    if (length) {
        word[length] = 0;
        add(table, word);
    }
}
