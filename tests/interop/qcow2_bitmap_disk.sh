#!/usr/bin/env bash
# Dirty bitmaps of a qcow2 image that is served, with QEMU's tools and libnbd as the judges: they
# follow writes and growth, are changed by `ctl`, handed over, and read over NBD; and what a kill
# leaves.
# SLUICE_TEST_SEED=N: repeats the run with this seed.
# shellcheck source=tests/interop/lib_qcow2_bitmap.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_bitmap.sh"

DIRTY=qemu:dirty-bitmap

main() {
    begin_bitmaps
    run_case "follows writes" with_servers follows_writes cluster_size=64k 65536
    run_case "follows writes, small bits" with_servers follows_writes cluster_size=4k 512
    run_case "follows writes, extended L2" with_servers follows_writes extended_l2=on 65536
    run_case "follows writes, refcounts of a bit" with_servers follows_writes refcount_bits=1 65536
    run_case "verbs" with_servers verbs
    run_case "growth" with_servers grows
    run_case "killed" is_killed
    run_case "upgrade" is_upgraded
    run_case "contexts" tells_contexts
    run_case "depths" with_servers tells_depths
    run_case "backup" incremental_backup
    finish
}

ctl() {
    "$SLUICE" ctl -n "$ID" / "$@" > ctl.txt
}

# judged GRANULARITY: QEMU and we read from the image what was written.
judged() {
    check_bitmaps image
    serve 'qcow2(image, read_only)'
    bits compare "$URI" "$DIRTY:b0" record "$1"
    end
    qemu-nbd -r -f qcow2 -B b0 -t -k "$CASE/judge" image > nbd.log 2>&1 &
    appears judge
    bits compare "nbd+unix:///?socket=$CASE/judge" "$DIRTY:b0" record "$1"
    kill $!
    wait $! 2> /dev/null || true
    rm -f judge
}

# follows_writes OPTIONS GRANULARITY: of us, of QEMU, and of us again.
follows_writes() {
    local cluster
    qemu-img create -q -f qcow2 -o "$1" image 96M
    cluster=$(qemu-img info --output=json image | sed -n 's/.*"cluster-size": \([0-9]*\).*/\1/p')
    serve qcow2:image
    ctl bitmap-add b0 "granularity=$2"
    bits write "$URI" record "$SEED" 60 "$cluster"
    bits compare "$URI" "$DIRTY:b0" record "$2"
    end
    judged "$2"
    qemu-nbd -f qcow2 --discard=unmap -t -k "$CASE/theirs" image > nbd.log 2>&1 &
    appears theirs
    bits write "nbd+unix:///?socket=$CASE/theirs" record "$((SEED + 1))" 20 "$cluster"
    kill $!
    wait $! 2> /dev/null || true
    judged "$2"
    serve qcow2:image
    bits compare "$URI" "$DIRTY:b0" record "$2"
    bits write "$URI" record "$((SEED + 2))" 30 "$cluster"
    end
    judged "$2"
    same bitmaps "$(listed image)" "[('b0', $2, ['auto'])]"
}

verbs() {
    qemu-img create -q -f qcow2 image 64M
    qemu-img create -q -f qcow2 other 64M
    qemu-img bitmap --add other late
    qemu-io -f qcow2 -c 'write 55M 4k' other > /dev/null
    serve qcow2:image
    ctl bitmap-add b0 granularity=64k
    ctl bitmap-add b1 granularity=1M disabled
    bits write "$URI" record "$SEED" 20 65536
    ctl bitmap-disable b0
    qemu-io -f raw -c 'write 60M 64k' "$URI" > /dev/null
    bits compare "$URI" "$DIRTY:b0" record 65536
    ctl bitmap-enable b0
    ctl bitmap-clear b0
    qemu-io -f raw -c 'write 61M 64k' "$URI" > /dev/null
    ctl bitmap-merge name=b1 source=b0
    same 'merged from itself' \
        "$(nbdinfo --map="$DIRTY:b1" "$URI" | sed -n 2p | tr -s ' ')" \
        "$(printf ' %s 1048576 1 dirty' $((61 << 20)))"
    ctl bitmap-clear b1
    ctl bitmap-merge name=b1 source=late 'qcow2(other, read_only)'
    same merged "$(nbdinfo --map="$DIRTY:b1" "$URI" | sed -n 2p | tr -s ' ')" \
        "$(printf ' %s 1048576 1 dirty' $((55 << 20)))"
    refused "no bitmap 'none'" "$SLUICE" ctl -n "$ID" / bitmap-remove none
    refused "has a bitmap 'b0' already" "$SLUICE" ctl -n "$ID" / bitmap-add b0
    ctl bitmap-add b2
    ctl bitmap-remove b0
    same names "$("$SLUICE" info -U image | grep -c 'in-use')" 2
    end
    same bitmaps "$(listed image)" "[('b1', 1048576, []), ('b2', 65536, ['auto'])]"
    check_bitmaps image
    serve 'qcow2(image, read_only)'
    refused 'read-only' "$SLUICE" ctl -n "$ID" / bitmap-clear b1
    end
}

# As iotest 246. T4.25
grows() {
    qemu-img create -q -f qcow2 image 16M
    serve qcow2:image
    ctl bitmap-add b0
    bits write "$URI" record "$SEED" 20 65536
    "$SLUICE" resize -n "$ID" 3G > resize.txt
    bits write "$URI" record "$((SEED + 1))" 20 65536
    bits compare "$URI" "$DIRTY:b0" record 65536
    end
    judged 65536
    qemu-img resize -q image 5G
    judged 65536
    serve qcow2:image
    bits write "$URI" record "$((SEED + 2))" 20 65536
    "$SLUICE" resize -n "$ID" 5633M > resize.txt
    end
    judged 65536
    serve qcow2:image
    ctl bitmap-add small granularity=512
    refused 'File too large' "$SLUICE" resize -n "$ID" 3T
    end
    check_bitmaps image
}

# T4.25: visibly inconsistent, never wrong.
is_killed() {
    qemu-img create -q -f qcow2 image 64M
    qemu-img bitmap --add image b0
    serve qcow2:image
    ctl bitmap-add b1
    bits write "$URI" record "$SEED" 20 65536
    kill -KILL "$SERVER"
    "$SLUICE" del -n "$ID" > /dev/null 2>&1 || true
    await_release image
    same bitmaps "$(listed image)" \
        "[('b0', 65536, ['auto', 'in-use']), ('b1', 65536, ['auto', 'in-use'])]"
    qemu-img check -q -r leaks image > check.txt 2>&1 || fail "check: $(cat check.txt)"
    serve qcow2:image
    nbdinfo --list "$URI" > list.txt
    grep -F "$DIRTY" list.txt && fail "an inconsistent bitmap is offered"
    refused 'inconsistent' "$SLUICE" ctl -n "$ID" / bitmap-enable b0
    ctl bitmap-remove b1
    ctl bitmap-add b1
    qemu-io -f raw -c 'write 1M 64k' "$URI" > /dev/null
    end
    same bitmaps "$(listed image)" "[('b0', 65536, ['auto', 'in-use']), ('b1', 65536, ['auto'])]"
    check_bitmaps image
    refused 'inconsistent' "$SLUICE" bitmap --clear image b0
    "$SLUICE" bitmap --remove image b0
    same bitmaps "$(listed image)" "[('b1', 65536, ['auto'])]"
    check_bitmaps image
}

# With a client that keeps its connection.
is_upgraded() {
    qemu-img create -q -f qcow2 image 64M
    serve qcow2:image
    ctl bitmap-add b0
    bits write "$URI" record "$SEED" 30 65536
    bits across "$URI" "$DIRTY:b0" record 65536 "$SLUICE" upgrade -n "$ID"
    bits write "$URI" record "$((SEED + 1))" 30 65536
    bits compare "$URI" "$DIRTY:b0" record 65536
    end
    check_bitmaps image
    same bitmaps "$(listed image)" "[('b0', 65536, ['auto'])]"
}

tells_contexts() {
    qemu-img create -q -f qcow2 image 64M
    qemu-img bitmap --add image b0
    qemu-img bitmap --add -g 1M image b1
    serve qcow2:image
    nbdinfo --list "$URI" > list.txt
    local each
    for each in base:allocation qemu:allocation-depth "$DIRTY:b0" "$DIRTY:b1"; do
        grep -qF "$each" list.txt || fail "$each is not in: $(cat list.txt)"
    done
    /usr/bin/python3 - "nbd+unix:///?socket=$CASE/sock" << 'END' || fail 'contexts'
import sys
import nbd

def found(*queries):
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    for each in queries:
        handle.add_meta_context(each)
    handle.connect_uri(sys.argv[1])
    names = []
    handle.opt_list_meta_context(names.append)
    handle.opt_abort()
    return names

bitmaps = ["qemu:dirty-bitmap:b0", "qemu:dirty-bitmap:b1"]
assert found("qemu:dirty-bitmap:") == bitmaps, found("qemu:dirty-bitmap:")
assert set(bitmaps) <= set(found("qemu:")), found("qemu:")
assert "base:allocation" not in found("qemu:")
assert found("qemu:dirty-bitmap:b1") == bitmaps[1:]
assert found("qemu:dirty-bitmap:none") == []

handle = nbd.NBD()
for each in bitmaps + ["base:allocation", "qemu:dirty-bitmap:none"]:
    handle.add_meta_context(each)
handle.connect_uri(sys.argv[1])
assert not handle.can_meta_context("qemu:dirty-bitmap:none")
handle.pwrite(b"x" * 512, 70000)
answers = {}
def note(name, offset, entries, error):
    assert name not in answers and offset == 65536, (name, offset)
    answers[name] = list(entries)
    return 0
handle.block_status(1 << 20, 65536, note)
assert answers["qemu:dirty-bitmap:b0"] == [65536, 1, (1 << 20) - 65536, 0], answers
assert answers["qemu:dirty-bitmap:b1"][:2] == [(1 << 20) - 65536, 1], answers
assert sum(answers["base:allocation"][::2]) <= 1 << 20, answers
assert len(answers) == 3
answers.clear()
handle.block_status(1 << 20, 65536, note, nbd.CMD_FLAG_REQ_ONE)
assert all(len(each) == 2 for each in answers.values()), answers
END
    /usr/bin/python3 "$SLUICE_SOURCE_DIR/tests/support/nbd_contexts.py" sock base:allocation \
        "$DIRTY:b0" "$DIRTY:b1" qemu:allocation-depth || fail 'extended headers'
    # What is gone is not answered for.
    refused 'Input/output error' across_removal
    end
}

# One bit is set.
across_removal() {
    { head -c 200 /dev/zero | tr '\0' '\1'; } > record
    /usr/bin/python3 "$BITS" across "$URI" "$DIRTY:b1" record 1048576 \
        "$SLUICE" ctl -n "$ID" / bitmap-remove b1
}

# The layers of a chain, as qemu-nbd counts them.
tells_depths() {
    qemu-img create -q -f raw base.raw 3M
    qemu-img create -q -f qcow2 -b base.raw -F raw middle 8M
    qemu-img create -q -f qcow2 -o extended_l2=on -b middle -F qcow2 image 16M
    qemu-io -f qcow2 -c 'write 1M 64k' -c 'write 7M 1M' middle > /dev/null
    qemu-io -f qcow2 -c 'write 1088k 4k' -c 'write -z 4M 64k' -c 'write 12M 1M' image > /dev/null
    qemu-nbd -r -f qcow2 -A -t -k "$CASE/theirs" image > nbd.log 2>&1 &
    appears theirs
    nbdinfo --map=qemu:allocation-depth "nbd+unix:///?socket=$CASE/theirs" > theirs.txt
    kill $!
    wait $! 2> /dev/null || true
    serve 'qcow2(image, read_only)'
    nbdinfo --map=qemu:allocation-depth "$URI" > ours.txt
    end
    same depths "$(cat ours.txt)" "$(cat theirs.txt)"
}

incremental_backup() {
    qemu-img create -q -f qcow2 image 64M
    serve qcow2:image
    bits write "$URI" record "$SEED" 40 65536
    ctl bitmap-add b0
    qemu-img convert -f raw -O raw "$URI" full
    rm record
    bits write "$URI" record "$((SEED + 1))" 20 65536
    nbdinfo --map="$DIRTY:b0" "$URI" > map.txt
    grep -q '  dirty$' map.txt || fail "nothing is dirty: $(cat map.txt)"
    bits backup "$URI" "$DIRTY:b0" full
    qemu-img compare -q -f raw -F raw full "$URI" || fail "the backup is another disk: seed $SEED"
    # QEMU shows what is dirty as what is no data.
    qemu-img map --output=json --image-opts \
        "driver=nbd,server.type=unix,server.path=$CASE/sock,x-dirty-bitmap=$DIRTY:b0" > map.json
    same 'dirty for QEMU' \
        "$(/usr/bin/python3 -c 'import json
print(sum(each["length"] for each in json.load(open("map.json")) if not each["data"]))')" \
        "$(awk '$3 == 1 { sum += $2 } END { print sum }' map.txt)"
    end
    check_bitmaps image
}

main
