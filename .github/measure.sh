#!/bin/bash
# Measures the modules for which no published set has their present folder, in virtual time, for at most so many minutes;
# publishes what is complete, and compares it with the set before. What is begun goes on with the next call.
#
#   .github/measure.sh MINUTES
#
# BLOCKS and SEED as for `bench`. Writes worse.txt if something became significantly worse.
set -euo pipefail
cd "$(dirname "$0")/.."
deadline=$((SECONDS + $1 * 60))
rm -f worse.txt
scenarios=$(bench list scenarios --json | grep -o '"name": *"[^"]*"' | cut -d '"' -f 4 | paste -sd ,)
for module in $(bench results due); do
    left=$((deadline - SECONDS))
    [ "$left" -gt 60 ] || { echo "no time left for $module: next time"; break; }
    dir=results/local/measure-$module
    code=0
    if [ -e "$dir/run.json" ]; then
        timeout --signal INT "$left" bench run --resume "$dir" || code=$?
    else
        timeout --signal INT "$left" bench "$module" --clock virtual --seed "${SEED:-1}" --blocks "${BLOCKS:-7}" \
            --scenario "$scenarios" --out "$dir" || code=$?
    fi
    case $code in
        # 100: some cells failed, which is a result.
        0 | 100) ;;
        124 | 130) echo "$module goes on next time"; break ;;
        # An edited module cannot go on with what was begun before.
        *) echo "$module: exit code $code"; rm -rf "$dir"; continue ;;
    esac
    before=$(bench results latest "$module" || true)
    bench results add "$dir" --by "the workflow measure, on a hosted runner"
    if [ -n "$before" ]; then
        code=0
        bench compare "$before" "$dir" --modules "$module" >compare.txt || code=$?
        if [ "$code" = 101 ]; then
            { echo "## $module"; echo '```'; cat compare.txt; echo '```'; } >>worse.txt
        fi
    fi
    rm -rf "$dir"
done
