#!/usr/bin/env bash
# The metadata of thin pools, with dm-thin of the kernel as the judge, both ways: pools of Sluice
# activate and are written, and what dm-thin has written is read, checked and changed by Sluice.
# seconds: 80
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_thin.sh"

main() {
    local tool
    for tool in dmsetup thin_check thin_dump thin_ls thin_delta python3; do
        command -v $tool > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    run_case "a pool of Sluice" ours_activates
    run_case "a pool of the kernel" theirs_is_changed
    run_case "a metadata snapshot" metadata_snapshot
    run_case "a pool that grows, and is rolled back" grown_and_rolled_back
    run_case "a snapshot is merged into its external origin" merged
    run_case "free data is discarded" trimmed
    run_case "a pool that needs a check" needs_check
    finish
}

ours_activates() {
    truncate -s 4M meta
    truncate -s 256M data
    sluice thin create-pool meta data > /dev/null
    sluice thin create meta 1
    activate
    thin one 1
    fill one 20
    message create_snap 2 1
    fill one 5
    deactivate one
    clean
    # Nodes that the kernel shares.
    sluice thin list --json meta > list.json
    thin_ls --no-headers --format DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS meta |
        awk '{ $1 = $1; print }' > theirs.txt
    listed list.json | cmp - theirs.txt
    sluice thin delta --from 2 --to 1 --xml meta > ours.xml
    thin_delta --thin1 2 --thin2 1 meta | cmp - ours.xml
    # A snapshot of ours, of a device of the kernel's, which is of a pool of ours.
    sluice thin snapshot meta 3 1
    sluice thin create meta 4
    sluice thin delete meta 2
    clean
    activate
    thin one 1
    thin three 3
    thin four 4
    same_content one three
    fill three 3
    fill four 10
    sum one | cmp - one.sum
    deactivate one three four
    clean
    sluice thin info --json meta | grep -c '"id"' | grep -qx 3
}

theirs_is_changed() {
    truncate -s 4M meta
    truncate -s 256M data
    activate # which makes a new pool, because the metadata begins with zeroes
    message create_thin 0
    thin origin 0
    fill origin 40
    for id in 1 2 3; do
        message create_snap $id 0
        fill origin 10
    done
    thin second 2
    sum second > second.sum
    deactivate origin second
    clean
    # Sharing begins anew, is broken, and ends, by each in turn.
    sluice thin delete meta 1
    sluice thin snapshot meta 9 2
    sluice thin delete meta 2
    clean
    activate
    thin second 9
    sum second | cmp - second.sum
    thin origin 0
    sum origin | cmp - origin.sum
    fill origin 10
    sum second | cmp - second.sum
    deactivate origin second
    clean
    sluice thin dump meta > dump.xml
    truncate -s 4M again
    sluice thin restore -i dump.xml again
    mv again meta
    clean
    activate
    thin origin 0
    sum origin | cmp - origin.sum
    deactivate origin
}

# It has the trees of its time, also after Sluice has changed the pool.
metadata_snapshot() {
    truncate -s 4M meta
    truncate -s 256M data
    activate
    message create_thin 0
    message create_thin 5
    thin origin 0
    fill origin 30
    message reserve_metadata_snap
    sluice thin dump -m "$META" > held.xml
    thin_dump -m "$META" | cmp - held.xml
    fill origin 10
    sluice thin dump -m "$META" | cmp - held.xml
    sluice thin list -m --json "$META" > list.json
    thin_ls -m --no-headers --format DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS "$META" |
        awk '{ $1 = $1; print }' > theirs.txt
    listed list.json | cmp - theirs.txt
    sluice thin delta -m --from 0 --to 5 --xml "$META" > ours.xml
    thin_delta -m --thin1 0 --thin2 5 "$META" | cmp - ours.xml
    deactivate origin
    clean
    sluice thin snapshot meta 9 0
    sluice thin delete meta 5
    clean
    sluice thin dump -m meta | cmp - held.xml
    activate
    thin origin 0
    sum origin | cmp - origin.sum
    fill origin 10
    sluice thin dump -m "$META" | cmp - held.xml
    message release_metadata_snap
    deactivate origin
    clean
}

grown_and_rolled_back() {
    truncate -s 2M meta
    truncate -s 256M data
    activate
    message create_thin 0
    thin origin 0
    fill origin 10
    message create_snap 1 0
    cp origin.sum second.sum
    fill origin 10
    deactivate origin
    truncate -s 8M meta
    truncate -s 512M data
    sluice thin grow --metadata-size 8M --data-size 512M meta
    clean
    activate 1048576
    [[ $(dmsetup status pool) == *" "*/2048" "*/8192" "* ]] || fail "sizes: $(dmsetup status pool)"
    thin origin 0
    sum origin | cmp - origin.sum
    fill origin 30
    deactivate origin
    clean
    sluice thin rollback meta 0 1
    clean
    activate 1048576
    thin origin 0
    thin second 1
    sum origin | cmp - second.sum
    fill origin 10
    sum second | cmp - second.sum
    deactivate origin second
    clean
}

# The kernel reads the same of one device as of two.
merged() {
    truncate -s 4M meta
    truncate -s 256M data
    activate
    message create_thin 0
    message create_thin 1
    thin origin 0
    fill origin 20
    dmsetup create --noudevsync second --table "0 131072 thin /dev/mapper/pool 1 /dev/mapper/origin"
    dmsetup mknodes second
    fill second 20
    message create_snap 2 1
    deactivate second origin
    cp meta before
    sluice thin merge --origin 0 --snapshot 1 meta
    clean
    activate
    thin origin 0
    sum origin | cmp - second.sum
    fill origin 5 # the snapshot of the snapshot has blocks of it
    deactivate origin
    clean
    cp before meta
    sluice thin merge --rebase --origin 0 --snapshot 1 meta
    clean
    activate
    thin second 1
    sum second | cmp - second.sum
    deactivate second
    clean
}

# All that neither a device nor a metadata snapshot has. thin_trim 0.9 is no judge: it also discards
# the last block that is in use.
trimmed() {
    truncate -s 4M meta
    head -c 256M /dev/urandom > data
    activate
    message create_thin 0
    message create_thin 1
    thin origin 0
    thin second 1
    fill origin 20
    fill second 20
    message reserve_metadata_snap
    deactivate origin second
    sluice thin delete meta 1
    clean
    sluice thin dump -m meta > held.xml
    sluice thin dump meta > now.xml
    cp data data.before
    sluice thin trim meta data
    judge_trim
    activate
    thin origin 0
    sum origin | cmp - origin.sum
    deactivate origin
}

# By what held.xml and now.xml have mapped, block by block.
judge_trim() {
    python3 - <<'END'
import re
mapped = set()
for name in "held.xml", "now.xml":
    for line in open(name):
        found = re.search(r'data_b(?:lock|egin)="(\d+)"(?: length="(\d+)")?', line)
        if found:
            mapped.update(range(int(found[1]), int(found[1]) + int(found[2] or 1)))
before, after = open("data.before", "rb"), open("data", "rb")
assert mapped
for block in range(4096):
    was, now = before.read(1 << 16), after.read(1 << 16)
    assert now == (was if block in mapped else bytes(1 << 16)), block
END
}

# The kernel does not activate such a pool either, and does again.
needs_check() {
    truncate -s 2M meta
    truncate -s 256M data
    sluice thin create-pool meta data > /dev/null
    flag meta
    ! sluice thin create meta 1 2> error.txt || fail "it is written to"
    grep -q "clear-needs-check" error.txt
    activate
    ! dmsetup message pool 0 "create_thin 1" 2> /dev/null || fail "the kernel writes to it"
    deactivate
    sluice thin check --clear-needs-check meta > check.txt
    activate
    message create_thin 1
    deactivate
    clean
}

# flag METADATA: as the kernel marks a pool that needs a check.
flag() {
    python3 -c 'import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import thin_images
image = bytearray(open(sys.argv[2], "rb").read())
image[4] |= 1
thin_images.seal(image, 0, "superblock")
open(sys.argv[2], "wb").write(image)' "$SLUICE_SOURCE_DIR/tests/support" "$1"
}

# listed FILE: id, mapped and exclusive blocks of each device.
listed() {
    python3 -c 'import json, sys
for each in json.load(open(sys.argv[1])):
    print(each["id"], each["mapped-blocks"], each["exclusive-blocks"])' "$1"
}

main
