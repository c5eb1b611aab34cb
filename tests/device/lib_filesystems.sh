# shellcheck shell=bash
# The life of a file system on a device, for each buffer mode and stack: make and mount it, clone a
# git repository into it, build a program there, unmount the file system and run its checker; then
# attach the same backing in another mode, check the repository and compare everything. Each mode is
# tested with one stack, another each day; with SLUICE_TEST_FULL=1 with all.
# SLUICE_TEST_SEED=N: which stacks, instead of the day.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# test_filesystem FS: runs all cases of a file system.
test_filesystem() {
    local mode stack stacks=(loop buffered stripe) number=$TURN
    [ "$1" = ext4 ] || number=$((number + 1))
    say_turn
    make_repository
    for mode in $MODES; do
        for stack in "${stacks[@]}"; do
            [ "$stack" = "${stacks[number % 3]}" ] || full || continue
            run_case "$1 on $stack, mode $mode" live_on "$1" "$mode" "$stack"
        done
        number=$((number + 1))
    done
    finish
}

live_on() {
    local fs=$1 mode=$2 stack=$3
    make_stack "$stack"
    mkdir mnt
    add "${STACK[@]}" --mode "$mode" -q 2
    same mode "$(field mode)" "$mode"
    make_fs "$fs"
    mount "$DEV" mnt
    use mnt
    umount mnt
    check_fs "$fs"
    del

    add "${STACK[@]}" --mode "$(other_mode "$mode")"
    check_fs "$fs"
    mount -o ro "$DEV" mnt
    git -C mnt/clone fsck --full --no-progress
    diff -r "$WORK/repository/tree" mnt/clone/tree
    cmp program mnt/clone/project/program
    umount mnt
    del
}

make_fs() {
    case $1 in
        ext4) mkfs.ext4 -qF "$DEV" ;;
        xfs) mkfs.xfs -qf "$DEV" 2> mkfs.log || fail "$(cat mkfs.log)" ;;
    esac
}

# Checks the file system without repairing it.
check_fs() {
    case $1 in
        ext4) e2fsck -fn "$DEV" > check.log 2>&1 || fail "$(cat check.log)" ;;
        xfs) xfs_repair -n "$DEV" > check.log 2>&1 || fail "$(cat check.log)" ;;
    esac
}

use() {
    git clone -q "file://$WORK/repository" "$1/clone"
    make -s -j2 -C "$1/clone/project"
    same "the program's answer" "$("$1/clone/project/program")" "42 from three files"
    cp "$1/clone/project/program" program
    rm -r "$1/clone/project/objects"
    sync -f "$1"
}

# A copying mode for a zero-copy mode, and the reverse: both must give the same bytes.
other_mode() {
    case $1 in
        auto|register) echo copy ;;
        *) echo auto ;;
    esac
}

# A few commits with this project's sources and a program of three files.
make_repository() {
    local git="git -c user.name=test -c user.email=test@example.org -C $WORK/repository"
    mkdir "$WORK/repository"
    $git init -q -b main
    mkdir "$WORK/repository/tree"
    cp -r "$SLUICE_SOURCE_DIR/src/core" "$WORK/repository/tree"
    $git add tree
    $git commit -qm core
    cp -r "$SLUICE_SOURCE_DIR/src/ring" "$WORK/repository/tree"
    $git add tree
    $git commit -qm ring
    make_project "$WORK/repository/project"
    $git add project
    $git commit -qm project
}

make_project() {
    mkdir "$1"
    echo 'int number(void); const char *from(void);' > "$1/parts.h"
    echo '#include "parts.h"
int number(void) { return 42; }' > "$1/number.c"
    echo '#include "parts.h"
const char *from(void) { return "three files"; }' > "$1/from.c"
    echo '#include <stdio.h>
#include "parts.h"
int main(void) { printf("%d from %s\n", number(), from()); return 0; }' > "$1/main.c"
    cat > "$1/Makefile" << 'END'
program: objects/main.o objects/number.o objects/from.o
	$(CC) -o $@ $^
objects/%.o: %.c parts.h
	mkdir -p objects
	$(CC) -O1 -c -o $@ $<
END
}
