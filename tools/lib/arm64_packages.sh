#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches the distribution's ARM64 packages that a cross build of the command needs into a folder of its own, with apt but
# without installing anything: neither root nor a foreign architecture in this system's package database is needed.
#
# arm64_packages.sh FOLDER   makes FOLDER/sysroot, unless it is there; exit status 1, with a reason, when it cannot be had
set -euo pipefail

wanted=(libhwloc-dev libjansson-dev libpng-dev libjpeg-dev libexif-dev libgomp1)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
[[ $(cat "$folder/sysroot/.complete" 2>/dev/null) == "${wanted[*]}" ]] && exit

for command in apt-get dpkg-deb; do
    if ! command -v "$command" >/dev/null; then
        echo "no ARM64 packages: this system has no $command"
        exit 1
    fi
done

rm -rf "$folder/apt" "$folder/sysroot"
mkdir -p "$folder"/apt/{state/lists/partial,cache/archives/partial} "$folder/sysroot"
touch "$folder/apt/state/status"
cat >"$folder/apt/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Acquire::http::Timeout "20";
Dir::State "$folder/apt/state";
Dir::State::status "$folder/apt/state/status";
Dir::Cache "$folder/apt/cache";
END
export APT_CONFIG=$folder/apt/apt.conf
log=$folder/apt/log
if ! { apt-get update && apt-get install -y --download-only --no-install-recommends "${wanted[@]}"; } >"$log" 2>&1; then
    echo "no ARM64 packages: $(grep '^E:' "$log" | tail -1 || tail -1 "$log")"
    exit 1
fi
for package in "$folder"/apt/cache/archives/{lib,linux-libc,zlib}*.deb; do
    dpkg-deb -x "$package" "$folder/sysroot"
done
rm -rf "$folder/apt"
echo "${wanted[*]}" >"$folder/sysroot/.complete"
echo "ARM64 packages: in $folder/sysroot"
