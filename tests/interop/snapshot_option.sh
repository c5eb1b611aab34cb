#!/usr/bin/env bash
# --snapshot: all writes go to a temporary file, which ends with the device, and what is below stays
# as it was, byte for byte.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"
COUNT=${SLUICE_TEST_COUNT:-30}

main() {
    begin_qcow2
    run_case "NBD" over_nbd
    run_case "FUSE" over_fuse
    run_case "qcow2 below" above_qcow2
    run_case "NBD export below" with_servers above_nbd
    run_case "stripe with blocks of 4096 bytes below" above_stripe
    run_case "several exports" above_each_export
    run_case "killed" is_killed
    run_case "upgrade" is_upgraded
    run_case "grows" grows
    run_case "full file system" with_small_disk fills_up
    run_case "no file system" refuses_without_directory
    run_case "read-only" is_read_only
    finish
}

# try SPEC [OPTION...]: over NBD, with temporary files in `tmp`.
try() {
    mkdir -p tmp
    TMPDIR=$CASE/tmp serve "$1" --snapshot "${@:2}"
}

# make_base: base.raw, and the same as `oracle`.
make_base() {
    head -c 16M /dev/urandom > base.raw
    truncate -s 24M base.raw
    cp base.raw oracle
    remember base.raw
}

# remember FILE...: for is_unchanged.
remember() {
    sha256sum "$@" > sums
}

is_unchanged() {
    sha256sum --quiet -c sums || fail "what is below has changed, seed $SEED"
    [ -z "$(ls -A tmp)" ] || fail "left behind: $(ls -A tmp)"
}

# is_like_oracle [IMAGE FORMAT]
is_like_oracle() {
    qemu-img compare -q -f raw -F "${2:-raw}" oracle "${1:-$URI}" > compare.txt 2>&1 ||
        fail "compare: $(cat compare.txt) seed $SEED"
}

# temporary_file: prints the path of the one of SERVER.
temporary_file() {
    local each
    for each in "/proc/$SERVER/fd/"*; do
        [[ $(readlink "$each") != "$CASE"/*' (deleted)' ]] || { echo "$each"; return; }
    done
    fail "the server has no temporary file"
}

over_nbd() {
    make_base
    try base.raw
    "$SLUICE" list -n "$ID" > list.txt
    grep -q "overlay($CASE/base.raw)" list.txt || fail "list: $(cat list.txt)"
    write_randomly
    is_like_oracle
    # Others read the file meanwhile, and nobody writes to it.
    qemu-io -f raw -r -c 'read 0 64k' base.raw > qemu-io.txt
    refused lock qemu-io -f raw -c 'write 0 64k' base.raw
    refused 'nobody else write' "$SLUICE" add --frontend nbd --listen unix:other base.raw
    # The image is one that QEMU reads.
    cp "$(temporary_file)" image.qcow2
    qemu-img rebase -u -f qcow2 -b base.raw -F raw image.qcow2
    is_like_oracle image.qcow2 qcow2
    TMPDIR=$CASE/tmp "$SLUICE" add --snapshot --frontend nbd --listen unix:second --name second \
        base.raw > second.txt
    cmp <(nbdcopy "nbd+unix:///?socket=$CASE/second" - 2> nbdcopy.txt) base.raw ||
        fail "a second device sees the writes"
    "$SLUICE" del second > second.txt
    "$SLUICE" check image.qcow2 > check.txt || [ $? = 3 ] || fail "check: $(cat check.txt)"
    end
    is_unchanged
}

over_fuse() {
    make_base
    mkdir tmp
    : > disk
    TMPDIR=$CASE/tmp "$SLUICE" add --snapshot --frontend fuse --at disk base.raw > add.txt
    note_added
    mkfs.ext4 -q -F disk
    e2fsck -fn disk > fsck.txt 2>&1 || fail "fsck: $(cat fsck.txt)"
    head -c 1001 /dev/urandom > odd
    dd if=odd of=disk oflag=seek_bytes seek=9000001 conv=notrunc status=none
    cmp -i 0:9000001 -n 1001 odd disk || fail 'not written'
    end
    is_unchanged
}

above_qcow2() {
    make_base
    qemu-img create -q -f qcow2 -b base.raw -F raw image.qcow2 20M
    qemu-io -f qcow2 -c 'write -P 7 1M 3M' -c 'write -z 5M 1M' image.qcow2 > qemu-io.txt
    qemu-img convert -f qcow2 -O raw image.qcow2 oracle
    remember base.raw image.qcow2
    try qcow2:image.qcow2
    write_randomly
    qemu-io -f qcow2 -r -c 'read 0 64k' image.qcow2 > qemu-io.txt
    nbdinfo --map=qemu:allocation-depth "$URI" > map.txt
    grep -q ' 3 ' map.txt || fail "what is two images below: $(cat map.txt)"
    is_like_oracle
    end
    is_unchanged
}

above_nbd() {
    make_base
    qemu-nbd -t -r -f raw -k "$CASE/far" base.raw &
    appears far
    try "nbd+unix:///?socket=$CASE/far"
    write_randomly
    is_like_oracle
    end
    is_unchanged
}

# The temporary file may have smaller blocks, the device has not.
above_stripe() {
    head -c 8M /dev/urandom | tee a.raw > b.raw
    remember a.raw b.raw
    try 'stripe(loop(a.raw, block=4096), loop(b.raw, block=4096), chunk=64k)'
    same blocks "$(field block_bytes)" 4096
    nbdcopy "$URI" oracle
    qemu-io -f raw -c 'write -P 3 4k 4k' -c 'write -P 4 1020k 200k' -c 'write -z 3M 1M' \
        -c 'discard 5M 1M' -c 'write -P 5 16380k 4k' "$URI" > qemu-io.txt
    qemu-io -f raw -c 'write -P 3 4k 4k' -c 'write -P 4 1020k 200k' -c 'write -z 3M 1M' \
        -c 'write -P 5 16380k 4k' oracle > qemu-io.txt
    nbdcopy "$URI" now
    cmp -n $((5 << 20)) oracle now || fail "other data"
    cmp -i $((6 << 20)) oracle now || fail "other data"
    end
    is_unchanged
}

above_each_export() {
    make_base
    cp base.raw other.raw
    remember base.raw other.raw
    mkdir tmp
    TMPDIR=$CASE/tmp "$SLUICE" serve --snapshot --listen unix:sock a=base.raw b=other.raw > add.txt
    note_added
    URI="nbd+unix:///a?socket=$CASE/sock"
    write_randomly
    is_like_oracle
    cmp <(nbdcopy "nbd+unix:///b?socket=$CASE/sock" - 2> nbdcopy.txt) base.raw ||
        fail "the other export sees the writes"
    end
    is_unchanged
}

# What a dead server had is not even a deleted file.
is_killed() {
    local free
    make_base
    mkdir tmp
    mount -t tmpfs -o size=64m none tmp
    free=$(stat -f -c %f tmp)
    try base.raw
    write_randomly
    [ "$(stat -f -c %f tmp)" -lt "$free" ] || fail "nothing was written there"
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    "$SLUICE" del -n "$ID" > /dev/null
    is_unchanged
    for _ in {1..100}; do [ "$(stat -f -c %f tmp)" -lt "$free" ] || break; sleep 0.05; done
    [ "$(stat -f -c %f tmp)" -ge "$free" ] || fail "it still takes space"
    try base.raw
    cp base.raw oracle
    is_like_oracle
    end
    umount tmp
}

is_upgraded() {
    local round
    make_base
    try base.raw
    for round in 1 2; do
        write_randomly
        "$SLUICE" upgrade -n "$ID" > upgrade.txt || fail "round $round: $(cat upgrade.txt)"
        SERVER=$(field pid)
        is_like_oracle
    done
    write_randomly
    is_like_oracle
    temporary_file > /dev/null
    end
    is_unchanged
}

grows() {
    make_base
    try base.raw
    write_randomly
    "$SLUICE" resize -n "$ID" 40M > resize.txt
    truncate -s 40M oracle
    write_randomly
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    is_like_oracle
    end
    is_unchanged
}

with_small_disk() {
    mkdir tmp
    mount -t tmpfs -o size=6m none tmp
    "$@"
    umount tmp
}

# What was written before stays, and writes go on when there is room.
fills_up() {
    make_base
    try base.raw
    head -c 3M /dev/urandom > tmp/filler
    qemu-io -f raw -c 'write -P 9 1M 64k' -c flush "$URI" > qemu-io.txt
    qemu-io -f raw -c 'write -P 9 1M 64k' oracle > qemu-io.txt
    refused 'No space left on device' qemu-io -f raw -c 'write -P 8 4M 8M' "$URI"
    refused 'No space left on device' qemu-io -f raw -c 'write -P 8 4M 8M' -c flush "$URI"
    cmp -n $((4 << 20)) <(nbdcopy "$URI" - 2> nbdcopy.txt) oracle || fail "it has lost data"
    rm tmp/filler
    qemu-io -f raw -c 'write -P 7 4M 1M' -c flush "$URI" > qemu-io.txt
    mount -o remount,size=64m tmp
    qemu-io -f raw -c 'write -P 6 4M 8M' -c flush "$URI" > qemu-io.txt
    qemu-io -f raw -c 'write -P 6 4M 8M' oracle > qemu-io.txt
    is_like_oracle
    write_randomly
    is_like_oracle
    end
    is_unchanged
}

refuses_without_directory() {
    make_base
    mkdir tmp
    TMPDIR=/proc/none refused "cannot make a temporary file in '/proc/none'" \
        "$SLUICE" add --snapshot --frontend nbd --listen unix:sock base.raw
    TMPDIR=$CASE/tmp refused 'does not exist' \
        "$SLUICE" add --snapshot --frontend nbd --listen unix:sock none.raw
    TMPDIR=$CASE/tmp refused "takes no name" \
        "$SLUICE" add --frontend nbd --listen unix:sock -t qcow2 -f base.raw --snapshot first
    same devices "$("$SLUICE" list --json | tr -d '[:space:]')" '[]'
    is_unchanged
}

is_read_only() {
    make_base
    try base.raw --read_only
    refused 'Permission denied' qemu-io -f raw -c 'write 0 64k' "$URI"
    is_like_oracle
    end
    is_unchanged
}

main "$@"
