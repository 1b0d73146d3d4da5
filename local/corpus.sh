# shellcheck shell=bash
# How a recipe's local/corpus.sh begins: source it after setting the defaults of its own options.
#
# Sets `here` to the recipe that the script belongs to, which --recipe-dir is by default, and adds
# what steps/stage.sh does, --corpus-dir and --nj.

here=$(cd "$(dirname "${BASH_SOURCE[1]}")/.." && pwd)
: "${recipe_dir=$here}" "${corpus_dir=}" "${nj=2}"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps/stage.sh"

# find_corpus OPTION OF local/corpus.py...: find the recipe's corpus, or download it.
find_corpus() {
  python "$PROJECT_DIR/local/corpus.py" --recipe-dir "$recipe_dir" --corpus-dir "$corpus_dir" \
    --home "$here" "$@"
}
