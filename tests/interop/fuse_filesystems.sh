#!/usr/bin/env bash
# A file system on the file that FUSE serves, by util-linux' `mount -o loop` and by loop devices
# with direct and buffered I/O: it is made and mounted, a repository is cloned into it, fio verifies
# it, and its checker checks it. A loop device with direct I/O sends the parts of one request at the
# same time.
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_fuse.sh"

main() {
    local path direct
    begin
    [ -e /dev/loop-control ] || { echo "skipped: this kernel has no loop devices"; exit 77; }
    make_repository
    for path in $PATHS; do
        run_case "mount -o loop, $path" mount_by_itself "$path"
        for direct in on off; do
            run_case "loop device, direct I/O $direct, $path" mount_device "$path" "$direct"
        done
    done
    finish
}

# `mount -o loop` queries the file of every loop device of the machine.
mount_by_itself() {
    [ -z "$("$SLUICE_SOURCE_DIR/tests/support/aside.sh" --hung)" ] ||
        { echo "# not tested: somebody's loop device hangs"; return 0; }
    serve_file "$1"
    mkfs.ext4 -qF disk
    mkdir mnt
    mount -o loop disk mnt
    use mnt
    unmount mnt
    e2fsck -fn disk > check.log 2>&1 || fail "$(cat check.log)"
    stop_serving
    e2fsck -fn image.raw > check.log 2>&1 || fail "$(cat check.log)"
}

mount_device() {
    local device
    serve_file "$1"
    device=$(losetup -f --show --direct-io="$2" disk)
    mkfs.ext4 -qF "$device"
    mkdir mnt
    mount "$device" mnt
    use mnt
    unmount mnt
    e2fsck -fn "$device" > check.log 2>&1 || fail "$(cat check.log)"
    losetup -d "$device"
    stop_serving
}

use() {
    git clone -q "file://$WORK/repository" "$1/clone"
    git -C "$1/clone" fsck --full --no-progress
    diff -r "$WORK/repository/src" "$1/clone/src"
    verify_with_fio --directory="$1" --size=6M --numjobs=2 --direct=1 --bsrange=4k-64k
}

main
