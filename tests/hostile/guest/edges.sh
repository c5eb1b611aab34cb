#!/usr/bin/env bash
# Ranges of 3 GiB across 2 GiB, 4 GiB and 2 TiB of ublk devices are discarded and zeroed, and whole
# devices: bytes inside read as zeroes, bytes outside are unchanged, and no server's memory grows.
. "$(dirname "$0")/../../device/lib.sh"
# shellcheck source=tests/hostile/lib_edges.sh
. "$SLUICE_SOURCE_DIR/tests/hostile/lib_edges.sh"

main() {
    local mode
    for mode in auto copy; do
        run_case "a file, mode $mode" one_file "$mode"
    done
    run_case "a stripe" stripe
    finish
}

# With one tag: in copying modes each tag has its own buffer, which takes memory at its first use.
one_file() {
    make_disk_fs 16G
    truncate -s 2056G disk_fs/image.raw
    add -d 1 --mode "$1" disk_fs/image.raw
    edges_stay_flat
    discarded_whole discard disk_fs/image.raw
    del
    umount disk_fs
}

stripe() {
    make_disk_fs 16G
    truncate -s 2056G disk_fs/leg0 disk_fs/leg1
    add -d 1 "stripe(disk_fs/leg0, disk_fs/leg1, chunk=64k)"
    EDGES+=" 4096"
    edges_stay_flat
    discarded_whole discard disk_fs/leg0 disk_fs/leg1
    del
    umount disk_fs
}

edges_stay_flat() {
    mark 0
    stays_flat "$(server)" edges "discard discard_zero" $((5 * $(blockdev --getss "$DEV")))
}

main
