#!/usr/bin/env bash
# ext4 and XFS on a loop device on FUSE, in direct and in buffered loop mode: the file system is
# made and mounted, a repository is cloned into it, fio verifies it, and fsck checks it; and a
# partition table. Each data path is tested with both file systems and both loop modes, with
# SLUICE_TEST_FULL=1 with all four combinations.
# shellcheck source=tests/interop/lib_loop.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_loop.sh"

main() {
    local path direct kind
    begin_loop
    make_repository
    for direct in 1 0; do
        for kind in ext4 xfs; do
            for path in $PATHS; do
                case $path/$kind/$direct in
                    copy/ext4/1 | copy/xfs/0 | uring/ext4/1 | uring/xfs/0) ;;
                    splice/xfs/1 | splice/ext4/0 | passthrough/xfs/1 | passthrough/ext4/0) ;;
                    *) full || continue ;;
                esac
                run_case "$kind, $path, loop direct I/O $direct" use_as "$kind" "$path" "$direct"
            done
        done
    done
    if knows_partition_tables; then
        run_case "partitions" partitions
    else
        echo "skipped partitions: this kernel knows no partition tables"
    fi
    finish
}

use_as() {
    local kind=$1
    serve_loop "$2" "$3"
    "mkfs.$kind" -q "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    git clone -q "file://$WORK/repository" mnt/clone
    git -C mnt/clone fsck --full --no-progress
    diff -r "$WORK/repository/src" mnt/clone/src
    verify_with_fio --directory=mnt --size=6M --numjobs=2 --direct=1 --bsrange=4k-64k
    rm mnt/verify*
    refused "in use" "$SLUICE" del -n "$ID"
    fstrim mnt
    unmount mnt
    check "$kind" "$DEV"
    stop_loop
    check "$kind" image.raw
}

check() {
    if [ "$1" = ext4 ]; then
        e2fsck -fn "$2" > check.log 2>&1 || fail "$(cat check.log)"
    else
        xfs_repair -n "$2" > check.log 2>&1 || fail "$(cat check.log)"
    fi
}

# knows_partition_tables: the kernel shows the partitions of loop devices.
knows_partition_tables() {
    local image=$WORK/partitions.raw device status=0
    truncate -s 512M "$image"
    echo 'start=2048, size=131072' | sfdisk -q --no-tell-kernel "$image"
    device=$(losetup -fP --show "$image")
    [ -b "${device}p1" ] || status=1
    losetup -d "$device"
    rm "$image"
    return $status
}

partitions() {
    truncate -s 512M image.raw
    echo 'start=2048, size=131072' | sfdisk -q --no-tell-kernel image.raw
    serve_loop copy 1
    for _ in {1..100}; do [ ! -b "${DEV}p1" ] || break; sleep 0.05; done
    mkfs.ext4 -q "${DEV}p1"
    mkdir mnt
    mount "${DEV}p1" mnt
    cp -r "$SLUICE_SOURCE_DIR/src/core" mnt/
    unmount mnt
    e2fsck -fn "${DEV}p1" > check.log 2>&1 || fail "$(cat check.log)"
    stop_loop
    [ ! -e "${DEV}p1" ] || fail "${DEV}p1 was left behind"
}

main
