# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What has to be on the machine, for tools/quickstart and tools/test: found by what the build needs of it (a command,
# a pkg-config module, a file), not by asking the package manager, so that a meson from pip counts as well as one from apt.

# Debian's and Ubuntu's name | kind | what for | how to find it. Kinds: run (to build and run), test; and those without which the
# rest works: python (the Python package's tests), browser (to look at the demo's page), installed (tests of what is installed:
# shells, pages, CMake, JSON), package (Debian's packages, for the long tests), emulated (other machines, likewise), clang (sanitizers).
packages=(
    "gcc|run|the C compiler|have_command ${CC:-cc}"
    "libc6-dev|run|the C library's headers|have_libc_headers"
    "meson|run|configures the build (0.61 or newer)|have_meson"
    "ninja-build|run|runs the build|have_ninja"
    "pkg-config|run|finds the libraries|have_command pkg-config"
    "libhwloc-dev|run|the machine's topology|have_module hwloc"
    "libjansson-dev|run|JSON that the command prints|have_module jansson"
    "libpng-dev|run|PNG pictures of the demo|have_module libpng"
    "libjpeg-dev|run|JPEG pictures of the demo|have_module libjpeg"
    "libexif-dev|run|which way up JPEG pictures are|have_module libexif"
    "libcriterion-dev|test|the test framework|have_module criterion"
    "python3|test|sums up the test results|have_command python3"
    "g++|run|the C++ compiler, for attentile bench|have_command ${CXX:-c++}"
    "libbenchmark-dev|run|Google Benchmark, for attentile bench|have_module benchmark"
    "python3-numpy|python|the Python package|have_python_module numpy"
    "python3-pytest|python|its tests|have_python_module pytest"
    "python3-venv|python|a virtual environment to install its wheel in|have_python_module ensurepip"
    "clang|clang|the compiler of the fuzz targets and with sanitizers|have_command clang"
    "libclang-rt-dev|clang|libFuzzer and clang's sanitizers|have_fuzzer"
    "libomp-dev|clang|clang's OpenMP|have_clang_openmp"
    "cmake|installed|a program that finds the library with CMake|have_command cmake"
    "bash-completion|installed|completion in bash|test -e /usr/share/bash-completion/bash_completion"
    "zsh|installed|completion in zsh|have_command zsh"
    "fish|installed|completion in fish|have_command fish"
    "mandoc|installed|checks the manual pages|have_command mandoc"
    "python3-jsonschema|installed|checks the command's JSON|have_python_module jsonschema"
    "dpkg-dev|package|builds Debian packages|have_command dpkg-buildpackage"
    "debhelper|package|their rules|have_command dh"
    "lintian|package|checks them|have_command lintian"
    "build-essential|package|what every Debian package may expect to be there|have_debian build-essential"
    "meson|package|Debian's own, on which they depend|have_debian meson"
    "ninja-build|package|likewise|have_debian ninja-build"
    "chromium|browser|looks at the demo's page|have_chromium"
    "chromium-driver|browser|steers it|have_command chromedriver"
    "qemu-user|emulated|other processors: old ones, and ARM64|have_command qemu-aarch64"
    "gcc-aarch64-linux-gnu|emulated|the cross compiler for ARM64|have_command aarch64-linux-gnu-gcc"
    "libc6-dev-arm64-cross|emulated|its C library|test -e /usr/aarch64-linux-gnu/lib/libc.a"
)

have_command() {
    command -v "$1" >/dev/null
}

have_module() {
    have_command pkg-config && pkg-config --exists "$1"
}

have_python_module() {
    have_command python3 && python3 -c "import $1" 2>/dev/null
}

have_debian() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q ' installed$'
}

have_libc_headers() {
    have_command "${CC:-cc}" && echo '#include <stdlib.h>' | "${CC:-cc}" -E - >/dev/null 2>&1
}

# What clang compiles and links a fuzz target with.
clang_links() {
    have_command clang && echo "$1" | clang -x c "${@:2}" - -o /dev/null 2>/dev/null
}

have_fuzzer() {
    clang_links 'int LLVMFuzzerTestOneInput(void) { return 0; }' -fsanitize=fuzzer,address,undefined
}

have_clang_openmp() {
    clang_links $'#include <omp.h>\nint main(void) { return omp_get_num_threads() < 0; }' -fopenmp
}

have_meson() {
    local version major minor
    version=$(meson --version 2>/dev/null) || return 1
    IFS=. read -r major minor _ <<<"$version"
    [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] && ((major > 0 || minor >= 61))
}

have_ninja() {
    have_command ninja || have_command ninja-build || have_command samu
}

have_chromium() {
    have_command chromium || have_command chromium-browser || have_command google-chrome
}

# find_missing KIND... sets `missing` to the packages of these kinds that were not found, and says what they are for.
find_missing() {
    local row name kind purpose check
    missing=()
    for row in "${packages[@]}"; do
        IFS='|' read -r name kind purpose check <<<"$row"
        [[ " $* " == *" $kind "* ]] || continue
        # shellcheck disable=SC2086 # the check is a function with its argument
        $check && continue
        missing+=("$name")
        printf '  %-24s %s\n' "$name" "$purpose"
    done
}

# apt_install PACKAGE... as root, without questions.
apt_install() {
    local as_root=()
    if ! have_command apt-get; then
        echo "This system has no apt-get: please install the packages above, under the names they have here." >&2
        return 1
    fi
    if ((EUID != 0)); then
        if ! have_command sudo; then
            echo "Neither root nor sudo: please run, as root, apt-get update && apt-get install --no-install-recommends $*" >&2
            return 1
        fi
        echo "Installing them needs root: asking sudo."
        as_root=(sudo)
    fi
    # Without a terminal of its own dpkg does not draw bars into a log.
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::http::Timeout=20 -o Dpkg::Use-Pty=0)
    "${apt[@]}" update -qq || echo "apt-get update failed; going on with the package lists that are there." >&2
    "${apt[@]}" install -y -qq --no-install-recommends "$@"
}

# ensure_packages INSTALL KIND...: with INSTALL=yes installs what is missing; 1 when something required still is.
# Packages of other kinds than `run` and `test` may stay away.
ensure_packages() {
    local install=$1 required=() others=() kind missing_list
    shift
    for kind in "$@"; do
        case $kind in
        run | test) required+=("$kind") ;;
        *) others+=("$kind") ;;
        esac
    done
    missing_list=$(find_missing "${required[@]}")
    if [[ -n $missing_list ]]; then
        printf 'Missing:\n%s\n' "$missing_list"
        if [[ $install != yes ]]; then
            echo "Nothing is installed (--no-install)." >&2
            return 1
        fi
        find_missing "${required[@]}" >/dev/null
        apt_install "${missing[@]}" || return 1
        missing_list=$(find_missing "${required[@]}")
        if [[ -n $missing_list ]]; then
            printf 'Still missing after the installation:\n%s\n' "$missing_list" >&2
            return 1
        fi
    fi
    for kind in "${others[@]}"; do # one by one: a system may have no package of a name, and apt then installs nothing
        missing_list=$(find_missing "$kind")
        if [[ -n $missing_list && $install == yes ]]; then
            printf 'Missing, but not required:\n%s\n' "$missing_list"
            find_missing "$kind" >/dev/null
            apt_install "${missing[@]}" || echo "Going on without."
        fi
    done
    return 0
}
