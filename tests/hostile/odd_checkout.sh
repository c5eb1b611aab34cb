#!/usr/bin/env bash
# A checkout that belongs to another user, below /tmp, which the guest hides, in a directory whose
# name has blanks, quotes and non-ASCII letters and begins with a dash. It can be configured, and
# its build installed, here and in the guest; its scripts find each other, and the guest writes
# nothing to the host.
#
set -Eeuo pipefail

: "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
WORK=$(mktemp -d /tmp/sluice-odd.XXXXXX)
trap 'rm -rf "$WORK"' EXIT
trap 'echo "# ${BASH_SOURCE[0]##*/}:$LINENO: failed: $BASH_COMMAND" >&2' ERR
ODD=$WORK/"-a b'c (d) é"

main() {
    copy_checkout
    cd "$ODD"
    it_is_configured
    it_is_installed
    scripts_run_there
    the_guest_has_it
    echo "all is well in $ODD"
}

# Copies the files that git tracks; without git, all files outside build/.
copy_checkout() {
    mkdir -p "$ODD/build"
    (
        cd "$SLUICE_SOURCE_DIR"
        if git rev-parse -q --verify HEAD > /dev/null 2>&1; then
            git ls-files -coz --exclude-standard | while IFS= read -rd '' file; do
                [ ! -e "$file" ] || printf '%s\0' "$file"
            done
        else
            find . -path ./build -prune -o -type f -print0
        fi | tar -c --null -T - -f -
    ) | tar -x -C "$ODD" -f -
}

# The build is configured and compiles one group of files; the program is copied from the build
# under test.
it_is_configured() {
    cmake --preset release --log-level=WARNING > configure.log || fail "$(cat configure.log)"
    ninja -C build/release -n sluice > dry-run.log || fail "$(tail -n 5 dry-run.log)"
    ninja -C build/release cmake_object_order_depends_target_sluice_engine \
        CMakeFiles/sluice_engine.dir/Unity/unity_src_core_0_cxx.cxx.o > one.log ||
        fail "$(tail -n 20 one.log)"
    cp "$SLUICE" "$(dirname "$SLUICE")/libsluice.a" build/release
    export SLUICE=$ODD/build/release/sluice SLUICE_SOURCE_DIR=$ODD
}

it_is_installed() {
    DESTDIR="$ODD/to" cmake --install build/release --prefix /usr --strip > install.log ||
        fail "$(tail -n 5 install.log)"
    local program=to/usr/bin/sluice
    "$program" --version > /dev/null
    readelf -S "$program" | grep -q '\.symtab\|\.debug_info' && fail "$program is not stripped"
    readelf -S build/release/sluice | grep -q '\.debug_info' || fail "the build has no debug data"
}

scripts_run_there() {
    bash tests/interop/cli_completion.sh > script.log 2>&1 || [ $? = 77 ] ||
        fail "$(tail -n 5 script.log)"
    tools/demo --nonsense > /dev/null 2>&1 && fail "the demo takes anything" || [ $? = 2 ]
}

the_guest_has_it() {
    [ "$(id -u)" = 0 ] || return 0
    local status=0
    tools/vm uml --timeout 60 -- sh -ec '
        cmake --install build/release --prefix /usr > /dev/null
        sluice --version
        touch written "$SLUICE_SOURCE_DIR/build/written"
        bash tests/device/lib.sh' > guest.log 2>&1 || status=$?
    [ $status = 0 ] || fail "$status: $(cat guest.log)"
    grep -q "$("$SLUICE" --version)" guest.log || fail "$(cat guest.log)"
    [ ! -e written ] && [ ! -e build/written ] || fail "the guest wrote to the host"
}

fail() {
    echo "# $*" >&2
    exit 1
}

main
