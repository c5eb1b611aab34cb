#!/usr/bin/env bash
# A device is only recovered from the files and disks that it was served from: another file or disk
# of the same name is refused, however similar, unless --other-file is given.
. "$(dirname "$0")/../../device/lib.sh"

main() {
    run_case "the same file" same_file
    run_case "the same file by way of another name" same_file_renamed
    run_case "another file of the same name" another_file
    run_case "another file with the same inode" same_inode
    run_case "one of several" one_of_several
    run_case "another disk of the same number" another_disk
    run_case "another partition of the same number" another_partition
    run_case "a mapping keeps its name" mapping
    run_case "resumed by a service" resumed
    run_case "a file that shrank" shrank
    run_case "upgraded although it shrank" upgraded
    run_case "a record of an older program" old_record
    finish
}

# dead SPEC: adds a device and kills its server.
dead() {
    add -r 1 -i 1 "$@"
    kill_server
    wait_for 10 has_state QUIESCED
}

refused() {
    refuses "is not the file or disk that device $ID was served from \\($1\\): put that back" \
        "$SLUICE" recover -n "$ID"
    has_state QUIESCED
}

same_file() {
    truncate -s 16M a.img
    dead a.img
    sluice recover -n "$ID" > /dev/null
    kill_server
    wait_for 10 has_state QUIESCED
    sluice recover -n "$ID" > /dev/null
    del
}

same_file_renamed() {
    truncate -s 16M a.img
    dead a.img
    mv a.img b.img
    ln -s b.img a.img
    sluice recover -n "$ID" > /dev/null
    del
}

another_file() {
    head -c 16M /dev/urandom > a.img
    head -c 16M /dev/urandom > other.img
    dead a.img
    mv a.img b.img
    mv other.img a.img
    refused 'file .* inode .*, not file .* inode .*'
    sluice recover -n "$ID" --other-file > /dev/null
    cmp a.img <(dd if="$DEV" bs=1M iflag=direct status=none)
    # From now on this is the device's file.
    kill_server
    wait_for 10 has_state QUIESCED
    sluice recover -n "$ID" > /dev/null
    kill_server
    wait_for 10 has_state QUIESCED
    mv b.img a.img
    refused 'file .* inode .*, not file .* inode .*'
}

# ext4 gives the inode number of a removed file to the next new file.
same_inode() {
    local inode
    make_disk_fs
    truncate -s 16M disk_fs/a.img
    inode=$(stat -c %i disk_fs/a.img)
    dead disk_fs/a.img
    sleep 0.05
    rm disk_fs/a.img
    truncate -s 16M disk_fs/a.img
    same inode "$(stat -c %i disk_fs/a.img)" "$inode"
    refused 'file .* inode .*, made anew'
}

one_of_several() {
    make_stack stripe 64M
    dead "${STACK[@]}"
    cp --sparse=always leg2 copy
    mv copy leg2
    refuses "leg2' is not the file or disk that device" "$SLUICE" recover -n "$ID"
}

another_disk() {
    local loop
    truncate -s 16M a.img b.img
    loop=$(losetup -f --show a.img)
    dead "$loop"
    sluice recover -n "$ID" > /dev/null
    kill_server
    wait_for 10 has_state QUIESCED
    losetup -d "$loop"
    losetup "$loop" b.img
    refused 'disk 7:[0-9]+ sequence [0-9]+, not disk 7:[0-9]+ sequence [0-9]+'
    sluice recover -n "$ID" --other-file > /dev/null
    del
    losetup -d "$loop"
}

another_partition() {
    local loop
    truncate -s 16M a.img
    echo 2048,8192 | sfdisk -q a.img
    loop=$(losetup -P -f --show a.img)
    [ -b "${loop}p1" ] || skip "no partitions of loop devices"
    dead "${loop}p1"
    echo 4096,8192 | sfdisk -q --no-reread --force "$loop"
    partx -d "$loop"
    partx -a "$loop"
    refused 'disk .* from sector 4096, not disk .* from sector 2048'
    losetup -d "$loop"
}

mapping() {
    local loop
    truncate -s 16M a.img
    loop=$(losetup -f --show a.img)
    dmsetup create --noudevsync test --uuid test-uuid --table "0 32768 linear $loop 0" ||
        skip "no device-mapper"
    trap 'dmsetup remove --noudevsync --force test || true' EXIT
    dead "/dev/$(dmsetup info -c --noheadings -o blkdevname test)"
    grep -q '"is": "disk test-uuid"' "$SLUICE_STATE_DIR/device-$ID.json"
    dmsetup reload test --table "0 32768 linear $loop 0"
    dmsetup suspend test
    dmsetup resume --noudevsync test
    sluice recover -n "$ID" > /dev/null
    del
    wait_for 10 dmsetup remove --noudevsync test
    trap - EXIT
    losetup -d "$loop"
}

resumed() {
    truncate -s 16M a.img
    dead a.img
    cp --sparse=always a.img b.img
    mv b.img a.img
    refuses "is not the file or disk that device $ID was served from" \
        "$SLUICE" add --foreground --resume -n "$ID" -r 1 a.img
}

shrank() {
    truncate -s 16M a.img
    dead a.img
    truncate -s 8M a.img
    refuses "has 16777216 bytes but its backing now only 8388608: restore the backing" \
        "$SLUICE" recover -n "$ID"
    truncate -s 16M a.img
    sluice recover -n "$ID" > /dev/null
    del
}

upgraded() {
    truncate -s 16M a.img
    add -r 1 -i 1 a.img
    truncate -s 8M a.img
    refuses "8388608" "$SLUICE" upgrade -n "$ID"
    has_state LIVE
    truncate -s 16M a.img
    sluice upgrade -n "$ID" > /dev/null
    dd if="$DEV" of=/dev/null bs=1M count=16 iflag=direct status=none
    del
}

old_record() {
    truncate -s 16M a.img
    dead a.img
    python3 - "$SLUICE_STATE_DIR/device-$ID.json" <<'END'
import json, sys
record = json.load(open(sys.argv[1]))
del record["files"], record["forced"]
json.dump(record, open(sys.argv[1], "w"))
END
    sluice recover -n "$ID" > /dev/null
    grep -q '"is": "file' "$SLUICE_STATE_DIR/device-$ID.json"
    del
}

main
