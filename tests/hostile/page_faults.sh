#!/usr/bin/env bash
# From the first request on, a server takes no page fault: while the kernel reclaims memory through
# its device, it would wait for itself, as in guest/swap.sh. Loop devices over FUSE.
set -Eeuo pipefail
# shellcheck source=tests/interop/lib_loop.sh
. "$SLUICE_SOURCE_DIR/tests/interop/lib_loop.sh"

# Prints the number of page faults of the queues' threads so far, minor and major ones.
faults() {
    local thread sum=0
    for thread in /proc/"$SERVER"/task/*; do
        [[ $(< "$thread/comm") == sluice-q* ]] || continue
        sum=$((sum + $(sed 's/.*) //' "$thread/stat" | awk '{ print $8 + $10 }')))
    done
    echo $sum
}

# The first I/O of a device takes no page faults, with the largest number of requests in flight.
takes_none() {
    local path=$1 before
    shift
    serve_loop "$path" 1 "$@" image.raw
    before=$(faults)
    fio --name=first --filename="$DEV" --direct=1 --ioengine=libaio --iodepth=128 --rw=randrw \
        --bsrange=4k-1M --size=128M --io_size=512M --output=fio.txt ||
        fail "$(cat fio.txt)"
    dd if=/dev/zero of="$DEV" bs=512 seek=1 count=3 conv=notrunc,fsync status=none
    blkdiscard -z -o 4096 -l 1M "$DEV"
    same "page faults of the queues" $(($(faults) - before)) 0
}

begin_loop
is_instrumented && { echo "skipped: sanitizers take memory as they go"; exit 77; }
run_case "copy" takes_none copy
run_case "copy, a small reserve" takes_none copy --reserve 0
run_case "copy, two queues" takes_none copy -q 2
run_case "passthrough" takes_none passthrough
case $PATHS in
    *uring*) run_case "uring, buffers within the reserve" takes_none uring -d 8 ;;
esac
finish
