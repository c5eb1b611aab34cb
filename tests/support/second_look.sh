#!/usr/bin/env bash
# After a run of ctest with failures: prints the output of each failed test once more, so that it is
# read at the end of a long log. Scripts, which kill servers at random moments of a busy machine,
# run a second time, alone and with the same seed: one that passes then is reported as unsteady, to
# be looked into. Everything else, and a second failure, is a failure.
#
#   second_look.sh BUILD_DIRECTORY
set -eu

LINES_EACH=100
SCRIPTS='^(device|hostile|interop)\.'
MOST=3  # more failures have another cause

main() {
    local build=$1 name seed status=0 names=()
    while IFS=: read -r _ name; do names+=("$name"); done \
        < "$build/Testing/Temporary/LastTestsFailed.log"
    cp "$build/Testing/Temporary/LastTest.log" "$build/first_run.log"
    for name in "${names[@]}"; do
        echo "=== $name"
        output_of "$name" "$build/first_run.log" | tail -n $LINES_EACH
    done
    for name in "${names[@]}"; do
        if [ ${#names[@]} -gt $MOST ] || ! [[ $name =~ $SCRIPTS ]]; then
            echo "failed: $name"
            status=1
            continue
        fi
        seed=$(output_of "$name" "$build/first_run.log" | sed -n 's/^# SLUICE_TEST_SEED=//p')
        if again "$build" "$name" "$seed"; then
            echo "unsteady: $name failed beside other tests, and passed alone"
        else
            echo "failed: $name, twice"
            status=1
        fi
    done
    return $status
}

output_of() {
    NAME=$1 awk '
        /^[0-9]+\/[0-9]+ Testing: / { inside = substr($0, index($0, ": ") + 2) == ENVIRON["NAME"] }
        /^<end of output>$/ { inside = 0 }
        inside' "$2"
}

# again BUILD_DIRECTORY NAME SEED; the seed may be empty.
again() {
    local environment=()
    [ -z "$3" ] || environment=("SLUICE_TEST_SEED=$3")
    env "${environment[@]}" ctest --test-dir "$1" --output-on-failure -R "^${2//./\\.}\$"
}

main "$@"
