"""What the columns of a results page mean."""

from __future__ import annotations

MEANINGS: tuple[tuple[str, str], ...] = (
    ("params M", "Parameters that decoding uses, millions: encoder, predictor, joiner."),
    (
        "WER %",
        "Word error rate: insertions, deletions and substitutions, summed over the set, divided "
        "by its reference words. With seeds: mean ± standard deviation over trainings.",
    ),
    (
        "interval",
        "Confidence interval by resampling speakers (percentile bootstrap). It says how the "
        "figure would move with other speakers of the same kind, not with another training. "
        "Without a single error it is [0, 0], which says nothing. With few speakers it is too "
        "narrow: a 95 % interval of 9 speakers contains the true rate in about 87 % of cases.",
    ),
    ("ins, del, sub", "Words inserted, deleted, substituted."),
    ("CER %", "Character error rate, spaces included."),
    ("SER %", "Share of utterances with at least one error."),
    (
        "delay p50 / p90 ms",
        "Symbol delay: from the end of a correctly recognised word in the audio to the stream "
        "time at which its last token came out; median and 90th percentile. Below zero: the "
        "word was recognised before it ended. Only where word times are known.",
    ),
    (
        "final p50 / p90 ms",
        "Finalisation latency: from the end of the last spoken word to the stream time at which "
        "the result was final, trailing silence included.",
    ),
    ("RTF", "Real-time factor of decoding: seconds of computing a second of audio."),
    (
        "GFLOP/s",
        "Floating-point operations a second of audio, in 1e9, of the encoder and of the joiner "
        "at one call a frame; a multiply and its add are two. Of an amortized encoder what it "
        "spent, its arbitrators included.",
    ),
    ("memory MB", "Peak resident memory of decoding, model and libraries included."),
    (
        "worst / best",
        "The group with the highest rate against that with the lowest; ratio with its interval "
        "(difference, where the best group makes no error). Groups with an asterisk are too "
        "small to take part. Worst and best are picked from the same data, which makes the "
        "gap look somewhat larger than it is.",
    ),
    (
        "P(better), p",
        "Share of resamplings in which the first system makes fewer errors; two-sided p value "
        "of no difference. Both systems are judged on the same resampled speakers.",
    ),
    (
        "best dev loss",
        "All that the training minimises, nats an encoder frame; of an amortized model its cost "
        "too, so that this ranks one model's checkpoints, not models.",
    ),
    (
        "dev delay ms",
        "Mean symbol delay on the dev set at the end of training, by the alignment that the loss "
        "sums over; no decoding in it.",
    ),
    (
        "audio s / s, data wait, loss share",
        "Training: seconds of audio a second of wall time; share of the wall time spent waiting "
        "for data, and in the loss, forward and backward (medians over the run).",
    ),
)
