#!/usr/bin/env bash
# Wrong commands are refused with one sentence. Failures below a device reach its client as errors,
# and the device continues. The server's process is protected as designed.
. "$(dirname "$0")/lib.sh"

EIO="Input/output error"
PF_MEMALLOC_NOIO=0x00080000
PF_LOCAL_THROTTLE=0x00100000

main() {
    run_case "bad command lines" bad_command_lines
    run_case "bad specs" bad_specs
    run_case "a number that is taken, one that is free" numbers
    run_case "a mounted device" mounted
    run_case "the backing file shrinks" shrunk
    run_case "the disk is full" full_disk
    run_case "errors below stay the client's" errors_below
    run_case "errors below an operation and its linked commit" linked_errors
    run_case "read-only" read_only
    run_case "a damaged state file" damaged_state
    run_case "a foreign device" foreign_device
    run_case "the server is protected from memory reclaim and the OOM killer" protected
    run_case "the server pins no file system" pins_nothing
    run_case "an idle server needs next to nothing" idle
    finish
}

bad_command_lines() {
    local arguments before
    before=$(ls /sys/class/ublk-char)
    truncate -s 64M disk
    while read -r arguments; do
        # shellcheck disable=SC2086
        refuses '^sluice: ' "$SLUICE" $arguments
    done << 'END'
add
add -t
add -t nothing
add -t loop
add -t loop -f
add -t loop -f missing
add -t loop -f .
add -t loop -f /dev/null
add -t loop -f disk -f disk
add -t stripe
add -t stripe -f disk -f disk --chunk 64k
add -t stripe -f disk --chunk 3
add -t null -f disk
add -t null --chunk 64k
add -t null --size 0
add -t null --size 100
add -t null --size 99999999999999999999
add -t null -q 0
add -t null -q 4097
add -t null -q -1
add -t null -q 1x
add -t null -d 0
add -t null -d 4097
add -t null -n -1
add -t null -n 99999999999
add -t null -n 1048576
add -t null --mode best
add -t null --mode copy -z
add -t null -r 2
add -t null -i 1
add -t null -r 1 -i 1 -e 1
add -t null --no_such_option
add -t null one two
del
del -n
del -n x
del -n 77777
del -n 77777 --force
del -a -n 1
list -n 77777
list extra
recover
recover -n 77777
set_affinity -n 77777 -q 0 --cpuset 0
set_affinity -n 0 -q 0 --cpuset zero
features extra
targets nothing
mount
END
    same devices "$(ls /sys/class/ublk-char)" "$before"
}

bad_specs() {
    local spec before
    before=$(ls /sys/class/ublk-char)
    truncate -s 64M disk
    while read -r spec; do
        refuses '^sluice: ' "$SLUICE" add "$spec"
    done << 'END'
stripe(
stripe()
stripe(disk,disk)
stripe(disk, null:64M, chunk=)
stripe(disk, null:64M, chunk=64k, chunk=64k)
loop(disk, offset=100)
loop(disk, offset=1G)
loop(disk, size=1G)
null:-1
null:1Q
fault(disk, errors=2)
fault(disk, ops=reed)
{"target":"loop"
{"target":"loop","file":"disk","file":"disk"}
{"target":"lopp","file":"disk"}
linear(linear(linear(linear(
END
    refuses '^sluice: ' "$SLUICE" add \
        "$(printf 'linear(%.0s' {1..200})disk$(printf ')%.0s' {1..200})"
    same devices "$(ls /sys/class/ublk-char)" "$before"
}

numbers() {
    local taken
    [ ! -e /dev/ublkc1234 ] || skip "there is a device 1234"
    add -t null -n 1234
    same path "$DEV" /dev/ublkb1234
    taken=$ID
    refuses "device $taken \(/dev/ublkb$taken\) already exists" "$SLUICE" add -t null -n "$taken"
    dd if="$DEV" of=/dev/null bs=64k count=1 status=none
    add -t null
    [ "$ID" != "$taken" ]
    del
    del "$taken"
}

mounted() {
    truncate -s 64M disk
    add -t loop -f disk
    mkfs.ext4 -qF "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    refuses 'in use' "$SLUICE" del -n "$ID"
    echo text > mnt/file
    sync -f mnt
    same text "$(cat mnt/file)" text
    sluice del -n "$ID" --force
    [ ! -e "$DEV" ]
    fails 'error|Read-only' dd if=/dev/zero of=mnt/more bs=4k count=1 conv=fsync
    umount mnt
    # Synced data is kept.
    add -t loop -f disk
    mount "$DEV" mnt
    same text "$(cat mnt/file)" text
    umount mnt
    del
}

shrunk() {
    local mode
    for mode in auto user_copy copy; do
        make_stack loop 64M
        add "${STACK[@]}" --mode $mode
        truncate -s 32M disk
        dd if="$DEV" of=/dev/null bs=1M count=32 iflag=direct status=none
        fails "$EIO" dd if="$DEV" of=/dev/null bs=1M skip=40 count=1 iflag=direct status=none
        # The file ends in the middle of this block.
        fails "$EIO" dd if="$DEV" of=/dev/null bs=128k skip=$((32 * 1048576 - 65536)) count=1 \
            iflag=direct,skip_bytes status=none
        truncate -s 64M disk
        dd if="$DEV" of=/dev/null bs=1M skip=40 count=1 iflag=direct status=none
        del
    done
}

full_disk() {
    local mode
    mkdir small
    mount -t tmpfs -o size=16M small small
    for mode in auto copy; do
        truncate -s 64M small/disk
        add -t loop -f small/disk --mode $mode
        fails "No space left|$EIO" dd if=/dev/zero of="$DEV" bs=1M count=32 oflag=direct status=none
        dd if="$DEV" of=/dev/null bs=1M count=64 iflag=direct status=none
        blkdiscard "$DEV"
        dd if=/dev/zero of="$DEV" bs=1M count=8 oflag=direct conv=fsync status=none
        del
        rm small/disk
    done
    umount small
}

errors_below() {
    truncate -s 64M disk
    add 'fault(disk, errors=1, ops=read, offset=1M, length=1M)'
    fails "$EIO" dd if="$DEV" of=/dev/null bs=64k skip=16 count=1 iflag=direct status=none
    dd if="$DEV" of=/dev/null bs=64k count=16 iflag=direct status=none
    del
    add 'fault(disk, errors=5%, short=5%, ops=read+write)'
    fio --name=errors --filename="$DEV" --direct=1 --ioengine=io_uring --iodepth=16 --size=32M \
        --rw=randrw --bs=16k --continue_on_error=all --output=fio.log || true
    grep -q 'errors *: total= *[1-9]' fio.log || fail "no errors: $(cat fio.log)"
    [ -e "/proc/$(server)" ]
    del
}

# The commit that is linked to an operation must not be executed if the operation fails.
linked_errors() {
    local below
    add 'fault(mem:64M, errors=5%, ops=read)'
    below=$DEV
    add "$below" --mode auto
    fio --name=errors --filename="$DEV" --direct=1 --ioengine=io_uring --iodepth=16 --size=32M \
        --rw=randwrite --bs=16k --verify=crc32c --continue_on_error=io --output=fio.log || true
    grep -q 'errors *: total= *[1-9]' fio.log || fail "no errors: $(cat fio.log)"
    lacks 'verify: bad|verify failed|bad magic' fio.log
    [ -e "/proc/$(server)" ]
    del
    del "${below#/dev/ublkb}"
}

read_only() {
    head -c 64M /dev/urandom > disk
    chmod a-w disk
    add -t loop -f disk --read_only
    same "the kernel's view" "$(blockdev --getro "$DEV")" 1
    same "read_only" "$(field read_only)" true
    cmp disk "$DEV"
    fails 'not permitted|Read-only' dd if=/dev/zero of="$DEV" bs=4k count=1 oflag=direct
    fails 'not permitted|Read-only' blkdiscard "$DEV"
    # Another reader is accepted, a writer is not.
    sluice add -t loop -f disk --read_only > shown
    refuses 'in use elsewhere|attached' "$SLUICE" add -t loop -f disk
    del "$(sed -n 's%^/dev/ublkb%%p' shown)"
    del
}

damaged_state() {
    local record damage
    add -t null -r 1
    record=state/device-$ID.json
    cp "$record" whole
    for damage in 'head -c 50' 'sed s/{/x/' 'sed s/"pid":/"pit":/' 'sed s/null/none/' \
        'head -c 0'; do
        $damage whole > "$record"
        ! "$SLUICE" list -n "$ID" > shown 2> error || fail "list succeeds"
        grep -q "^dev id $ID:" shown || fail "the driver's device is not shown"
        grep -q "$record cannot be used" error || fail "it is not named: $(cat error)"
        refuses 'cannot be used' "$SLUICE" recover -n "$ID"
    done
    head -c 5M /dev/zero > "$record"
    refuses 'cannot be used' "$SLUICE" recover -n "$ID"
    del
    [ ! -e "$record" ] || fail "$record was left behind"
}

# A device that was added with another state directory is shown, but cannot be changed.
foreign_device() {
    add -t null
    export SLUICE_STATE_DIR=$CASE/elsewhere
    same served_by_sluice "$(field served_by_sluice)" false
    refuses 'not one that sluice serves' "$SLUICE" recover -n "$ID"
    refuses 'not one that sluice serves' "$SLUICE" set_affinity -n "$ID" -q 0 --cpuset 0
    export SLUICE_STATE_DIR=$CASE/state
    del
}

protected() {
    local thread flags
    add -t null -q 2 --mode copy
    same oom_score_adj "$(cat "/proc/$(server)/oom_score_adj")" -1000
    [ "$(status_of VmLck)" -gt 0 ] || fail "no memory is locked"
    for thread in $(field threads); do
        # The fields after the name: state, parent, group, session, terminal, its group, flags.
        flags=$(sed 's/.*) //' "/proc/$thread/stat" | cut -d' ' -f7)
        [ $((flags & PF_MEMALLOC_NOIO)) != 0 ] || fail "thread $thread may wait for I/O when it \
allocates"
        [ $((flags & PF_LOCAL_THROTTLE)) != 0 ] || fail "thread $thread is throttled as any writer"
    done
    same "working directory" "$(readlink "/proc/$(server)/cwd")" /
    same session "$(sed 's/.*) //' "/proc/$(server)/stat" | cut -d' ' -f4)" "$(server)"
    del
}

pins_nothing() {
    mkdir backing mnt other
    mount -t tmpfs backing backing
    truncate -s 64M backing/disk
    add -t loop -f backing/disk
    mkfs.ext4 -qF "$DEV"
    mount "$DEV" mnt
    [ "$(readlink "/proc/$(server)/ns/mnt")" != "$(readlink /proc/$$/ns/mnt)" ]
    lacks "$DEV" "/proc/$(server)/mountinfo"
    umount mnt
    mount -t tmpfs other other
    add -t null
    lacks "$CASE/other" "/proc/$(server)/mountinfo"
    umount other
    del
    ID=$(head -n 1 made)
    del
    umount backing
}

# Memory of its own: the pages of programs and libraries are the same for all servers.
idle() {
    local before after
    add -t null
    dd if="$DEV" of=/dev/null bs=1M count=64 iflag=direct status=none
    [ "$(status_of RssAnon)" -lt 5120 ] || fail "it takes $(status_of RssAnon) KiB"
    del
    # Each tag takes about 10 KiB.
    add -t null -q 2 -d 1024
    dd if="$DEV" of=/dev/null bs=1M count=64 iflag=direct status=none
    [ "$(status_of RssAnon)" -lt 28672 ] || fail "it takes $(status_of RssAnon) KiB"
    before=$(processor_time)
    sleep 2
    after=$(processor_time)
    [ $((after - before)) -le 1 ] || fail "it took $((after - before)) ticks while idle"
    del
}

# Prints a value of /proc/PID/status, in KiB.
status_of() {
    awk -v name="$1:" '$1 == name { print $2 }' "/proc/$(server)/status"
}

processor_time() {
    sed 's/.*) //' "/proc/$(server)/stat" | awk '{ print $12 + $13 }'
}

main
