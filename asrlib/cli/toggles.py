"""`python -m asrlib toggles`: draw what an amortized Transformer computes for an utterance."""

from __future__ import annotations

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.errors import DataError, UserError
from asrlib.files import atomic_write, file_name
from asrlib.recipe import Recipe


@click.command(name="toggles")
@click.option("--name", default="amortized", show_default=True, help="A directory under exp/.")
@click.option("--test-set", default="test", show_default=True, help="A set under data/.")
@click.option("--utterance", help="Id of the utterance; by default the first one of the set.")
@recipe_options
def command(recipe: Recipe, name: str, test_set: str, utterance: str | None) -> None:
    """Draw which queries, keys and feed-forwards are computed, into exp/NAME/toggles_ID.svg.

    The spectrogram and the words are drawn above them: the spoken words if their times are known,
    else the recognised words at the times when they were emitted.
    """
    import torch

    from asrlib.data.cuts import read_cuts
    from asrlib.encoders import AmortizedEncoder
    from asrlib.features.fbank import FbankExtractor
    from asrlib.report.toggle_plot import toggle_picture
    from asrlib.streaming.batch import decode_cuts, spoken_words
    from asrlib.streaming.recognizer import StreamingRecognizer
    from asrlib.streaming.settings import DecodeConfig

    log_to(None)
    checkpoint = recipe.exp / name / "final.pt"
    if not checkpoint.exists():
        raise UserError(f"{checkpoint}: missing", "train the model first (stage 4)")
    config = recipe.config(DecodeConfig, "decode")
    recognizer = StreamingRecognizer.from_checkpoint(checkpoint, config)
    encoder = recognizer.model.encoder
    if not isinstance(encoder, AmortizedEncoder):
        raise UserError(f"{checkpoint}: its encoder has no toggles", "choose an amortized model")
    path = recipe.data / test_set / "cuts.jsonl.gz"
    cuts = read_cuts(path, "run stage 1, or choose another set")
    found = [cut for cut in cuts if utterance in (None, cut.id)][:1]
    if not found:
        raise DataError(f"{path}: no utterance {utterance}", "choose an id of this set")
    cut = found[0]
    ((_, result),) = decode_cuts(recognizer, [cut])[0]
    samples_N = torch.from_numpy(cut.resample(recognizer.fbank.config.sample_rate).load_audio())[0]
    x_TF = FbankExtractor(recognizer.fbank.config)(samples_N)
    if len(x_TF) < encoder.subsampling:
        raise DataError(
            f"cut {cut.id}: shorter than an output frame of the encoder", "choose a longer one"
        )
    with torch.no_grad():
        toggles = encoder.toggles(x_TF[None])
    shift = recognizer.fbank.config.frame_shift
    spoken = spoken_words(cut)
    words = result.words if spoken is None else spoken
    title = f"{cut.id}, words " + ("as recognised" if spoken is None else "as spoken")
    out = recipe.exp / name / f"toggles_{file_name(cut.id)}.svg"
    with atomic_write(out) as f:
        f.write(toggle_picture(x_TF, toggles, words, shift, encoder.subsampling, title))
    click.echo(f"written to {out}")
