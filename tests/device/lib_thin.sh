# shellcheck shell=bash
# A pool of dm-thin on the files `meta` and `data`, with blocks of 64 KiB, for the tests that have
# the kernel as the judge. Source it after lib.sh.

# activate [SECTORS]: with a data device of so many.
activate() {
    META=$(losetup -f --show meta)
    DATA=$(losetup -f --show data)
    trap deactivate_rest EXIT
    dmsetup create --noudevsync pool --table "0 ${1:-524288} thin-pool $META $DATA 128 0"
    dmsetup mknodes pool
}

# thin NAME ID: a device of 64 MiB.
thin() {
    dmsetup create --noudevsync "$1" --table "0 131072 thin /dev/mapper/pool $2"
    dmsetup mknodes "$1"
}

message() {
    dmsetup message pool 0 "$*"
}

# deactivate NAME...: the devices, then the pool.
deactivate() {
    local name
    for name in "$@" pool; do dmsetup remove --noudevsync --retry "$name"; done
    losetup -d "$META" "$DATA"
}

deactivate_rest() {
    local name
    for name in second origin one three four pool; do
        ! dmsetup info $name > /dev/null 2>&1 || dmsetup remove --noudevsync --force $name || true
    done
    losetup -d "$META" "$DATA" 2> /dev/null || true
}

# fill NAME COUNT: writes so many times somewhere in the device; its sum is then in NAME.sum.
fill() {
    local i
    for ((i = 0; i < $2; ++i)); do
        dd if=/dev/urandom of="/dev/mapper/$1" bs=4k count=$((1 + RANDOM % 60)) \
            seek=$((RANDOM % 16000)) oflag=direct status=none
    done
    sum "$1" > "$1.sum"
}

sum() {
    dd if="/dev/mapper/$1" bs=1M iflag=direct status=none | sha256sum
}

same_content() {
    [ "$(sum "$1")" = "$(sum "$2")" ] || fail "$1 and $2 differ"
}

# Nothing is found by either check, and both dumps are equal.
clean() {
    sluice thin check meta > check.txt || fail "$(cat check.txt)"
    thin_check -q meta > check.txt 2>&1 || fail "thin_check: $(cat check.txt)"
    sluice thin dump meta > ours.xml
    thin_dump meta | cmp - ours.xml
}
