#!/usr/bin/env bash
# Flushed data survives a power cut; discarded and zeroed ranges read as they must.
#
# The target fault(FILE, cache=volatile) simulates the power cut: it keeps writes in its server's
# memory until they are flushed, so that killing the server loses unflushed writes. This target
# must see the data. For a device that lends pages instead of copying, the cut happens one level
# below, in the device that is its backing.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_power.sh"

EIO="Input/output error"
COPYING="user_copy get_data copy"

main() {
    local mode stack fs
    for mode in $MODES; do
        run_case "zeroing a stripe is like zeroing a file, mode $mode" \
            zeroed_like_file "$mode" stripe
    done
    for stack in loop buffered; do
        run_case "zeroing a $stack device is like zeroing a file" zeroed_like_file auto $stack
    done
    run_case "discard and unmapping zeroes free the backing, kept zeroes do not" frees_backing
    for mode in $COPYING; do
        run_case "a power cut takes what was not flushed and nothing else, mode $mode" \
            power_cut "$mode" 'fault(disk, cache=volatile)'
    done
    run_case "a flush reaches every leg of a stripe" power_cut copy \
        'stripe(fault(disk, cache=volatile), fault(disk1, cache=volatile), chunk=1M)'
    for mode in auto register; do
        run_case "a power cut below a device, mode $mode" power_cut_below "$mode"
    done
    for mode in copy auto register; do
        run_case "a durable write needs no flush behind it, mode $mode" durable_write "$mode"
    done
    for fs in ext4 xfs; do
        run_case "$fs keeps what was synchronised through power cuts" journal "$fs"
    done
    run_case "after a failed flush nothing is written until the device is added again" failed_flush
    finish
}

# Zeroes ranges in all four ways on the device, and punches the same holes in a plain file.
zeroed_like_file() {
    local range
    make_stack "$2" 64M
    head -c 8M /dev/urandom > plain
    add "${STACK[@]}" --mode "$1"
    dd if=plain of="$DEV" bs=1M oflag=direct conv=fsync status=none
    for range in "512 512" "65024 1024" "100k 300k" "1M 200k" "3M 1M" "5M 64k" "8387584 1024"; do
        zero_range "fallocate -p -n" "${range% *}" "${range#* }"
    done
    zero_range "fallocate -z -n" 2M 65k
    zero_range blkdiscard 6M 128k
    zero_range "blkdiscard -z" 7M 128k
    blockdev --flushbufs "$DEV"
    cmp -n $((8 * MIB)) "$DEV" plain
    del
}

zero_range() {
    $1 -o "$2" -l "$3" "$DEV"
    fallocate -p -n -o "$2" -l "$3" plain
}

frees_backing() {
    make_disk_fs
    truncate -s 64M disk_fs/disk
    add -t loop -f disk_fs/disk
    dd if=/dev/urandom of="$DEV" bs=1M count=12 oflag=direct conv=fsync status=none
    same "KiB in use at first" "$(du -k disk_fs/disk | cut -f1)" 12288
    blkdiscard -o 0 -l 4M "$DEV"
    same "KiB in use after a discard" "$(du -k disk_fs/disk | cut -f1)" 8192
    blkdiscard -z -o 4M -l 4M "$DEV"
    same "KiB in use after kept zeroes" "$(du -k disk_fs/disk | cut -f1)" 8192
    fallocate -p -n -o 8M -l 4M "$DEV"
    same "KiB in use after unmapping zeroes" "$(du -k disk_fs/disk | cut -f1)" 4096
    cmp -n $((12 * MIB)) "$DEV" /dev/zero
    del
}

power_cut() {
    local legs=1
    truncate -s 64M disk disk1
    [[ $2 != stripe* ]] || legs=2
    add "$2" --mode "$1"
    write_some_and_sync
    kill_server
    del
    [ $legs = 1 ] || interleave
    survived disk
}

# Makes one file of the legs of a stripe with chunks of 1 MiB.
interleave() {
    local chunk
    for chunk in {0..15}; do
        dd if=disk$([ $((chunk % 2)) = 0 ] || echo 1) bs=1M skip=$((chunk / 2)) count=1 status=none
    done > whole
    mv whole disk
}

power_cut_below() {
    local below above
    truncate -s 64M disk
    add 'fault(disk, cache=volatile)' --mode copy
    below=$ID
    add "$DEV" --mode "$1"
    above=$ID
    same mode "$(field mode)" "$1"
    write_some_and_sync
    kill_server "$below"
    del "$above"
    del "$below"
    survived disk
}

# ext4 overwrites a block of a file with a single FUA write. Through a device that lends pages, this
# write reaches the disk with the volatile cache below as a single FUA write, too.
durable_write() {
    local lines disk above
    truncate -s 64M disk
    mkdir mnt
    head -c 64k /dev/urandom > data
    add 'fault(disk, cache=volatile)' --mode copy --debug_mask 0x1
    disk=$ID above=$ID
    if [ "$1" != copy ]; then
        add "$DEV" --mode "$1" --debug_mask 0x1
        above=$ID
    fi
    mkfs.ext4 -qF "$DEV"
    mount -o noatime,commit=300 "$DEV" mnt
    dd if=/dev/zero of=mnt/file bs=64k count=4 conv=fsync status=none
    sync -f mnt
    lines=$(wc -l < "state/device-$above.log")
    dd if=data of=mnt/file bs=64k seek=1 oflag=direct,dsync conv=notrunc status=none
    tail -n +$((lines + 1)) "state/device-$above.log" > requests
    grep -q 'write fua offset [0-9]* length 65536' requests || fail "$(cat requests)"
    lacks flush requests
    kill_server "$disk"
    umount mnt
    [ "$above" = "$disk" ] || del "$above"
    del "$disk"
    add -t loop -f disk
    mount "$DEV" mnt
    cmp -n 65536 -i 65536:0 mnt/file data
    umount mnt
    del
}

# Cuts the power of a disk twice while files are written; the disk writes back blocks in any order.
journal() {
    local round
    truncate -s 400M disk
    mkdir mnt
    add -t loop -f disk
    "mkfs.$1" -q "$DEV"
    del
    for round in 1 2; do
        add 'fault(disk, cache=volatile, torn=yes)'
        mount "$DEV" mnt
        write_files mnt/round$round > acknowledged$round &
        wait_for 20 at_least 12 "acknowledged$round"
        kill_server
        wait $!
        umount mnt
        del
        add -t loop -f disk
        mount "$DEV" mnt
        check_files
        umount mnt
        checker "$1" > check.log 2>&1 || fail "round $round: $(cat check.log)"
        del
    done
}

failed_flush() {
    truncate -s 64M disk
    head -c 1M /dev/urandom > data
    add -r 1 'fault(disk, errors=1, ops=flush, count=1)'
    dd if=data of="$DEV" bs=64k oflag=direct status=none
    fails "$EIO" dd if=data of="$DEV" bs=64k oflag=direct conv=fsync status=none
    fails "$EIO" dd if=data of="$DEV" bs=64k count=1 oflag=direct status=none
    cmp -n $MIB <(dd if="$DEV" bs=64k count=16 iflag=direct status=none) data
    grep -q 'refusing writes' "state/device-$ID.log"
    sluice upgrade -n "$ID" > shown
    fails "$EIO" dd if=data of="$DEV" bs=64k count=1 oflag=direct status=none
    del
    add -t loop -f disk
    dd if=data of="$DEV" bs=64k oflag=direct conv=fsync status=none
    del
}

main
