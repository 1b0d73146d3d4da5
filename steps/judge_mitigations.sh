#!/usr/bin/env bash
# Stage 11: the table of mitigations, before and after, in exp/fairness/.
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

# shellcheck source=steps/mitigation_plan.sh
. "$(dirname "${BASH_SOURCE[0]}")/mitigation_plan.sh"
python -m asrlib score --name "$name" --test-set "$test_set" "${stage_options[@]}"
exec python -m asrlib judge-mitigations --plan "$plan" "${plan_options[@]}"
