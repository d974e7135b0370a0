#!/bin/bash
# Measures the modules on the scenarios for which no published set has their present folders, guest and QEMU, in virtual
# time, for at most so many minutes; publishes what is complete, and compares it with the set before. What is begun goes on
# with the next call.
#
#   .github/measure.sh MINUTES
#
# BLOCKS and SEED as for `bench`. The minutes count from BEGUN, seconds since 1970, where that is set: what was done before
# took its part of them. Writes worse.txt if something became significantly worse, or cannot be compared.
set -euo pipefail
cd "$(dirname "$0")/.."
deadline=$((${BEGUN:-$(date +%s)} + $1 * 60))
by="the workflow measure, on a hosted runner"
seed=${SEED:-1}
rm -f worse.txt

# Runs a command until the deadline. Fails with 124 if there is no time, and with its exit code if that is more than failed
# cells, which are a result.
within() {
    local left=$((deadline - $(date +%s))) code=0
    [ "$left" -gt 60 ] || return 124
    timeout --signal INT "$left" "$@" </dev/null || code=$?
    case $code in
        0 | 100) ;;
        130) return 124 ;;
        *) return "$code" ;;
    esac
}

# What a new measurement of a module begins with: its promises, and its grid of NATs, which are not gone on with.
begin() {
    local module=$1 grid=results/local/grid-$1
    within bench contract "$module" --clock virtual --out results/contract || return
    rm -f results/contract/junit.xml
    rm -rf "$grid"
    within bench nat-grid "$module" --clock virtual --seed "$seed" --out "$grid" || return
    bench results add "$grid" --by "$by" || return
    rm -rf "$grid"
}

# Exit code 2 of --resume: an edited module, another guest or another harness cannot go on with what was begun. Whatever
# else goes wrong may be gone the next time.
run() {
    local module=$1 dir=$2 code=0
    if [ -e "$dir/run.json" ]; then
        within bench run --resume "$dir" || code=$?
        [ "$code" = 2 ] || return "$code"
        echo "$module: begun anew"
        rm -rf "$dir"
    fi
    begin "$module" || return
    within bench "$module" --clock virtual --seed "$seed" --blocks "${BLOCKS:-7}" --scenario "$scenarios" --out "$dir"
}

# Publishes a finished run; tells where it is worse than the one before.
publish() {
    local module=$1 dir=$2 before code=0 title
    before=$(bench results latest "$module" || true)
    bench results add "$dir" --by "$by" || return
    [ -n "$before" ] || return 0
    bench compare "$before" "$dir" --modules "$module" >compare.txt 2>&1 || code=$?
    case $code in
        101) title=$module ;;
        2) title="$module: not comparable with $before" ;;
        *) return 0 ;;
    esac
    { echo "## $title"; echo '```'; cat compare.txt; echo '```'; } >>worse.txt
}

# Guests of today, by which is told what is due.
modules=$(bench list modules --json | jq -r '.[].name')
for module in $modules; do
    within bench guest "$module" || echo "$module: its guest cannot be made here, or not in time"
done
due=$(bench results due --blocks "${BLOCKS:-7}")
# What has changed is measured, and only that.
while read -r module scenarios; do
    [ -n "$module" ] || continue
    dir=results/local/measure-$module
    code=0
    run "$module" "$dir" || code=$?
    case $code in
        0) ;;
        124) echo "no time left for $module: it goes on next time"; break ;;
        *) echo "$module: exit code $code"; continue ;;
    esac
    if publish "$module" "$dir"; then
        rm -rf "$dir"
    else
        echo "$module: measured, and not published"
    fi
done <<<"$due"
