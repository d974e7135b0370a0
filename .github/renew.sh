#!/bin/bash
# Newest versions into the modules, and the archive of this week's Monday for the guests; neither while a measurement is half
# done, which can only go on with what it was begun with. Writes update.txt; exit code as of `bench update`.
#
#   .github/renew.sh >OUTPUT
#
# Prints `mirror=` and `snapshot=`, the address of the archive and its day, for steps that follow.
set -euo pipefail
cd "$(dirname "$0")/.."
kept=results/local/mirror

# What did not go on for two weeks is given up.
half_done() {
    [ -n "$(find results/local -path '*/measure-*/cells/*' -mtime -14 -print -quit)" ]
}

tell() {
    echo "mirror=$(cat "$kept")"
    echo "snapshot=$(basename "$(cat "$kept")")"
}

if [ -e "$kept" ] && half_done; then
    echo "a measurement is half done: versions and packages stay as they are" | tee update.txt >&2
    tell
    exit
fi
mkdir -p results/local
# Of a day in the past, so that whoever says it again gets the same packages.
monday=$(date --utc --date "$(($(date --utc +%u) - 1)) days ago" +%Y%m%dT000000Z)
echo "http://snapshot.debian.org/archive/debian/$monday" >"$kept"
tell
bench update --nixpkgs 2>&1 | tee update.txt >&2
