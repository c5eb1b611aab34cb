#!/usr/bin/env bash
# sluice thin info, dump and check beside the thin-provisioning tools: on random pools that
# thin_restore makes, and on the same pools with random damage (T6.20).
#
# SLUICE_TEST_SEED repeats a run.
# shellcheck source=tests/support/extent.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/extent.sh"
set -u

main() {
    local tool each
    : "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
    for tool in thin_restore thin_dump thin_check python3; do
        command -v $tool >/dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    IMAGES=$SLUICE_SOURCE_DIR/tests/support/thin_images.py
    SEED=${SLUICE_TEST_SEED:-$RANDOM}
    echo "# SLUICE_TEST_SEED=$SEED"
    folder=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) || exit 1
    trap 'rm -rf "$folder"' EXIT
    cd "$folder" || exit 1
    failures=0
    for each in pools_and_damage other_sources needs_check wrong_lines; do
        # shellcheck disable=SC2254  # a pattern
        case $each in ${CASES:-*}) $each ;; esac
    done
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
    echo "metadata of thin pools is shown and checked"
}

# pool SEED: random metadata in `pool`.
pool() {
    python3 "$IMAGES" xml "$1" > pool.xml
    rm -f pool
    truncate -s 6M pool
    thin_restore -q -i pool.xml -o pool > restore.txt 2>&1 ||
        problem "seed $1: thin_restore: $(cat restore.txt)"
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
    python3 - "$IMAGES" <<'END'
import importlib.util, sys
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("images", sys.argv[1])
images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(images)
image = bytearray(open("pool", "rb").read())
image[4] |= 1
images.seal(image, 0, "superblock")
open("pool", "wb").write(image)
END
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
}

# thin STATUS TEXT ARGUMENT...: runs `sluice thin`, which ends so and says so.
thin() {
    local status=0
    # shellcheck disable=SC2086  # no argument if it is empty
    if [ -z "$3" ]; then set -- "$1" "$2"; fi
    "$SLUICE" thin "${@:3}" > out.txt 2>&1 || status=$?
    [ $status -eq "$1" ] || problem "thin ${*:3}: status $status: $(head -c 1000 out.txt)"
    grep -q -- "$2" out.txt || problem "thin ${*:3}: nothing of '$2': $(head -c 1000 out.txt)"
}

problem() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}

main
