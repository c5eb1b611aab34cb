# shellcheck shell=bash
# For scripts that compare what Sluice and QEMU make of qcow2 images.
set -u

# run_cases CASE...: runs the cases, each in an empty folder, and ends the script.
run_cases() {
    local tool each
    : "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
    for tool in qemu-img qemu-io python3; do
        command -v $tool >/dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    # shellcheck source=tests/support/extent.sh
    . "$SLUICE_SOURCE_DIR/tests/support/extent.sh"
    local seed=${SLUICE_TEST_SEED:-$((EPOCHSECONDS % 32768))}
    echo "# SLUICE_TEST_SEED=$seed"
    RANDOM=$seed
    # In memory, if possible: QEMU's programs flush a lot.
    folder=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) || exit 1
    trap 'rm -rf "$folder"' EXIT
    cd "$folder" || exit 1
    export SLUICE SLUICE_STATE_DIR=$folder/state
    helper=$SLUICE_SOURCE_DIR/tests/support/qcow2_image.py
    failures=0
    for each in "$@"; do
        # shellcheck disable=SC2254  # a pattern
        case $each in ${CASES:-*}) $each ;; esac
        rm -f -- *
    done
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
    echo "Sluice and QEMU agree"
}

# --- Images of qemu-img.

# Prints NAME and the options of qemu-img create, a line for each kind of image.
kinds() {
    echo "plain cluster_size=64k"
    echo "small cluster_size=512"
    echo "old compat=0.10,cluster_size=4k"
    echo "large cluster_size=2M"
    echo "narrow refcount_bits=1,cluster_size=1k"
    echo "subclusters extended_l2=on,cluster_size=16k"
    echo "external data_file=external.data,cluster_size=4k"
    echo "zstd compression_type=zstd"
    local bits
    for bits in 2 4 8 32 64; do echo "bits$bits refcount_bits=$bits,cluster_size=1k"; done
    full || return
    for bits in 1k 2k 8k 16k 32k 128k 256k 512k 1M; do echo "size$bits cluster_size=$bits"; done
    echo "lazy lazy_refcounts=on"
    echo "oldsmall compat=0.10,cluster_size=512"
    echo "raw data_file=raw.data,data_file_raw=on"
    echo "subclusters2M extended_l2=on,cluster_size=2M"
}

# make FILE OPTIONS [TIMES]: an image with random data, without snapshots.
make() {
    qemu-img create -q -f qcow2 -o "$2" "$1" 6M </dev/null >/dev/null || problem "no image: $2"
    scribble "$1" "${3:-20}"
}

# scribble FILE TIMES: writes at random places of it.
scribble() {
    local list=() i offset length
    for ((i = 0; i < $2; ++i)); do
        offset=$((RANDOM % 11000 * 512)) length=$((RANDOM % 90 * 512 + 512))
        list+=(-c "write -P $((RANDOM % 255 + 1)) $offset $length")
    done
    list+=(-c "write -z 1M 200k" -c "discard 2M 300k" -c "write -P 7 0 1k")
    qemu-io "${list[@]}" "$1" </dev/null >qemu-io.out 2>&1 || problem "qemu-io: $(cat qemu-io.out)"
}

# Snapshots, and bitmaps where the image can have them.
embellish() {
    local image=$1 options=$2
    case $options in
        *data_file* | *refcount_bits=1,*) return ;;
    esac
    qemu-img snapshot -c first "$image"
    scribble "$image" 5
    qemu-img snapshot -c second "$image"
    scribble "$image" 5
    qemu-img snapshot -d first "$image"
    case $options in
        *compat=0.10*) return ;;
    esac
    qemu-img bitmap --add -g 64k "$image" one
    qemu-img bitmap --add "$image" two
    qemu-img bitmap --disable "$image" two
    scribble "$image" 3
}

# compress FROM TO [OPTION]: with some clusters that are not compressed.
compress() {
    qemu-img convert -c -O qcow2 ${3:+-o "$3"} "$1" "$2" </dev/null || problem "not compressed: $1"
    qemu-io -c "write -P 9 1000k 100k" "$2" </dev/null >/dev/null
}

# --- Support.

helper() {
    python3 "$helper" "$@" >helper.out 2>&1 && return
    problem "$(cat helper.out)"
    return 1
}

agree() {
    helper agree "$@"
}

# expect CODE TEXT ARGUMENT...: the exit code, and a line with the text.
expect() {
    local wanted=$1 text=$2 code
    shift 2
    timeout 20 "$SLUICE" "$@" >output 2>error </dev/null
    code=$?
    [ $code -eq "$wanted" ] || problem "exit code $code, not $wanted: $*" "$(cat output error)"
    cat output error | grep -qF -- "$text" || [ -z "$text" ] ||
        problem "'$text' is not in the answer: $*" "$(cat output error)"
    [ "$(wc -l <error)" -le 1 ] || problem "more than one line: $*" "$(cat error)"
}

problem() {
    printf '%s\n' "$@"
    failures=$((failures + 1))
}

# is_sound WHAT: QEMU finds nothing in `image`, which has the contents of `content`, and its
# snapshot those of snapshot.raw, if that is there.
is_sound() {
    local length
    qemu-img check -q image </dev/null >check.out 2>&1 || problem "$1: $(head -5 check.out)"
    qemu-img compare -q -f qcow2 -F raw image content </dev/null || problem "$1: other content"
    [ "$(virtual_size)" = "$(stat -c %s content)" ] || problem "$1: $(virtual_size) bytes"
    [ -e snapshot.raw ] || return
    # QEMU reads as much of a snapshot as the disk has now.
    qemu-img convert -l one -O raw image now.raw </dev/null
    length=$(printf '%s\n' "$(stat -c %s snapshot.raw)" "$(stat -c %s now.raw)" | sort -n | head -1)
    cmp -s -n "$length" snapshot.raw now.raw || problem "$1: the snapshot has changed"
}
