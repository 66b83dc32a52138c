#include <stdlib.h>

#include "version.h"
#include "words.h"

int main(int argc, char **argv)
{
    static struct table table;
    if (argc > 1 && argv[1][0] == '-') {
        puts("words " VERSION);
        return 0;
    }
    read_words(&table, stdin);
    return print_top(&table, argc > 1 ? strtoul(argv[1], 0, 10) : 10, stdout) ? 1 : 0;
}
