#!/usr/bin/env bash
# Thousands of odd, forbidden and out-of-range operations on a served file, from several threads and
# processes at once: the server survives, neither other bytes nor the size change, and del works.
# SLUICE_TEST_OPERATIONS=N: the number on each data path (5000); SLUICE_TEST_SEED repeats a run.
# shellcheck source=tests/hostile/lib_hostile.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_hostile.sh"

COUNT=${SLUICE_TEST_OPERATIONS:-5000}
SEED=${SLUICE_TEST_SEED:-$EPOCHSECONDS}
SIZE=$((8 << 20))

main() {
    local path
    begin
    echo "# SLUICE_TEST_SEED=$SEED"
    for path in $PATHS; do
        run_case "$COUNT operations, $path" operations "$path"
    done
    finish
}

operations() {
    local model began
    head -c $SIZE /dev/urandom > image.raw
    mkdir models
    serve_file "$1"
    began=$SERVER
    timeout 300 python3 "$SLUICE_SOURCE_DIR/tests/hostile/file_operations.py" "$CASE/disk" \
        "$SEED" "$COUNT" models > operations.txt 2>&1 || fail "$(head -n 40 operations.txt)"
    timeout 5 "$SLUICE" stat -n "$ID" > stat.txt
    same "the server" "$(field pid)" "$began"
    same "size" "$(stat -c %s disk)" $SIZE
    timeout 30 "$SLUICE" del -n "$ID"
    wait_for_end "$SERVER"
    # With passthrough the kernel itself writes the file, also beyond its end.
    [ "$1" = passthrough ] || same "size of the image" "$(stat -c %s image.raw)" $SIZE
    for model in models/model.*; do
        cmp -i "0:${model##*.}" -n "$(stat -c %s "$model")" "$model" image.raw
    done
    all_is_cleared "it all"
}

main
