# shellcheck shell=bash
# Beginning of a recipe's local/corpus.sh: source it after setting the defaults of its own options.
#
# This sets `here` to the recipe that the script belongs to, which is the default of --recipe-dir.
# It adds --corpus-dir, --nj, --engine, --retries and all that steps/stage.sh adds.

here=$(cd "$(dirname "${BASH_SOURCE[1]}")/.." && pwd)
: "${recipe_dir=$here}" "${corpus_dir=}" "${nj=2}" "${engine=}" "${retries=}"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps/stage.sh"

# find_corpus OPTION...: find the recipe's corpus, or download it; options as of local/corpus.py.
find_corpus() {
  python "$PROJECT_DIR/local/corpus.py" --recipe-dir "$recipe_dir" --corpus-dir "$corpus_dir" \
    --home "$here" "$@"
}
