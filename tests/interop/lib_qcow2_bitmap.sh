# shellcheck shell=bash
# Common code of the tests of dirty bitmaps, on top of lib_qcow2_disk.sh.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

BITS="$SLUICE_SOURCE_DIR/tests/support/bitmap_writer.py"

begin_bitmaps() {
    begin_qcow2
    command -v qemu-nbd > /dev/null || { echo "skipped: there is no qemu-nbd"; exit 77; }
    RANDOM=$SEED
}

bits() {
    /usr/bin/python3 "$BITS" "$@" > bits.txt 2>&1 || fail "$* $(tail -n 1 bits.txt) seed $SEED"
}

# listed IMAGE: what QEMU says of its bitmaps, which it puts in an order of its own.
listed() {
    qemu-img info -U --output=json "$1" | /usr/bin/python3 -c '
import json, sys
found = json.load(sys.stdin)["format-specific"]["data"].get("bitmaps", [])
print(sorted((each["name"], each["granularity"], sorted(each["flags"])) for each in found))'
}

check_bitmaps() {
    qemu-img check -q "$1" > check.txt 2>&1 || fail "check: $(cat check.txt) seed $SEED"
    "$SLUICE" check "$1" > check.txt 2>&1 || fail "our check: $(cat check.txt) seed $SEED"
}
