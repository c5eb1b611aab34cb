#!/usr/bin/env bash
# sluice mirror create, examine and forget: on files, a qcow2 image and an NBD export.
set -u

main() {
    local tool each
    : "${SLUICE:?the program under test}"
    for tool in qemu-img qemu-nbd mkfs.ext4 sfdisk python3; do
        command -v $tool >/dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    folder=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) || exit 1
    trap 'leave' EXIT
    cd "$folder" || exit 1
    failures=0
    for each in new_mirror equal_legs spares_from_the_start other_sizes legs_of_all_kinds \
        metadata_in_a_file content_is_kept foreign_content superblocks_are_erased \
        damaged_superblocks interrupted_creation what_assembly_says wrong_lines; do
        # shellcheck disable=SC2254  # a pattern
        case $each in ${CASES:-*}) $each ;; esac
        rm -rf -- *
    done
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
    echo "mirrors are made, shown and forgotten"
}

leave() {
    # shellcheck disable=SC2046
    kill $(jobs -p) 2>/dev/null
    rm -rf "$folder"
}

new_mirror() {
    truncate -s 64M a.img b.img
    expect 0 "mirror .* 'home': 63 MiB of data" create --name home a.img b.img
    expect 0 "leg 2: b.img, copied from leg 1" create --force a.img b.img
    expect 0 "leg 1: a.img, copied from leg 2" create --force --from 2 a.img b.img
    expect 0 "leg 2: b.img, in sync" create --force --from b.img a.img b.img
    expect 0 "" create --force --name home --region 64k --data_offset 2M a.img b.img
    expect 0 "" examine a.img b.img
    says "array .* home" "1 of 2, in sync" "2 of 2, stale" "data .*65011712 (62 MiB)" \
        "at the start, data from 2097152" "dirty .*992 of 992, of 64 KiB" \
        "winner .*a.img" "behind .*b.img" "starts .*with all data"
    expect 0 "" examine --json a.img b.img
    json "all(leg['array'] == value['legs'][0]['array'] for leg in value['legs'])"
    json "[leg['state'] for leg in value['legs']] == ['in sync', 'stale']"
    json "value['legs'][0]['bitmap']['dirty'] == 992"
    json "len(value['legs'][0]['history']) == 1"
    json "[leg['label'] for leg in value['legs'][1]['legs']] == ['a.img', 'b.img']"
    json "value['assembly']['starts'] and not value['assembly']['degraded']"
    json "value['assembly']['legs'][1]['role'] == 'behind'"
    expect 0 "" examine --json a.img
    json "'assembly' not in value"
}

equal_legs() {
    truncate -s 16M a.img b.img c.img
    expect 0 "warning: the legs are not compared" create --assume_clean a.img b.img c.img
    expect 0 "" examine a.img b.img c.img
    says "winner .*a.img" "equal .*b.img" "equal .*c.img" "dirty .*0 of 15" "stopped .*cleanly"
}

# They take part without data, and nobody misses them.
spares_from_the_start() {
    truncate -s 16M a.img b.img c.img d.img
    expect 2 "takes" create --spares 3 a.img b.img c.img d.img
    expect 2 "is to be a spare" create --spares 1 --from 3 a.img b.img c.img
    expect 0 "leg 4: d.img, spare" create --spares 2 a.img b.img c.img d.img
    expect 0 "" examine a.img b.img c.img d.img
    says "winner .*a.img" "behind .*b.img" "spare .*c.img" "spare .*d.img"
    expect 0 "" examine a.img b.img
    says "starts .*with all data"
}

other_sizes() {
    truncate -s 16M a.img
    truncate -s 24M b.img
    truncate -s 1M small.img
    expect 0 "note: 'b.img' has room for 23 MiB, .* leaves 8 MiB unused" create a.img b.img
    expect 1 "'small.img': 1 MiB are too small for a leg" create --force a.img small.img
    expect 1 "does not fit before a data offset" create --force --region 64k --data_offset 1M \
        "mem(size=1T)" "mem(size=1T)"
}

legs_of_all_kinds() {
    truncate -s 16M a.img c.img
    qemu-img create -q -f qcow2 b.qcow2 16M
    qemu-nbd --socket "$PWD/sock" --format raw --persistent c.img &
    for _ in {1..100}; do [ -S sock ] && break; sleep 0.05; done
    expect 1 "'b.qcow2' has a qcow2 image" create a.img b.qcow2
    expect 0 "" create a.img "qcow2(b.qcow2)" "nbd+unix:///?socket=$PWD/sock"
    expect 0 "" examine a.img "qcow2(b.qcow2)" "nbd+unix:///?socket=$PWD/sock"
    says "2 of 3, stale" "3 of 3, stale" "leg 2 .*stale: qcow2(b.qcow2)" \
        "leg 3 .*stale: nbd+unix://"
    expect 0 "" forget "nbd+unix:///?socket=$PWD/sock"
    kill $! && wait $! 2>/dev/null
    expect 1 "'c.img' has no mirror superblock" examine c.img
    qemu-img check -q b.qcow2 || problem "QEMU finds faults in the image"
}

metadata_in_a_file() {
    truncate -s 1M a.meta
    head -c 4M /dev/urandom >a.img
    cp a.img a.before
    truncate -s 5M b.img
    expect 0 "4 MiB of data" create "linear(a.meta, a.img)" b.img
    expect 0 "" examine "linear(a.meta, a.img)" b.img
    says "winner .*linear"
    cmp -s a.img a.before || problem "a disk with its metadata in a file has changed"
}

content_is_kept() {
    truncate -s 16M a.img b.img
    mkfs.ext4 -q -F a.img 15M
    cp a.img a.before
    expect 1 "'a.img' has an ext4 file system: .* or --metadata end" create a.img b.img
    expect 1 "'a.img' has an ext4 file system: give --force to overwrite it" create --metadata end \
        --from b.img a.img b.img
    expect 0 "warning: a leg that is mounted" create --metadata end a.img b.img
    cmp -s -n 15728640 a.img a.before || problem "the file system has changed"
    expect 0 "" examine a.img b.img
    says "at the end, data from 0" "data .*16646144"
    expect 0 "" forget a.img b.img
    cmp -s -n 15728640 a.img a.before || problem "the file system has changed"
    printf x | dd of=a.img bs=1 seek=16777000 conv=notrunc status=none
    expect 1 "the last 128 KiB of 'a.img', .* are not zeroes" create --metadata end a.img b.img
    expect 0 "" create --force --metadata end a.img b.img
}

foreign_content() {
    truncate -s 16M a.img b.img
    echo ',' | sfdisk -q -X gpt b.img
    expect 1 "'b.img' has a gpt partition table" create a.img b.img
    truncate -s 0 b.img && truncate -s 16M b.img
    mkswap b.img >/dev/null 2>&1
    expect 1 "'b.img' has a swap superblock" create a.img b.img
    printf 'LUKS\xba\xbe\0\2' >luks.head
    dd if=luks.head of=b.img conv=notrunc status=none
    expect 1 "'b.img' has" create a.img b.img
    expect 1 "'a.img' has no mirror superblock" examine a.img
    expect 0 "" create --force a.img b.img
    # Nothing of a former array at the other place is left.
    expect 0 "" create --force --metadata end a.img b.img
    expect 0 "" create --force a.img b.img
    expect 0 "" examine b.img
    says "at the start"
}

superblocks_are_erased() {
    truncate -s 16M a.img b.img c.img
    expect 0 "" create a.img b.img
    expect 1 "'a.img' is a leg of the mirror .* already" create a.img c.img
    expect 1 "'c.img' has no mirror superblock" forget a.img c.img
    expect 0 "" examine a.img
    expect 0 "" forget a.img b.img
    expect 1 "no mirror superblock" examine a.img
    expect 1 "no mirror superblock" forget a.img
    [ "$(tr -d '\0' <a.img | head -c 100 | grep -c SLUICEMR)" = 0 ] || problem "the magic is left"
    expect 0 "" create a.img c.img
}

damaged_superblocks() {
    truncate -s 16M a.img b.img
    expect 0 "" create a.img b.img
    printf x | dd of=a.img bs=1 seek=100 conv=notrunc status=none
    expect 0 "" examine a.img
    says "superblock .*the copy at byte 0 has a wrong checksum"
    printf x | dd of=a.img bs=1 seek=65600 conv=notrunc status=none
    expect 0 "" examine a.img
    says "dirty .*15 of 15, .*, 1 damaged blocks"
    printf x | dd of=a.img bs=1 seek=33000 conv=notrunc status=none
    expect 1 "'a.img': no superblock of a mirror leg is there" examine a.img
    expect 1 "--force erases it" forget a.img
    expect 1 "--force overwrites it" create a.img b.img
    expect 0 "" forget --force a.img
    expect 1 "'a.img' has no mirror superblock" examine a.img
}

# The source cannot be written: nothing of what is left starts.
interrupted_creation() {
    truncate -s 16M a.img b.img c.img
    expect 1 "the mirror is not complete: create it again with --force" create \
        "fault(a.img, ops=write, errors=1)" b.img c.img
    expect 0 "" examine b.img c.img
    says "refused .*no leg with all data is there"
    expect 0 "" create --force a.img b.img c.img
}

what_assembly_says() {
    truncate -s 16M a.img b.img c.img d.img
    expect 0 "" create --assume_clean --name one a.img b.img
    expect 0 "" create --assume_clean --name two c.img d.img
    expect 0 "" examine a.img c.img
    says "refused .*c.img belongs to another array (.* 'two') than a.img (.* 'one')"
    cp a.img copy.img
    expect 0 "" examine a.img copy.img
    says "refused .*copy.img is the same leg as a.img"
    truncate -s 16M empty.img
    expect 1 "'empty.img' has no mirror superblock" examine b.img empty.img
    says "missing .*in sync: a.img" "starts .*degraded"
    expect 1 "attached for writing elsewhere" create --force a.img a.img
}

wrong_lines() {
    truncate -s 16M a.img b.img
    expect 2 "needs one of create, examine, forget, promote and discard" ""
    expect 2 "has no action 'make'" make a.img
    expect 2 "needs a LEG" examine
    expect 2 "2 to 16 legs, and 1 are given" create a.img
    expect 2 "is no leg: give a number from 1 to 2" create --from 3 a.img b.img
    expect 2 "give one" create --from 1 --assume_clean a.img b.img
    expect 2 "'start' or 'end'" create --metadata middle a.img b.img
    expect 2 "a power of two" create --region 96k a.img b.img
    expect 2 "from 64k to 1G" create --region 4k a.img b.img
    expect 2 "up to 63 bytes" create --name "$(printf 'n%.0s' {1..64})" a.img b.img
    expect 2 "unknown option" examine --from 1 a.img
    expect 1 "a data offset is a multiple of 1 MiB" create --data_offset 1025k a.img b.img
    expect 1 "for metadata at the start" create --metadata end --data_offset 1M a.img b.img
    expect 1 "none.img" create a.img none.img
    expect 1 "no mirror superblock" examine a.img
}

# expect STATUS PATTERN ARGUMENT...: runs `sluice mirror` with the arguments, and looks for the
# pattern in what it prints.
expect() {
    local status=$1 pattern=$2 found
    shift 2
    # shellcheck disable=SC2086  # an empty argument is none
    "$SLUICE" mirror ${1:+"$@"} >out 2>error
    found=$?
    [ "$found" = "$status" ] || problem "mirror $*: status $found, not $status: $(cat error)"
    [ "$(grep -c '^sluice: ' error)" = "$(wc -l <error)" ] || problem "mirror $*: $(cat error)"
    cat out error >both
    [ -z "$pattern" ] || grep -q -- "$pattern" both ||
        problem "mirror $*: no '$pattern' in: $(cat both)"
}

# says PATTERN...: the last output has a line for each.
says() {
    local pattern
    for pattern in "$@"; do
        grep -q -- "$pattern" out || problem "no '$pattern' in:" "$(cat out)"
    done
}

# json EXPRESSION: holds for the last output.
json() {
    python3 -c 'import json, sys; value = json.load(open("out")); sys.exit(not eval(sys.argv[1]))' \
        "$1" || problem "not so: $1:" "$(cat out)"
}

problem() {
    printf '%s\n' "${FUNCNAME[2]}: $1" "${@:2}"
    failures=$((failures + 1))
}

main
