#!/usr/bin/env bash
# A list of pairs from another program, results under names of our choice, and what failed as JSON.
# Usage: batch_pairs_list.sh [OUT [more options of `glualign batch`]]
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-../out/batch_pairs_list}

list() {
    echo '{"source": "graf1.png", "target": "graf3.png", "output": "graffiti/1-onto-3"}'
    echo '{"source": "graf3.png", "target": "graf1.png", "output": "graffiti/3-onto-1"}'
    echo '{"source": "no-such-file.png", "target": "graf1.png", "output": "missing"}'
}

# Exit code 3 says that some pairs failed: expected here, the third file does not exist.
status=0
list | glualign batch --pairs - -o "$out" --write warped,flow --log-json "${@:2}" > "$out.log.jsonl" || status=$?
[ "$status" -eq 3 ]

# Each line of the manifest is one pair; any tool that reads JSON can select from it.
grep '"status":"failed"' "$out/manifest.jsonl"
