#!/usr/bin/env bash
# A short tour of all features on a kernel that users run: Debian's own, with its modules.
# Everything is some thirty times slower here, so the test uses little data and few processes.
# guest: qemu
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_writer.sh"

main() {
    local mode
    uname -a
    for mode in $MODES; do
        run_case "what is written comes back, mode $mode" comes_back "$mode"
    done
    run_case "a file system by zero copy" file_system
    run_case "the server is killed and replaced, nothing fails" killed
    run_case "a power cut below takes only what was not flushed" power_cut
    finish
}

comes_back() {
    truncate -s 64M leg0 leg1
    head -c 4M /dev/urandom > data
    add 'stripe(leg0, leg1, chunk=64k)' --mode "$1"
    dd if=data of="$DEV" bs=300k oflag=direct conv=fsync status=none
    cmp <(dd if="$DEV" bs=1M count=4 iflag=direct status=none) data
    del
}

file_system() {
    truncate -s 64M disk
    head -c 8M /dev/urandom > data
    mkdir mnt
    add -t loop -f disk -z
    mkfs.ext4 -qF "$DEV"
    mount "$DEV" mnt
    dd if=data of=mnt/data bs=1M oflag=direct conv=fsync status=none
    cp data mnt/copy
    umount mnt
    e2fsck -fn "$DEV" > check.log 2>&1 || fail "$(cat check.log)"
    mount -o ro "$DEV" mnt
    cmp data mnt/data
    cmp data mnt/copy
    refuses 'in use' "$SLUICE" del -n "$ID"
    umount mnt
    del
}

killed() {
    truncate -s 64M disk
    add -t loop -f disk -z -r 1 -i 1
    write_numbered "$DEV" book &
    wait_for 60 [ -e book.started ]
    kill_server
    sluice recover -n "$ID"
    sleep 1
    touch book.stop
    wait $!
    verify_numbered "$DEV" book
    del
}

power_cut() {
    local below
    truncate -s 64M disk
    head -c 1M /dev/urandom > data
    add 'fault(disk, cache=volatile)'
    below=$ID
    add "$DEV" -z
    dd if=data of="$DEV" bs=64k oflag=direct conv=fsync status=none
    dd if=data of="$DEV" bs=64k seek=64 oflag=direct status=none
    kill_server "$below"
    del
    del "$below"
    cmp -n 1048576 disk data
    cmp -n 1048576 -i 4194304:0 disk /dev/zero
}

main
