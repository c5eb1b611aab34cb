#!/usr/bin/env bash
# Ranges of 3 GiB across 2 GiB, 4 GiB and 2 TiB are discarded and zeroed, on loop devices and files:
# bytes inside read as zeroes, bytes outside are unchanged, and the server's memory does not grow.
# shellcheck source=tests/hostile/lib_hostile.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_hostile.sh"
# shellcheck source=tests/hostile/lib_edges.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_edges.sh"

main() {
    local path
    begin_loop_plain
    for path in $PATHS; do
        [ "$path" != splice ] || continue
        run_case "a loop device, $path" loop_device "$path"
        run_case "a file, $path" file "$path"
    done
    run_case "a loop device of a stripe" loop_device_of_stripe
    run_case "a file of a stripe" file_of_stripe
    run_case "zeroes that have to be written" written_zeroes
    finish
}

# serve_large FRONTEND PATH [FILE...]: serves a file of 2 TiB and 8 GiB, or a stripe of several.
serve_large() {
    local frontend=$1 path=$2 spec=image.raw place=()
    shift 2
    [ $# = 0 ] || spec="stripe($(printf '%s, ' "$@")chunk=64k)"
    truncate -s 2056G "${@:-image.raw}"
    [ "$frontend" = loop ] || place=(--at "$CASE/disk")
    DEV=$("$SLUICE" add --frontend "$frontend" "${place[@]}" --mode "$path" "$spec" | head -n 1)
    note_server
    same "data path" "$(field mode)" "$path"
}

loop_device() {
    serve_large loop "$1"
    mark 0
    stays_flat "$SERVER" edges "discard discard_zero" $((5 * $(blockdev --getss "$DEV")))
    discarded_whole discard image.raw
    stop_loop
}

file() {
    serve_large fuse "$1"
    mark 0
    stays_flat "$SERVER" edges "punch zero_range" 1235
    discarded_whole punch image.raw
    stop_serving
}

# The legs of the stripe also end beyond 2 TiB.
loop_device_of_stripe() {
    serve_large loop copy leg0 leg1
    EDGES+=" 4096"
    mark 0
    stays_flat "$SERVER" edges "discard discard_zero" $((5 * $(blockdev --getss "$DEV")))
    discarded_whole discard leg0 leg1
    stop_loop
}

file_of_stripe() {
    serve_large fuse copy leg0 leg1
    EDGES+=" 4096"
    mark 0
    stays_flat "$SERVER" edges "punch zero_range" 1235
    discarded_whole punch leg0 leg1
    stop_serving
}

# tmpfs has holes, but cannot zero a range: a GiB of zeroes is written.
written_zeroes() {
    local legs=(memory/leg0 memory/leg1 memory/leg2 memory/leg3) at
    local outside="$((7 * GIB / 2 - 4096)) $((9 * GIB / 2))"
    mkdir memory
    mount -t tmpfs -o size=1200M none memory
    serve_large fuse copy "${legs[@]}"
    for at in $outside $((4 * GIB - 4096)); do mark "$at"; done
    stays_flat "$SERVER" zero_range $((7 * GIB / 2)) $GIB
    is_zero $((4 * GIB - 4096)) "written zeroes"
    for at in $outside; do is_marked "$at" "written zeroes"; done
    discarded_whole punch "${legs[@]}"
    stop_serving
    umount memory
}

main
