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
        "Confidence interval over speakers. It says how the figure would move with other speakers "
        "of the same kind, not with another training. Rates have log-t intervals (standard error "
        "of a ratio of sums over speakers, Student's t, on the logarithm); without an error the "
        "upper end is the exact Poisson bound. Differences between systems are taken speaker by "
        "speaker. In simulations a 95 % interval contains the true rate in 94 to 96 % of cases, "
        "with 5 speakers too; where most words are wrong (80 %), 5 or 9 speakers give 91 to 94 %, "
        "and 87 to 90 % if a few speakers are far better than all others.",
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
        "The group with the highest rate against that with the lowest: difference in points, and "
        "gap (worst - best) / best in per cent. Worst and best are picked from the same data, "
        "which makes the gap look larger than it is; so its interval holds for all pairs of "
        "groups together. Groups with an asterisk are too small to take part.",
    ),
    (
        "chance %, p, detectable %",
        "Of a gap: what 5 % of random groups of the same sizes exceed; p value of the hypothesis "
        "that no group is worse than the rest (permutation of speakers among groups); smallest "
        "gap between groups of these sizes that would show with a probability of 80 %.",
    ),
    (
        "p",
        "Of a comparison of two systems: two-sided p value of no difference, by Student's t on "
        "the differences of single speakers.",
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
