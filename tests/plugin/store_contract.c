#include "store_contract.h"
#include <stdio.h>

int main(int argc, char **argv)
{
    int n_failed = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: store_contract FILE.so [KEY=VALUE ...]\n");
        return 2;
    }
    rig_options(argc, argv);
    n_failed += _cmocka_run_group_tests("records", records_cases, n_records_cases, NULL, NULL);
    n_failed += _cmocka_run_group_tests("queue", queue_cases, n_queue_cases, NULL, NULL);
    n_failed += _cmocka_run_group_tests("batch", batch_cases, n_batch_cases, NULL, NULL);
    return n_failed != 0;
}
