#!/usr/bin/env bash
# Stage 10: train the rows of the plan of mitigations for the bottom cohort, and decode them.
#
# Options:
#   --name NAME         the trained model that all rows start from: a directory under exp/
#   --cohorts "A B"     methods; the first one that found cohorts says for whom
#                       (default: "automatic scan tree metadata")
#   --rows "A B"        rows of the plan, or all (default: all)
#   --seeds "1 2 3"     train each row once per seed (default: those of the plan)
#   --found-on SET      the set whose speakers the cohorts were found on (default: discovery); if it
#                       is that of --test-set, rows are trained on speakers of the training set
#   --test-set SET      the set to decode and judge (default: confirmation)
#   --plan NAME         a plan of conf/plans (default: mitigation)
set -euo pipefail

nj=$(nproc)
engine=""
retries=""
# shellcheck source=steps/mitigation_plan.sh
. "$(dirname "${BASH_SOURCE[0]}")/mitigation_plan.sh"
# shellcheck source=steps/engine.sh
. "$(dirname "${BASH_SOURCE[0]}")/engine.sh"

job_options 10
if [[ $force == true ]]; then plan_options+=(--force); fi
echo "for the bottom cohort by the method $chosen"
exec python -m asrlib plan "$plan" "${plan_options[@]}" "${job_options[@]}"
