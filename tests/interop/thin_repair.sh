#!/usr/bin/env bash
# sluice thin repair beside thin_repair: on pools with random damage, whose remains are then judged
# by both checks.
# shellcheck source=tests/interop/lib_thin.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_thin.sh"
set -u

main() {
    run_thin "thin_restore thin_dump thin_check thin_repair thin_ls" \
        whole_pools random_damage lost_superblock lost_roots where_it_is_written
    echo "thin pools are repaired"
}

# Nothing is lost, also if the space maps are, whatever they say (T6.14).
whole_pools() {
    local turn
    for turn in $(up_to 4 40); do
        pool $((SEED + turn))
        add_snapshots
        thin_dump pool > before.xml
        new_output
        thin 0 "a new pool" repair pool --output new
        clean new
        thin_dump new | cmp -s before.xml || problem "seed $((SEED + turn)): another pool"
        # Both space maps are cut off.
        python3 - <<'END'
image = bytearray(open("pool", "rb").read())
for place in 80, 88, 208, 216:
    at = 4096 * int.from_bytes(image[place:place + 8], "little")
    image[at + 100:at + 200] = bytes(100)
open("pool", "wb").write(image)
END
        new_output
        thin 0 "a new pool" repair pool -o new
        clean new
        thin_dump new | cmp -s before.xml || problem "seed $((SEED + turn)): the maps are read"
    done
}

random_damage() {
    local turn damage
    for turn in $(up_to 6 60); do
        pool $((SEED + turn))
        [ $((turn % 2)) -eq 0 ] || add_snapshots
        for damage in $(up_to 8 40); do
            damaged $(((SEED + turn) * 1000 + damage))
        done
    done
}

# damaged SEED: what is made of a damaged copy is sound, is no less than what thin_repair makes, and
# the copy is as it was.
damaged() {
    local what ours theirs=0
    what=$(python3 "$IMAGES" damage "$1" pool damaged)
    sha256sum damaged > damaged.sum
    rm -f theirs
    truncate -s 6M theirs
    # In a substitution, because the shell would tell of its death.
    : "$(timeout 30 thin_repair -i damaged -o theirs 2>&1)"
    thin_check -q theirs > check.txt 2>&1 &&
        theirs=$(mapped theirs)
    new_output
    if timeout 60 "$SLUICE" thin repair damaged --output new > ours.txt 2>&1; then
        clean new
        ours=$(mapped new)
        # thin_repair believes some headers that no node has, in spite of thin_check.
        [ "$ours" -ge "$theirs" ] || [[ $what =~ ^4\ bytes\ at\ (4|16|20|24)\ of ]] ||
            problem "seed $1, $what: $ours blocks, not $theirs"
        [ "$ours" -eq "$(mapped pool)" ] || grep -q "can be read\|lost\|damaged\|found" ours.txt ||
            problem "seed $1, $what: a loss is not told: $(cat ours.txt)"
    else
        [ "$theirs" -eq 0 ] || problem "seed $1, $what: only thin_repair can: $(cat ours.txt)"
    fi
    sha256sum --quiet -c damaged.sum || problem "seed $1, $what: the damaged metadata is written"
}

# mapped METADATA: the blocks of all devices together.
mapped() {
    thin_ls --no-headers --format MAPPED_BLOCKS "$1" | awk '{ sum += $1 } END { print sum + 0 }'
}

# Its facts are given, or found in a metadata snapshot.
lost_superblock() {
    local size transaction blocks
    filled_pool
    thin_dump pool > before.xml
    size=$(sed -n 's/.*data_block_size="\([0-9]*\)".*/\1/p' before.xml)
    transaction=$(sed -n 's/^<superblock.* transaction="\([0-9]*\)".*/\1/p' before.xml)
    blocks=$(sed -n 's/.*nr_data_blocks="\([0-9]*\)".*/\1/p' before.xml)
    dd if=/dev/zero of=pool bs=4k count=1 conv=notrunc status=none
    new_output
    thin 1 "give -b, --data-blocks and --transaction-id" repair pool -o new
    thin 0 "the trees of the pool are those that were found" repair pool -o new \
        -b "${size}s" --transaction-id "$transaction" --data-blocks "$blocks"
    clean new
    # The last snapshot is perhaps of all.
    thin_dump new | sed 's/snap_time="[0-9]*"//; s/ time="[0-9]*"//' > after.txt
    sed 's/snap_time="[0-9]*"//; s/ time="[0-9]*"//' before.xml | cmp -s after.txt ||
        problem "another pool: $(diff before.xml after.txt | head -20)"
    thin 0 "up to the last one that is mapped" repair --force pool -o new -b "${size}s"
    clean new
}

# The device tree, and then the upper level of the mapping tree, of which an older one is there.
lost_roots() {
    local place
    for place in 328 320; do
        filled_pool
        thin 0 "" snapshot --force pool 16777001 "$(devices_of pool | head -1)"
        others > before.txt
        python3 - "$place" <<'END'
import sys
image = bytearray(open("pool", "rb").read())
place = int(sys.argv[1])
at = 4096 * int.from_bytes(image[place:place + 8], "little")
image[at + 40] ^= 1
open("pool", "wb").write(image)
END
        new_output
        thin 0 "details of device 16777001 are lost\\|device 16777001 is lost" repair pool -o new
        clean new
        others new | cmp -s before.txt || problem "$place: more is lost"
    done
}

# others [METADATA]: the devices but the last snapshot, and how much they have mapped.
others() {
    thin_ls --no-headers --format DEV,MAPPED_BLOCKS "${1:-pool}" |
        awk '$1 != 16777001 { print $1, $2 }'
}

# filled_pool: a random one with devices that have mappings.
filled_pool() {
    local seed=$SEED
    until pool "$seed" && [ "$(mapped pool)" -gt 100 ]; do seed=$((seed + 1)); done
}

where_it_is_written() {
    pool "$SEED"
    thin 1 "needs --output" repair pool
    new_output
    thin 0 '"losses": \[\]' repair --json pool -o new
    thin 1 "pool" repair pool -o pool
    thin 1 "pool" repair pool --force -o "linear(pool)"
    thin 1 "does not exist" repair pool -o absent
    clean pool
    cp pool other
    thin 1 "metadata of a thin pool" repair pool -o other
    cmp -s pool other || problem "it is overwritten without --force"
    thin 0 "a new pool" repair pool --force -o other
    clean other
    filled_pool
    truncate -s 12K small
    thin 1 "small" repair pool -o small
    # A mark that the pool needs a check is not taken over.
    with_flags pool 1
    new_output
    thin 0 "a new pool" repair pool -o new
    clean new
    thin 0 "" create --force new 16777100
}

new_output() {
    rm -f new
    truncate -s 12M new
}

main
