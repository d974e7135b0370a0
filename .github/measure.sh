#!/bin/bash
# Measures the modules for which no published set has their present folder, guest and QEMU, in virtual time, for at most so
# many minutes; publishes what is complete, and compares it with the set before. What is begun goes on with the next call.
#
#   .github/measure.sh MINUTES
#
# BLOCKS and SEED as for `bench`. Writes worse.txt if something became significantly worse, or cannot be compared.
set -euo pipefail
cd "$(dirname "$0")/.."
deadline=$((SECONDS + $1 * 60))
by="the workflow measure, on a hosted runner"
seed=${SEED:-1}
rm -f worse.txt
scenarios=$(bench list scenarios --json | grep -o '"name": *"[^"]*"' | cut -d '"' -f 4 | paste -sd ,)

# Runs a command until the deadline. Fails with 124 if there is no time, and with its exit code if that is more than failed
# cells, which are a result.
within() {
    local left=$((deadline - SECONDS)) code=0
    [ "$left" -gt 60 ] || return 124
    timeout --signal INT "$left" "$@" || code=$?
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

run() {
    local module=$1 dir=$2
    if [ -e "$dir/run.json" ]; then
        within bench run --resume "$dir" && return
        local code=$?
        [ "$code" != 124 ] || return 124
        # An edited module or another guest cannot go on with what was begun before.
        echo "$module: begun anew"
        rm -rf "$dir"
    fi
    begin "$module" || return
    within bench "$module" --clock virtual --seed "$seed" --blocks "${BLOCKS:-7}" --scenario "$scenarios" --out "$dir"
}

for module in $(bench results due); do
    dir=results/local/measure-$module
    code=0
    run "$module" "$dir" || code=$?
    case $code in
        0) ;;
        124) echo "no time left for $module: it goes on next time"; break ;;
        *) echo "$module: exit code $code"; rm -rf "$dir"; continue ;;
    esac
    before=$(bench results latest "$module" || true)
    bench results add "$dir" --by "$by"
    if [ -n "$before" ]; then
        code=0
        bench compare "$before" "$dir" --modules "$module" >compare.txt 2>&1 || code=$?
        case $code in
            101) title=$module ;;
            2) title="$module: not comparable with $before" ;;
            *) title= ;;
        esac
        if [ -n "$title" ]; then
            { echo "## $title"; echo '```'; cat compare.txt; echo '```'; } >>worse.txt
        fi
    fi
    rm -rf "$dir"
done
