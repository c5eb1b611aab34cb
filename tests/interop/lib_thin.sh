# shellcheck shell=bash
# Common code of the tests of `sluice thin`: needs $SLUICE and $SLUICE_SOURCE_DIR, runs the cases in
# a folder of their own, and judges metadata beside thin_check.
#
# SLUICE_TEST_SEED repeats a run.
# shellcheck source=tests/support/extent.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/extent.sh"

# run_thin "TOOL..." CASE...: runs the cases, or those that $CASES selects.
run_thin() {
    local tool each
    : "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
    for tool in $1 python3; do
        command -v "$tool" >/dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    IMAGES=$SLUICE_SOURCE_DIR/tests/support/thin_images.py
    SEED=${SLUICE_TEST_SEED:-$RANDOM}
    echo "# SLUICE_TEST_SEED=$SEED"
    folder=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) || exit 1
    trap 'rm -rf "$folder"' EXIT
    cd "$folder" || exit 1
    failures=0
    for each in "${@:2}"; do
        # shellcheck disable=SC2254  # a pattern
        case $each in ${CASES:-*}) $each ;; esac
        rm -rf -- *
    done
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
}

# pool SEED: random metadata in `pool`, and its text in pool.xml.
pool() {
    python3 "$IMAGES" xml "$1" > pool.xml
    rm -f pool
    truncate -s 6M pool
    thin_restore -q -i pool.xml -o pool > restore.txt 2>&1 ||
        problem "seed $1: thin_restore: $(cat restore.txt)"
}

# devices_of METADATA: their ids.
devices_of() {
    thin_ls --no-headers --format DEV "$1" | tr -d " "
}

# add_snapshots: of some devices in `pool`, and of these.
add_snapshots() {
    local id next=16777000
    for id in $(devices_of pool | shuf -n 5); do
        thin 0 "" snapshot --force pool $((next += 1)) "$id"
        thin 0 "" snapshot --force pool $((next += 1)) $((next - 1))
    done
}

# with_flags METADATA FLAGS: as if the kernel had set them in the superblock.
with_flags() {
    python3 - "$IMAGES" "$1" "$2" <<'END'
import importlib.util, sys
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("images", sys.argv[1])
images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(images)
image = bytearray(open(sys.argv[2], "rb").read())
image[4] = int(sys.argv[3])
images.seal(image, 0, "superblock")
open(sys.argv[2], "wb").write(image)
END
}

# clean METADATA: both checks find nothing.
clean() {
    thin 0 "no errors" check "$1"
    thin_check -q "$1" > theirs.txt 2>&1 || problem "thin_check of $1: $(cat theirs.txt)"
}

# thin STATUS TEXT ARGUMENT...: runs `sluice thin`, which ends so and says so.
thin() {
    local status=0
    # shellcheck disable=SC2086  # no argument if it is empty
    if [ -z "$3" ]; then set -- "$1" "$2"; fi
    "$SLUICE" thin "${@:3}" > out.txt 2>&1 || status=$?
    [ $status -eq "$1" ] || problem "thin ${*:3}: status $status: $(head -c 1000 out.txt)"
    grep -q -- "$2" out.txt || [ -z "$2" ] ||
        problem "thin ${*:3}: nothing of '$2': $(head -c 1000 out.txt)"
}

problem() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}
