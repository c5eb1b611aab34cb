#!/usr/bin/env bash
# Target qcow2 on ublk: the pages of the device's requests, lent to the image's file; with file
# systems, over images of every kind. QEMU's tools are the judge of the images.
# SLUICE_TEST_SECONDS=N: the time of each verified load (3).
# seconds: 70
. "$(dirname "$0")/lib_filesystems.sh"

SECONDS_EACH=${SLUICE_TEST_SECONDS:-3}

main() {
    local mode
    command -v qemu-img > /dev/null || { echo "skipped: there is no qemu-img"; exit 77; }
    make_repository
    for mode in $MODES; do
        run_case "verified load, mode $mode" verified_in "$mode"
    done
    run_case "a new image" lives_on fresh
    run_case "over a raw backing file" lives_on backed
    run_case "with a snapshot" lives_on snapshotted
    run_case "compressed" lives_on compressed
    run_case "extended L2" lives_on extended
    run_case "external data file" lives_on external
    run_case "our server is killed under load" killed
    run_case "upgrade under load" upgraded
    finish
}

# make_image KIND [FORMAT]: image.qcow2 of 96 MiB, in parts with data.
make_image() {
    local options=compat=1.1
    case $1 in
        backed)
            truncate -s 96M base.raw
            qemu-io -f raw -c 'write -P 9 0 20M' base.raw > qemu-io.txt
            qemu-img create -q -f qcow2 -b base.raw -F raw image.qcow2
            return
            ;;
        compressed)
            truncate -s 96M base.raw
            qemu-io -f raw -c 'write -P 9 0 20M' base.raw > qemu-io.txt
            qemu-img convert -c -f raw -O qcow2 base.raw image.qcow2
            return
            ;;
        extended) options=extended_l2=on ;;
        external) options=data_file=data.raw ;;
    esac
    qemu-img create -q -f qcow2 -o "$options" image.qcow2 96M
    if [ "$1" = snapshotted ]; then
        qemu-io -f qcow2 -c 'write -P 9 0 20M' image.qcow2 > qemu-io.txt
        qemu-img snapshot -c before image.qcow2
    fi
}

check_image() {
    qemu-img check image.qcow2 > check.txt || fail "$(cat check.txt)"
}

lives_on() {
    make_image "$1"
    mkdir mnt
    add qcow2:image.qcow2 -q 2
    make_fs ext4
    mount "$DEV" mnt
    use mnt
    umount mnt
    check_fs ext4
    del
    check_image
    qemu-img convert -f qcow2 -O raw image.qcow2 copy.raw
    add 'qcow2(image.qcow2, read_only)' --mode copy
    cmp copy.raw "$DEV"
    mount -o ro,noload "$DEV" mnt
    git -C mnt/clone fsck --full --no-progress
    cmp program mnt/clone/project/program
    umount mnt
    del
    if [ "$1" = snapshotted ]; then
        qemu-img convert -l before -f qcow2 -O raw image.qcow2 before.raw
        qemu-io -f raw -c 'read -P 9 0 20M' before.raw > qemu-io.txt
    fi
}

verified() {
    timeout 300 fio --name=verify --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw \
        --bsrange=512-256k --iodepth=16 --size=16M --verify=crc32c --verify_fatal=1 \
        --output=fio.log "$@" || fail "$(tail -n 20 fio.log)"
}

verified_in() {
    make_image backed
    add qcow2:image.qcow2 --mode "$1" -q 2
    same mode "$(field mode)" "$1"
    verified
    del
    check_image
}

# What was flushed is there, and the image is right.
killed() {
    make_image backed
    for _ in $(up_to 2 3); do
        add qcow2:image.qcow2 -q 2
        verified --rw=randwrite --size=8M --end_fsync=1
        fio --name=load --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw --offset=32M \
            --bsrange=4k-256k --iodepth=16 --size=64M --time_based --runtime=20 \
            --output=load.log > /dev/null 2>&1 &
        sleep 0.7
        kill -KILL "$(field pid)"
        wait "$!" || true
        del
        qemu-img check image.qcow2 > check.txt 2>&1 || [ $? = 3 ] || fail "$(cat check.txt)"
    done
    add qcow2:image.qcow2
    verified --rw=randread --size=8M --verify_only
    del
}

upgraded() {
    make_image backed
    add qcow2:image.qcow2 -q 2 -r 1
    verified --time_based --runtime="$SECONDS_EACH" --size=16M &
    sleep 1
    sluice upgrade -n "$ID" > upgrade.txt
    wait "$!"
    del
    check_image
}

main
