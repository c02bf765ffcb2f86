# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Configuring the build folder, for tools/quickstart and tools/test.

# configure_build SOURCE BUILD OPTION...: sets up the folder, or brings an existing one up to date. One that meson
# cannot use any more (another version's, half-made, moved) is made anew; only meson's own files in it are removed.
configure_build() {
    local source=$1 build=$2
    shift 2
    if [[ -e $build/meson-private/coredata.dat ]]; then
        meson setup --reconfigure "$build" "$source" "$@" && return
        echo "The build folder $build is of no use any more: setting it up anew."
        meson setup --wipe "$build" "$source" "$@" && return
    fi
    rm -rf "$build/meson-private" "$build/meson-info" "$build/build.ninja"
    meson setup "$build" "$source" "$@"
}
