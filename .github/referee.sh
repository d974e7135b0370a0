#!/bin/bash
# Measures again two clusters, chosen by lot, of each published set that was added since a commit.
#
#   .github/referee.sh COMMIT
set -euo pipefail
cd "$(dirname "$0")/.."
git diff --name-only --diff-filter=A "$1"...HEAD -- 'results/*.jsonl' | while read -r set; do
    clock=$(head -n 1 "$set" | jq -r '.set.run.clock // "real"')
    if [ "$clock" != virtual ]; then
        echo "$set: of real time, which does not repeat"
        continue
    fi
    clusters=$(jq -r 'select(.cell) | .cell.key | "\(.[0])_\(.[1])_\(.[2])"' "$set" | sort -u | shuf -n 2)
    # Names of clusters hold no blanks.
    # shellcheck disable=SC2086
    bench repeat "$set" $clusters
done
