#!/usr/bin/env bash
# sluice thin info, dump and check beside the thin-provisioning tools: on random pools that
# thin_restore makes, and on the same pools with random damage (T6.20).
# shellcheck source=tests/interop/lib_thin.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_thin.sh"
set -u

main() {
    run_thin "thin_restore thin_dump thin_check thin_ls thin_delta" \
        pools_and_damage lists deltas damaged_devices other_sources needs_check wrong_lines
    echo "metadata of thin pools is shown and checked"
}

pools_and_damage() {
    local turn seed damage
    for turn in $(up_to 6 60); do
        seed=$((SEED + turn))
        pool $seed
        thin_dump pool > theirs.xml
        "$SLUICE" thin dump pool > ours.xml || problem "seed $seed: the dump fails"
        cmp -s theirs.xml ours.xml || problem "seed $seed: thin_dump prints something else"
        thin 0 "no errors" check pool
        thin 0 "transaction" info pool
        for damage in $(up_to 12 60); do
            damaged $((seed * 1000 + damage))
        done
    done
}

# damaged SEED: the check of a damaged copy ends by itself, and is not happier than thin_check.
damaged() {
    local what theirs=0 ours=0
    what=$(python3 "$IMAGES" damage "$1" pool damaged)
    timeout 30 thin_check -q damaged > theirs.txt 2>&1 || theirs=$?
    timeout 30 "$SLUICE" thin check damaged > ours.txt 2>&1 || ours=$?
    [ $ours -le 3 ] || problem "seed $1, $what: the check ends with $ours"
    [ $theirs -eq 0 ] || [ $ours -ne 0 ] || problem "seed $1, $what: only thin_check sees it"
    timeout 30 "$SLUICE" thin dump damaged > damaged.xml 2>&1
    [ $? -le 1 ] || problem "seed $1, $what: the dump does not end well"
}

# As thin_ls says: the blocks of each device, and those that it shares with no other one.
lists() {
    local turn fields=DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,MAPPED_BYTES,EXCLUSIVE_BYTES
    for turn in $(up_to 6 60); do
        pool $((SEED + turn))
        [ $((turn % 2)) -eq 0 ] || add_snapshots
        thin_ls --no-headers --format "$fields,TRANSACTION,CREATE_TIME,SNAP_TIME" pool |
            awk '{ $1 = $1; print }' > theirs.txt
        thin 0 "" list --json pool
        python3 - out.txt > ours.txt <<'END'
import json, sys
for each in json.load(open(sys.argv[1])):
    print(each["id"], each["mapped-blocks"], each["exclusive-blocks"], each["mapped-bytes"],
          each["exclusive-bytes"], each["transaction"], each["creation-time"],
          each["snapshot-time"])
END
        cmp -s theirs.txt ours.txt || problem "seed $((SEED + turn)): thin_ls lists other devices"
        thin 0 "device" list pool
    done
}

# As thin_delta says, of pairs of devices.
deltas() {
    local turn from to
    for turn in $(up_to 6 60); do
        pool $((SEED + turn))
        [ $((turn % 2)) -eq 0 ] || add_snapshots
        for from in $(devices_of pool | shuf -n 3); do
            for to in $(devices_of pool | shuf -n 3); do
                thin_delta --thin1 "$from" --thin2 "$to" pool > theirs.txt
                "$SLUICE" thin delta --from "$from" --to "$to" --xml pool | cmp -s theirs.txt ||
                    problem "seed $((SEED + turn)): thin_delta $from $to finds something else"
                # Mappings beyond 8 EiB have no place in bytes.
                if ! "$SLUICE" thin delta --from "$from" --to "$to" pool > text.txt 2> error.txt
                then
                    grep -q 'beyond 8 EiB' error.txt || problem "$(cat error.txt)"
                    continue
                fi
                "$SLUICE" thin delta --from "$from" --to "$to" --json pool > json.txt
                same_delta || problem "seed $((SEED + turn)): $from and $to differ in other forms"
            done
        done
    done
    thin 1 "needs --to" delta --from 1 pool
    thin 1 "two forms" delta --from 1 --to 1 --json --xml pool
    thin 1 "no thin device 16777215" delta --from 16777215 --to 16777215 pool
    thin 1 "number from 0" delta --from x --to 1 pool
}

# The forms in bytes say what theirs.txt says in blocks.
same_delta() {
    python3 - <<'END'
import json, re
theirs = open("theirs.txt").read()
block = 512 * int(re.search(r'data_block_size="(\d+)"', theirs)[1])
names = {"left_only": "removed", "right_only": "added", "different": "changed"}
wanted = [(int(begin) * block, int(length) * block, names[name]) for name, begin, length in
          re.findall(r'<(\w+) begin="(\d+)" length="(\d+)"/>', theirs) if name != "same"]
text = [line.split() for line in open("text.txt")]
assert [(int(offset), int(length), name) for offset, length, name in text] == wanted
found = json.load(open("json.txt"))
assert [(each["offset"], each["length"], each["difference"]) for each in found] == wanted
END
}

# What the superblock says is shown also if the devices cannot be read.
damaged_devices() {
    pool "$SEED"
    python3 - <<'END'
image = bytearray(open("pool", "rb").read())
at = 4096 * int.from_bytes(image[320:328], "little")
image[at + 40] ^= 1
open("pool", "wb").write(image)
END
    thin 1 "^transaction " info pool
    grep -q "checksum" out.txt || problem "the damage is not told: $(cat out.txt)"
    thin 1 "checksum" info --json pool
    thin 1 "checksum" list pool
    thin 1 "checksum" delta --from 1 --to 1 pool
}

# Any SPEC is a source.
other_sources() {
    pool "$SEED"
    thin_dump pool > theirs.xml
    truncate -s 1M before
    "$SLUICE" thin dump "linear(pool)" | cmp -s - theirs.xml || problem "not read through linear"
    "$SLUICE" thin dump -U pool | cmp -s - theirs.xml || problem "not read with -U"
    thin 1 "no superblock of a thin pool" check before
    thin 1 "no superblock of a thin pool" info before
    thin 1 "no metadata snapshot" dump -m pool
    thin 1 "does not exist" info absent
    truncate -s 4K short
    thin 1 "no superblock" check short
    : > empty
    "$SLUICE" thin check empty > out.txt 2>&1 && problem "nothing is a pool"
    thin 0 '"corruptions": 0' check --json pool
    thin 0 '"devices": ' info --json pool
    thin 0 '100.00/100%' check -p pool
}

# The flag alone is no fault, but it is told.
needs_check() {
    pool "$SEED"
    with_flags pool 1
    thin 0 "needs a check" check pool
    thin 0 "needs check" info pool
    thin_dump pool > theirs.xml
    "$SLUICE" thin dump pool | cmp -s - theirs.xml || problem "the flag is dumped in another way"
}

wrong_lines() {
    thin 1 "needs one of" ""
    thin 1 "no action 'chek'" chek pool
    thin 1 "needs a SPEC" check
    thin 1 "json" dump --json pool
    thin 1 "needs a VG/POOL" from-lvm
    thin 1 "is VG/POOL, found 'pool'" from-lvm pool
    thin 1 "is VG/POOL" from-lvm -- -a/pool
    PATH=/nonexistent "$SLUICE" thin from-lvm vg/pool > out.txt 2>&1 && problem "without lvs"
    grep -q "cannot run lvs .*package lvm2" out.txt || problem "no lvs: $(cat out.txt)"
}

main
