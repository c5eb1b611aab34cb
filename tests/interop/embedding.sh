#!/usr/bin/env bash
# The installed headers, library and pkg-config file suffice for a program that embeds a device.
set -eu

main() {
    : "${SLUICE:?the program under test}"
    here=$(cd "$(dirname "$0")" && pwd)
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    cd "$folder"
    cmake --install "$(dirname "$SLUICE")" --prefix "$folder/usr" >install.log
    export PKG_CONFIG_PATH; PKG_CONFIG_PATH=$(dirname "$(find "$folder/usr" -name sluice.pc)")
    local flags
    # shellcheck disable=SC2207
    flags=($(pkg-config --cflags --libs sluice))
    "${CXX:-clang++-19}" -Wall -Wextra -Werror -o embedding "$here/embedding.cpp" "${flags[@]}"
    ./embedding "$folder/file" >said
    [ "$(cat said)" = "written and read back" ] || { cat said; exit 1; }
    [ "$(tr -dc x <file | wc -c)" = 65536 ] || { echo "the file has other bytes"; exit 1; }
    echo "a program with a device of its own was built and run"
}

main "$@"
