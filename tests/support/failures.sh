#!/usr/bin/env bash
# Prints the output of each test that failed in the last run of ctest, so that it is read at the end
# of a long log, and fails.
#
#   failures.sh BUILD_DIRECTORY
set -eu

LINES_EACH=100

logs=$1/Testing/Temporary
while IFS=: read -r _ name; do
    echo "=== $name"
    NAME=$name awk '
        /^[0-9]+\/[0-9]+ Testing: / { inside = substr($0, index($0, ": ") + 2) == ENVIRON["NAME"] }
        /^<end of output>$/ { inside = 0 }
        inside' "$logs/LastTest.log" | tail -n $LINES_EACH
done < "$logs/LastTestsFailed.log"
exit 1
