# shellcheck shell=bash
# The extent of the tests: with SLUICE_TEST_FULL=1 scripts run all cases; in `make check` some are
# omitted or shorter. Each kind of case runs in both.

full() {
    [ "${SLUICE_TEST_FULL:-0}" != 0 ]
}

# up_to FEW ALL: prints the numbers from 1 to FEW, with SLUICE_TEST_FULL=1 to ALL.
up_to() {
    if full; then seq "$2"; else seq "$1"; fi
}
