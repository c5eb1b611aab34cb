#!/usr/bin/env bash
# Target rbd on ublk, on a real cluster of one monitor and one OSD beside it: verified loads and a
# file system, sizes that change, servers that are killed, recovered and upgraded; what `rbd`
# exports is what the device has. T8.x are the traps of RBD.
# mem: 3G
# seconds: 120
# shellcheck source=tests/device/lib_filesystems.sh
. "$(dirname "$0")/lib_filesystems.sh"
# shellcheck source=tests/device/lib_rbd.sh
. "$(dirname "$0")/lib_rbd.sh"

main() {
    local mode
    start_cluster 16989
    make_repository
    for mode in user_copy copy; do
        run_case "verified load, mode $mode" verified_in "$mode"
    done
    run_case "ext4" lives_on
    run_case "sizes" resized
    run_case "our server is killed and recovered" recovered
    run_case "upgrade under load" upgraded
    finish
}

verified() {
    timeout 300 fio --name=verify --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw \
        --bsrange=4k-256k --iodepth=16 --size=16M --verify=crc32c --verify_fatal=1 \
        --output=fio.log "$@" || fail "$(tail -n 20 fio.log)"
}

# is_exported IMAGE: what the device has is what others find in the image.
is_exported() {
    rbd export --no-progress "rbd/$1" - | cmp - "$DEV" || fail "rbd exports something else"
}

# T8.1, T8.15
verified_in() {
    rbd create --size 32M "rbd/$1"
    add "$(spec "$1")" --mode "$1" -q 2
    same mode "$(field mode)" "$1"
    verified
    is_exported "$1"
    del
    add "$(spec "$1")"
    verified --verify_only
    del
}

lives_on() {
    rbd create --size 160M rbd/fs
    mkdir mnt
    add "$(spec fs)" -q 2
    make_fs ext4
    mount "$DEV" mnt
    use mnt
    fstrim mnt
    umount mnt
    check_fs ext4
    is_exported fs
    del
    add "$(spec fs)" --mode copy
    check_fs ext4
    mount -o ro,noload "$DEV" mnt
    git -C mnt/clone fsck --full --no-progress
    diff -r "$WORK/repository/tree" mnt/clone/tree
    cmp program mnt/clone/project/program
    umount mnt
    del
}

# By us, with a file system that is in use, and by others.
resized() {
    rbd create --size 48M rbd/size
    mkdir mnt
    add "$(spec size)"
    make_fs ext4
    mount "$DEV" mnt
    cp -r "$WORK/repository/tree" mnt/
    sluice resize -n "$ID" 96M > resize.txt
    same "the size of the device" "$(blockdev --getsize64 "$DEV")" $((96 << 20))
    rbd info rbd/size | grep -q 'size 96 MiB' || fail "$(rbd info rbd/size)"
    resize2fs "$DEV" > resize2fs.txt 2>&1 || fail "$(cat resize2fs.txt)"
    diff -r "$WORK/repository/tree" mnt/tree
    umount mnt
    check_fs ext4
    rbd resize --no-progress --size 128M rbd/size
    wait_for 20 has_bytes $((128 << 20))
    is_exported size
    del
}

has_bytes() {
    [ "$(blockdev --getsize64 "$DEV")" = "$1" ]
}

# T8.9: the next server waits for the lock of the one that is dead.
recovered() {
    rbd create --size 32M rbd/dies
    add "$(spec dies)" -r 1 -i 1
    verified --rw=randwrite --size=8M --end_fsync=1 --do_verify=0 --rate=4m &
    sleep 1
    kill_server
    sluice recover -n "$ID" > recover.txt
    wait "$!"
    verified --rw=randread --size=8M --verify_only
    is_exported dies
    del
}

upgraded() {
    rbd create --size 32M rbd/next
    add "$(spec next)" -q 2 -r 1
    verified --bsrange=4k-4k --time_based --runtime=4 &
    sleep 1
    sluice upgrade -n "$ID" > upgrade.txt
    wait "$!"
    del
}

main
