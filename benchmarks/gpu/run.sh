#!/usr/bin/env bash
# The GPU suite in one command; see README.md beside this file.
#
#   bash benchmarks/gpu/run.sh FOLDER [--parts correctness,throughput,teacher,scores] [--rehearse] [--prepare]
#
# Tables go to stdout, one JSON file a part into FOLDER. PYTHON names another interpreter than python3.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec "${PYTHON:-python3}" "$here/suite.py" "$@"
