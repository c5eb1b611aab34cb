#!/usr/bin/env bash
# Partitions and mappings: a device with a partition or mapping in use is not deleted. A disk is not
# attached if a part of it, or a device below it, is in use. With ublk and loop devices.
. "$(dirname "$0")/../../device/lib.sh"

main() {
    local frontend
    for frontend in ublk loop; do
        run_case "mounted, $frontend" mounted $frontend
        run_case "a partition is mounted, $frontend" partition_mounted $frontend
        run_case "a loop device on a partition, $frontend" loop_on_partition $frontend
        run_case "a mapping, $frontend" mapping $frontend
        run_case "open in a program, $frontend" open_in_a_program $frontend
    done
    run_case "attaching parts of a disk" parts
    run_case "attaching what a mapping is made of" below_a_mapping
    run_case "attaching a mapping of what is in use" mapping_of_what_is_in_use
    finish
}

# serve FRONTEND: serves `image`, with two partitions. Sets DEV and ID.
serve() {
    truncate -s 64M image
    printf '2048,65536\n67584,\n' | sfdisk -q image
    DEV=$(sluice add --frontend "$1" --mode copy image | head -n 1)
    [ -b "$DEV" ] || fail "$DEV is no block device"
    ID=$(sluice list --json | sed -nE 's/^ *"id": ([0-9]+),$/\1/p')
    wait_for 5 test -b "${DEV}p2"
}

# held USER: del refuses, names USER, and changes nothing.
held() {
    refuses "device $ID \\($DEV\\) is in use \\($1\\): release it first, or use --force" \
        "$SLUICE" del -n "$ID"
    dd if="$DEV" of=/dev/null bs=4k count=1 iflag=direct status=none
}

freed() {
    sluice del -n "$ID"
}

mounted() {
    serve "$1"
    mkfs.ext4 -qF "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    held "mounted at $CASE/mnt"
    umount mnt
    freed
}

partition_mounted() {
    serve "$1"
    mkfs.ext4 -q "${DEV}p2"
    mkdir mnt
    mount "${DEV}p2" mnt
    held "mounted at $CASE/mnt"
    umount mnt
    freed
}

loop_on_partition() {
    local upper
    serve "$1"
    upper=$(losetup -f --show "${DEV}p2")
    held "$upper"
    losetup -d "$upper"
    freed
}

# map NAME TABLE: makes a mapping. Sets MAPPED.
map() {
    dmsetup create --noudevsync "$1" --table "$2" || skip "no device-mapper"
    # shellcheck disable=SC2064
    trap "dmsetup remove --noudevsync --force $1 || true" EXIT
    MAPPED=/dev/$(dmsetup info -c --noheadings -o blkdevname "$1")
}

unmap() {
    wait_for 10 dmsetup remove --noudevsync "$1"
    trap - EXIT
}

mapping() {
    serve "$1"
    map held "0 2048 linear ${DEV}p1 0"
    held "$MAPPED \\(held\\)"
    unmap held
    freed
}

open_in_a_program() {
    serve "$1"
    sleep 60 7< "${DEV}p1" &
    held "process $! \\(sleep\\)"
    kill $!
    wait $! || true
    freed
}

parts() {
    local disk part
    truncate -s 64M image
    printf '2048,65536\n67584,\n' | sfdisk -q image
    disk=$(losetup -P -f --show image)
    part=$(losetup -f --show "${disk}p1")
    refuses "'$disk' is open for writing in $part: detach that first" "$SLUICE" add "$disk"
    refuses "'${disk}p1' is open for writing in $part" "$SLUICE" add "${disk}p1"
    add "${disk}p2"
    del
    losetup -d "$part"
    mkfs.ext4 -q "${disk}p1"
    mkdir mnt
    mount "${disk}p1" mnt
    refuses "'$disk' is in use \\(mounted at $CASE/mnt\\)" "$SLUICE" add "$disk"
    umount mnt
    add "$disk"
    del
    part=$(losetup -f --show "$disk")
    refuses "'${disk}p2' is open for writing in $part" "$SLUICE" add "${disk}p2"
    losetup -d "$part" "$disk"
}

below_a_mapping() {
    local loop
    truncate -s 64M image
    loop=$(losetup -f --show image)
    map below "0 2048 linear $loop 0"
    refuses "'$loop' is in use \\($MAPPED \\(below\\)\\)" "$SLUICE" add "$loop"
    refuses "'$CASE/image' is open for writing in $loop" "$SLUICE" add image
    unmap below
    losetup -d "$loop"
}

mapping_of_what_is_in_use() {
    local loop other
    truncate -s 64M image
    loop=$(losetup -f --show image)
    map above "0 2048 linear $loop 0"
    add "$MAPPED"
    del
    other=$(losetup -f --show "$loop")
    refuses "'$MAPPED' is on '$loop', which is open for writing in $other" \
        "$SLUICE" add "$MAPPED"
    losetup -d "$other"
    sluice add --frontend fuse --at view --force image > /dev/null
    refuses "'$MAPPED' is on '$CASE/image', which is attached elsewhere" "$SLUICE" add "$MAPPED"
    sluice del -a
    unmap above
    losetup -d "$loop"
}

main
