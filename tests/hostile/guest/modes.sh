#!/usr/bin/env bash
# The kernel refuses a buffer mode of ublk: the next mode is used, and the record has the reason. A
# user who requested the mode by name gets one sentence. No device of the driver is left behind.
#
# shellcheck source=tests/device/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../device/lib.sh"

# Some containers forbid buffer tables (IORING_REGISTER_BUFFERS2), so that no pages can be lent.
NO_BUFFER_TABLES=427:1=15

main() {
    run_case "without buffer tables it copies" copies
    run_case "the number that was asked for" same_number
    run_case "who demands zero copy is told why not" demands
    run_case "by name" by_name
    finish
}

refusing() {
    "$SLUICE_SOURCE_DIR/tests/support/refuse_call.py" "$NO_BUFFER_TABLES" "$SLUICE" "$@"
}

carries_data() {
    head -c 1000000 /dev/urandom > data
    dd if=data of="$DEV" bs=64k conv=notrunc,fsync status=none
    cmp -n 1000000 data "$DEV"
    cmp -n 1000000 data disk
}

none_left() {
    same "devices" "$(find /dev -name 'ublk[bc]*' | wc -l)" 0
    same "records" "$(find "$SLUICE_STATE_DIR" -name '*.json' | wc -l)" 0
}

copies() {
    truncate -s 64M disk
    refusing add -t loop -f disk > add.txt
    DEV=$(head -n 1 add.txt) ID=${DEV#/dev/ublkb}
    same "mode" "$(field mode)" user_copy
    field mode_reason | grep -q "^not 'auto': cannot register .*buffer slots" ||
        fail "$(field mode_reason)"
    carries_data
    sluice del -n "$ID"
    none_left
}

same_number() {
    truncate -s 64M disk
    refusing add -n 17 -t loop -f disk > add.txt
    same "path" "$(head -n 1 add.txt)" /dev/ublkb17
    ID=17
    same "mode" "$(field mode)" user_copy
    sluice del -n 17
    none_left
}

demands() {
    truncate -s 64M disk
    refuses "zero copy was required but is not possible .*buffer slots" \
        "$SLUICE_SOURCE_DIR/tests/support/refuse_call.py" "$NO_BUFFER_TABLES" "$SLUICE" \
        add -z -t loop -f disk
    none_left
}

by_name() {
    truncate -s 64M disk
    local mode
    for mode in auto register; do
        refuses "buffer slots" "$SLUICE_SOURCE_DIR/tests/support/refuse_call.py" \
            "$NO_BUFFER_TABLES" "$SLUICE" add --mode $mode -t loop -f disk
        none_left
    done
}

main
