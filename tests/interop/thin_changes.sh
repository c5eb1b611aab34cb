#!/usr/bin/env bash
# sluice thin create-pool, create, snapshot, delete and restore: what they write is right, say
# thin_check, thin_dump and the check of Sluice.
# shellcheck source=tests/interop/lib_thin.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_thin.sh"
set -u

main() {
    run_thin "thin_restore thin_dump thin_check qemu-img nbdkit mkfs.ext4" \
        new_pool devices on_other_disks large_pool what_is_there restored bad_text pool_of_lvm \
        rolled_back merged grown trimmed needs_check killed
    echo "thin pools are made and changed"
}

new_pool() {
    truncate -s 2M meta
    truncate -s 1G data
    thin 0 "16384 data blocks of 64 KiB, 2 MiB of metadata" create-pool meta data
    clean meta
    thin 1 "--force" create-pool meta data
    thin 0 "8 data blocks of 128 MiB" create-pool --force --block 128M meta data
    clean meta
    thin_dump meta | grep -q 'data_block_size="262144" nr_data_blocks="8"' || problem "other sizes"
    thin 1 "multiple of 64k" create-pool --force -b 100k meta data
    thin 1 "from 64k to 1G" create-pool --force -b 2G meta data
    thin 1 "needs a DATA" create-pool meta
    truncate -s 4K small
    thin 1 "smaller than a block" create-pool --force meta small
    thin 1 "too small" create-pool small data
    # Nothing was destroyed by what was refused.
    clean meta
}

devices() {
    truncate -s 2M meta
    truncate -s 64M data
    thin 0 "" create-pool meta data
    thin 0 "" create meta 0
    thin 0 "" create meta 16777215
    thin 0 "" snapshot meta 5 0
    thin 0 "" snapshot meta 6 5
    thin 1 "device 5 already" create meta 5
    thin 1 "device 6 already" snapshot meta 6 0
    thin 1 "no thin device 7" snapshot meta 8 7
    thin 1 "number from 0 to 16777215" create meta 16777216
    thin 1 "number from 0" delete meta -- -1
    thin 0 "" delete meta 0
    thin 1 "no thin device 0" delete meta 0
    clean meta
    thin 0 "" info --json meta
    python3 - out.txt <<'END' || problem "other devices"
import json, sys
pool = json.load(open(sys.argv[1]))
assert pool["time"] == 2, pool
assert [each["id"] for each in pool["devices"]] == [5, 6, 16777215], pool
assert [each["snapshot-time"] for each in pool["devices"]] == [2, 2, 0], pool
END
    thin_dump meta | grep -c '<device' | grep -qx 3 || problem "thin_dump finds others"
}

# The metadata is on any SPEC.
on_other_disks() {
    qemu-img create -q -f qcow2 meta.qcow2 4M
    truncate -s 64M data before
    thin 0 "" create-pool qcow2:meta.qcow2 "linear(before, data)"
    thin 0 "" create qcow2:meta.qcow2 1
    qemu-img convert -O raw meta.qcow2 meta
    clean meta
    # nbdkit's shell has the address.
    # shellcheck disable=SC2016
    nbdkit -U - --filter=blocksize-policy memory 4M blocksize-minimum=8k blocksize-preferred=8k \
        blocksize-error-policy=error --run '"$SLUICE" thin create-pool "$uri" data' > out.txt 2>&1
    grep -q "has blocks of 8192 bytes" out.txt || problem "blocks of 8 KiB: $(cat out.txt)"
}

# Beyond 2 TiB and 16 TiB of data (T6.6).
large_pool() {
    truncate -s 100M meta
    thin 1 "too small for a pool of 335544320 data blocks" create-pool meta "null(size=20T)"
    truncate -s 200M meta
    thin 0 "335544320 data blocks" create-pool meta "null(size=20T)"
    thin 0 "" create meta 1
    clean meta
}

what_is_there() {
    truncate -s 64M meta data
    mkfs.ext4 -q data
    thin 1 "ext4" create-pool meta data
    thin 1 "ext4" create-pool data meta
    thin 0 "" create-pool --force meta data
    dd if=/dev/zero of=meta bs=1 seek=100 count=1 conv=notrunc status=none
    printf '\1' | dd of=meta bs=1 seek=101 conv=notrunc status=none
    thin 1 "checksum" create meta 1
    thin 1 "metadata of a thin pool" create-pool meta data
}

# Metadata of thin_restore and ours say the same.
restored() {
    local turn
    for turn in $(up_to 5 50); do
        python3 "$IMAGES" xml $((SEED + turn)) > pool.xml
        rm -f theirs ours
        truncate -s 8M theirs ours
        thin_restore -q -i pool.xml -o theirs > restore.txt 2>&1 || problem "$(cat restore.txt)"
        thin 0 "" restore -i pool.xml ours
        clean ours
        thin_dump theirs > theirs.xml
        thin_dump ours | cmp -s - theirs.xml || problem "seed $((SEED + turn)): another pool"
        "$SLUICE" thin restore --force ours < theirs.xml || problem "not from the standard input"
        thin_dump ours | cmp -s - theirs.xml || problem "seed $((SEED + turn)): another pool"
    done
}

bad_text() {
    local head='<superblock uuid="" time="1" transaction="0" version="2" data_block_size="128"'
    head+=' nr_data_blocks="10">'
    local device='<device dev_id="1" mapped_blocks="1" transaction="0" creation_time="0"'
    device+=' snap_time="0">'
    local mapping='<single_mapping origin_block="0" data_block="0" time="0"/>'
    refuses "line 1: there is no <superblock>" ""
    refuses "text outside" "superblock"
    refuses "ends within a tag" "<superblock"
    refuses "ends within <superblock>" "$head"
    refuses "does not belong there" "$head$head"
    refuses "does not belong there" "$head$mapping"
    refuses "does not belong there" "$device"
    refuses "nothing is ended by </device>" "$head</device>"
    refuses "has no 'time'" "${head/time=\"1\"/}"
    refuses "no number" "${head/\"128\"/\"-1\"}"
    refuses "no multiple of 128" "${head/\"128\"/\"100\"}</superblock>"
    refuses "version 3" "${head/\"2\"/\"3\"}"
    refuses "no attribute" "${head/\"128\"/128}"
    refuses "device 1 already" "$head$device$mapping</device>$device"
    refuses "mapped already" "$head$device$mapping$mapping"
    refuses "no data block 10" "$head$device${mapping/data_block=\"0\"/data_block=\"10\"}"
    refuses "out of range" "$head$device${mapping/time=\"0\"/time=\"16777216\"}"
    refuses "says that it has 1" "$head$device</device></superblock>"
    refuses "line 3: .*too large" "$head"$'\n\n'"${device/\"1\"/\"99999999999999999999\"}"
    refuses "too long" "<superblock $(head -c 5000 /dev/zero | tr '\0' a)"
}

# refuses REASON TEXT: and what was there is a pool no more only if the text begins like one.
refuses() {
    truncate -s 2M bad
    printf '%s' "$2" > bad.xml
    thin 1 "$1" restore --force -i bad.xml bad
    "$SLUICE" thin info bad > out.txt 2>&1 && problem "$1: half a pool"
    rm bad
}

pool_of_lvm() {
    truncate -s 2M meta
    printf '%s</superblock>' '<superblock uuid="" time="0" transaction="7" version="2"
        data_block_size="128" nr_data_blocks="10">' > pool.xml
    thin 0 "" restore -i pool.xml meta
    thin 1 "pool of LVM" create meta 1
    thin 0 "" create --force meta 1
    thin 1 "pool of LVM" delete meta 1
    thin_dump meta | grep -q 'transaction="7"' || problem "another transaction id"
    clean meta
}

# The device is what the snapshot is, in one transaction.
rolled_back() {
    truncate -s 2M meta
    pool_of_text 1 '<single_mapping origin_block="0" data_block="5" time="0"/>' 2 \
        '<single_mapping origin_block="7" data_block="6" time="0"/>'
    thin 1 "snapshot of itself" rollback meta 1 1
    thin 1 "no thin device 3" rollback meta 1 3
    thin 1 "no thin device 3" rollback meta 3 1
    thin 0 "" rollback meta 1 2
    clean meta
    mappings_are 1 "7 6 1" 2 "7 6 1"
    thin 0 "1 of 100 blocks" info meta
    thin 0 "" delete meta 2
    mappings_are 1 "7 6 1"
    clean meta
}

# A snapshot of an external origin, and the origin, both in one pool.
merged() {
    local range='<range_mapping origin_begin="0" data_begin="10" length="4" time="0"/>'
    local upper='<range_mapping origin_begin="2" data_begin="30" length="3" time="0"/>'
    truncate -s 2M meta
    pool_of_text 1 "$range" 2 "$upper"
    thin 1 "needs --snapshot" merge --origin 1 meta
    thin 1 "no thin device 9" merge --origin 1 --snapshot 9 meta
    thin 1 "with itself" merge --origin 1 --snapshot 1 meta
    thin 0 "" merge --origin 1 --snapshot 2 meta
    clean meta
    mappings_are 1 "0 10 2" 1 "2 30 3"
    thin 0 "5 of 100 blocks" info meta
    rm meta
    truncate -s 2M meta
    pool_of_text 1 "$range" 2 "$upper"
    thin 0 "" merge --rebase --origin 1 --snapshot 2 meta
    clean meta
    mappings_are 1 "0 10 4" 2 "0 10 2" 2 "2 30 3"
    # What both have is shared, says the time.
    thin_dump meta | grep -c 'snap_time="2"' | grep -qx 1 || problem "not shared"
}

# pool_of_text [ID MAPPING]...: a pool of 100 blocks in `meta`, whose devices have these mappings.
pool_of_text() {
    local mapped
    {
        echo '<superblock uuid="" time="0" transaction="0" version="2" data_block_size="128"'
        echo 'nr_data_blocks="100">'
        while [ $# -gt 0 ]; do
            mapped=$(grep -o 'length="[0-9]*' <<< "$2" | grep -o '[0-9]*$' || echo 1)
            echo "<device dev_id=\"$1\" mapped_blocks=\"$mapped\" transaction=\"0\""
            echo "creation_time=\"0\" snap_time=\"0\">$2</device>"
            shift 2
        done
        echo '</superblock>'
    } > pool.xml
    thin 0 "" restore -i pool.xml meta
}

# mappings_are [ID "BLOCK DATA LENGTH"]...: these are the runs of `meta`.
mappings_are() {
    thin_dump meta > dump.xml
    python3 - "$@" <<'END' || problem "other mappings than $*: $(cat dump.xml)"
import re, sys
found, device = [], None
for line in open("dump.xml"):
    numbers = re.findall(r'="(\d+)"', line)
    if "<device" in line:
        device = numbers[0]
    elif "single" in line:
        found += [device, f"{numbers[0]} {numbers[1]} 1"]
    elif "range" in line:
        found += [device, " ".join(numbers[:3])]
assert found == sys.argv[1:], found
END
}

# Sizes, as far as there is room (T6.9).
grown() {
    truncate -s 2M meta
    truncate -s 64M data
    thin 0 "" create-pool meta data
    thin 1 "needs --data-size" grow meta
    thin 1 "multiple of 64k" grow --data-size 100k meta
    thin 1 "multiple of 4k" grow --metadata-size 2049k meta
    thin 1 "has 1024 data blocks" grow --data-size 32M meta
    thin 1 "has 512 blocks of 4096 bytes" grow --metadata-size 4M meta
    thin 1 "metadata is full" grow --data-size 20T meta
    clean meta
    truncate -s 200M meta
    thin 0 "" grow --data-size 20T --metadata-size 200M meta
    clean meta
    thin 0 "0 of 335544320 blocks" info meta
    thin 0 "of 51200 blocks" info meta
    thin 0 "" create meta 1
    thin 0 "" grow --data-size 21T meta
    clean meta
    pool "$SEED"
    thin 1 "pool of LVM" grow --data-size 100T pool
}

# All that is free, and nothing else.
trimmed() {
    truncate -s 2M meta
    truncate -s 6553600 data
    pool_of_text 1 '<range_mapping origin_begin="0" data_begin="3" length="2" time="0"/>' \
        2 '<single_mapping origin_block="9" data_block="99" time="0"/>'
    head -c 6553600 /dev/urandom > data
    cp data before
    cp meta meta.before
    thin 1 "needs a DATA" trim meta
    head -c 6500000 data > short
    thin 1 "another pool" trim meta short
    # Counts that are too low.
    python3 - "$IMAGES" <<'END'
import importlib.util, struct, sys
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("images", sys.argv[1])
images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(images)
image = bytearray(open("meta", "rb").read())
index = struct.unpack_from("<Q", image, 80)[0] * 4096
bitmap = struct.unpack_from("<Q", image, index + 32 + 8 * 168)[0]
image[bitmap * 4096 + 16] = 0
images.seal(image, bitmap, "bitmap")
open("low", "wb").write(image)
END
    thin 1 "has 1 corruptions" trim low data
    with_flags meta 1
    thin 1 "needs a check" trim meta data
    cp meta.before meta
    cmp -s data before || problem "data is discarded that may be in use"
    thin 0 "97 of 100 data blocks are free: 6.1 MiB discarded" trim meta data
    cmp -s meta meta.before || problem "trim has written metadata"
    python3 - <<'END' || problem "other blocks are discarded"
before, after = open("before", "rb").read(), open("data", "rb").read()
for block in range(100):
    part = slice(block << 16, (block + 1) << 16)
    assert after[part] == (before[part] if block in (3, 4, 99) else bytes(1 << 16)), block
END
    [ "$(stat -c %b data)" -le 512 ] || problem "it still takes $(stat -c %b data) sectors"
    thin 0 '100.00/100%' trim -p meta data
}

# Nothing is changed before a check that finds nothing (T6.3).
needs_check() {
    truncate -s 2M meta
    truncate -s 64M data
    thin 0 "" create-pool meta data
    thin 0 "" create meta 1
    with_flags meta 1
    cp meta before
    for change in "create meta 2" "snapshot meta 2 1" "delete meta 1" "rollback meta 1 2" \
        "merge --origin 1 --snapshot 2 meta" "grow --data-size 128M meta"; do
        # shellcheck disable=SC2086  # words
        thin 1 "needs a check: run 'sluice thin check --clear-needs-check'" $change
    done
    cmp -s meta before || problem "a pool that needs a check was written"
    thin 0 "marked as one that needs a check" check meta
    cmp -s meta before || problem "a check has written"
    thin 1 "not with -U" check -U --clear-needs-check meta
    thin 0 "is cleared" check --clear-needs-check meta
    clean meta
    thin 0 "" create meta 2
    # Not with faults.
    with_flags meta 1
    python3 "$IMAGES" leak "$SEED" meta leaky > /dev/null
    thin 3 "stays" check --clear-needs-check leaky
    thin 0 "needs check" info leaky
}

# At any moment: there is the pool before, or the one after (T6.10).
killed() {
    local turn before after
    truncate -s 2M meta
    truncate -s 64M data
    thin 0 "" create-pool meta data
    for turn in $(up_to 15 500); do
        before=$("$SLUICE" thin info --json meta | grep -c '"id"')
        # In a substitution, because the shell would tell of each death.
        : "$(timeout -s KILL "0.0$((RANDOM % 40))" "$SLUICE" thin create meta "$turn" 2>&1)"
        after=$("$SLUICE" thin info --json meta | grep -c '"id"')
        [ "$after" -eq "$before" ] || [ "$after" -eq $((before + 1)) ] ||
            problem "$before devices, then $after"
        thin 0 "no errors" check meta
    done
    clean meta
}

main
