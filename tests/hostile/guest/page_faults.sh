#!/usr/bin/env bash
# From the first request on, a server of a ublk device takes no page fault:
# tests/hostile/page_faults.sh for the modes of ublk.
set -Eeuo pipefail
# shellcheck source=tests/device/lib.sh
. "$SLUICE_SOURCE_DIR/tests/device/lib.sh"

# Prints the number of page faults of the queues' threads so far, minor and major ones.
faults() {
    local thread sum=0
    for thread in /proc/"$(server)"/task/*; do
        [[ $(< "$thread/comm") == sluice-q* ]] || continue
        sum=$((sum + $(sed 's/.*) //' "$thread/stat" | awk '{ print $8 + $10 }')))
    done
    echo $sum
}

# takes_none STACK OPTION...: the first I/O of a device takes no page faults, with the largest
# number of requests in flight.
takes_none() {
    local before
    make_stack "$1" 128M
    shift
    add "${STACK[@]}" "$@"
    before=$(faults)
    fio --name=first --filename="$DEV" --direct=1 --ioengine=libaio --iodepth=128 --rw=randrw \
        --bsrange=4k-512k --size=100% --io_size=128M --output=fio.txt || fail "$(cat fio.txt)"
    blkdiscard -z -o 4096 -l 1M "$DEV"
    sync "$DEV"
    same "page faults of the queues" $(($(faults) - before)) 0
    del
}

for mode in auto register user_copy; do
    run_case "$mode" takes_none loop --mode $mode
done
run_case "user_copy, the smallest reserve" takes_none loop --mode user_copy --reserve 0
run_case "user_copy, a stripe" takes_none stripe --mode user_copy
for mode in copy get_data; do
    run_case "$mode, buffers within the reserve" takes_none loop --mode $mode -d 16
done
finish
