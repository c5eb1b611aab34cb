#!/usr/bin/env bash
# Target crypt on ublk: verified loads and a file system in each mode, servers that are killed,
# recovered and upgraded; and the kernel's own dm-crypt, which reads what we have written, and
# writes what we read. T7.x are the traps of LUKS.
# seconds: 90
. "$(dirname "$0")/lib_filesystems.sh"

KEY=key  # of map_by_kernel
QUICK=(--batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000)

main() {
    local mode
    command -v cryptsetup > /dev/null || { echo "skipped: there is no cryptsetup"; exit 77; }
    make_repository
    for mode in user_copy get_data copy; do
        run_case "verified load, mode $mode" verified_in "$mode"
    done
    run_case "ext4, sectors of 4096" lives_on
    run_case "our server is killed and recovered" recovered
    run_case "no recovery without a source for the key" not_recovered
    run_case "upgrade under load" upgraded
    run_case "dm-crypt, sectors of 512" with_dm_crypt luks2 --sector-size 512
    run_case "dm-crypt, sectors of 4096" with_dm_crypt luks2 --sector-size 4096
    run_case "dm-crypt, LUKS1" with_dm_crypt luks1
    run_case "dm-crypt, CBC with ESSIV" with_dm_crypt luks2 --cipher aes-cbc-essiv:sha256 \
        --key-size 256
    run_case "dm-crypt, plain" with_plain_dm_crypt
    finish
}

# format TYPE [OPTION...]: the volume `v` with the passphrase in `key`.
format() {
    [ -e key ] || { printf secret > key && chmod 600 key; }
    truncate -s "${SIZE:-96M}" v
    cryptsetup luksFormat "${QUICK[@]}" --type "$@" v key
}

verified() {
    timeout 300 fio --name=verify --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw \
        --bsrange="${BLOCK:-512}-256k" --iodepth=16 --size=16M --verify=crc32c --verify_fatal=1 \
        --output=fio.log "$@" || fail "$(tail -n 20 fio.log)"
}

verified_in() {
    format luks2 --sector-size 512
    add 'crypt(v, key_file=key)' --mode "$1" -q 2
    same mode "$(field mode)" "$1"
    verified
    del
    add 'crypt(v, key_file=key)'
    verified --verify_only
    del
}

lives_on() {
    SIZE=320M format luks2 --sector-size 4096
    mkdir mnt
    add 'crypt(v, key_file=key, allow_discards)' -q 2
    same "logical blocks" "$(cat "/sys/block/${DEV##*/}/queue/logical_block_size")" 4096
    same "physical blocks" "$(cat "/sys/block/${DEV##*/}/queue/physical_block_size")" 4096  # T7.5
    make_fs ext4
    mount "$DEV" mnt
    use mnt
    fstrim mnt
    umount mnt
    check_fs ext4
    del
    add 'crypt(v, key_file=key)' --mode copy
    check_fs ext4
    mount -o ro,noload "$DEV" mnt
    git -C mnt/clone fsck --full --no-progress
    cmp program mnt/clone/project/program
    umount mnt
    del
}

recovered() {
    format luks2 --sector-size 512
    add 'crypt(v, key_file=key)' -r 1 -i 1
    verified --rw=randwrite --size=8M --end_fsync=1 --do_verify=0 --rate=4m &
    sleep 1
    kill -KILL "$(field pid)"
    sluice recover -n "$ID" > recover.txt
    wait "$!"
    verified --rw=randread --size=8M --verify_only
    del
}

# The requests wait until the device is deleted.
not_recovered() {
    format luks2
    add 'crypt(v, key_fd=7)' -r 1 7< key
    kill -KILL "$(field pid)"
    if sluice recover -n "$ID" > recover.txt 2>&1; then fail "it was recovered"; fi
    grep -q 'cannot be read again' recover.txt || fail "$(cat recover.txt)"
    del
    add 'crypt(v, key_fd=7)' 7< key
    del
}

upgraded() {
    format luks2 --sector-size 4096
    add 'crypt(v, key_file=key)' -q 2 -r 1
    rm key
    BLOCK=4k verified --time_based --runtime=4 &
    sleep 1
    sluice upgrade -n "$ID" > upgrade.txt
    sleep 1
    sluice upgrade -n "$ID" > upgrade.txt
    wait "$!"
    del
}

# map_by_kernel NAME [OPTION...]: opens `v` by dm-crypt with the key file KEY; MAPPED is the device.
map_by_kernel() {
    local name=sluice-$$-$1
    shift
    cryptsetup open --batch-mode --key-file "$KEY" "$@" v "$name" > open.txt 2>&1 ||
        skip "$(cat open.txt)"
    MAPPED=/dev/mapper/$name
    udevadm settle 2> /dev/null || true
    [ -b "$MAPPED" ] || dmsetup mknodes "$name"
}

# unmap: what the kernel has in its cache for `v` is written first.
unmap() {
    sync "$MAPPED" 2> /dev/null || true
    cryptsetup close "${MAPPED##*/}"
}

# T7.3: with_dm_crypt TYPE [OPTION...]
with_dm_crypt() {
    SIZE=40M format "$@"
    head -c 20M /dev/urandom > oracle
    add 'crypt(v, key_file=key)'
    dd if=oracle of="$DEV" bs=1M oflag=direct conv=notrunc status=none
    del
    map_by_kernel ours
    cmp -n $((20 << 20)) oracle "$MAPPED" || { unmap; fail "dm-crypt reads something else"; }
    tr 'a-y' 'b-z' < oracle > changed
    dd if=changed of="$MAPPED" bs=1M oflag=direct conv=notrunc status=none
    unmap
    add 'crypt(v, key_file=key)'
    cmp -n $((20 << 20)) changed "$DEV" || fail "we read something else than dm-crypt wrote"
    del
}

with_plain_dm_crypt() {
    local options="type=plain, cipher=aes-xts-plain64, size=512, offset=1M, skip=512k"
    head -c 64 /dev/urandom > key
    truncate -s 40M v
    head -c 20M /dev/urandom > oracle
    add "crypt(v, $options, key_file=key)"
    dd if=oracle of="$DEV" bs=1M oflag=direct conv=notrunc status=none
    del
    map_by_kernel plain --type plain --cipher aes-xts-plain64 --key-size 512 --offset 2048 \
        --skip 1024
    cmp -n $((20 << 20)) oracle "$MAPPED" || { unmap; fail "dm-crypt reads something else"; }
    unmap
    # A passphrase that is hashed.
    printf secret > key && chmod 600 key
    KEY=- map_by_kernel hashed --type plain --cipher aes-xts-plain64 --key-size 512 --hash sha512 \
        < key
    dd if=oracle of="$MAPPED" bs=1M oflag=direct conv=notrunc status=none
    unmap
    add 'crypt(v, type=plain, cipher=aes-xts-plain64, size=512, hash=sha512, key_file=-)' < key
    cmp -n $((20 << 20)) oracle "$DEV" || fail "we read something else than dm-crypt wrote"
    del
}

main
