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

# The samples of the day, so that all cases run within a few days; a seed repeats those of its run.
TURN=${SLUICE_TEST_SEED:-$((EPOCHSECONDS / 86400))}

# say_turn: prints the seed that repeats the samples; in scripts that print no seed of their own.
say_turn() {
    full || echo "# SLUICE_TEST_SEED=$TURN"
}

# one_of N: prints every Nth line of the input, at least one, beginning at another line each day;
# with SLUICE_TEST_FULL=1 all lines.
one_of() {
    if full; then cat; return; fi
    awk -v each="$1" -v turn="$TURN" '
        { line[NR] = $0 }
        END {
            if (NR == 0) exit
            for (i = turn % (NR < each ? NR : each) + 1; i <= NR; i += each) print line[i]
        }'
}
