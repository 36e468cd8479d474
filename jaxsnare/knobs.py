"""What a player turns besides the synth: how hits are played and heard."""

from jaxsnare.params import ParamSet, ParamSpec

PLAY_SPECS = ParamSet(
    (
        ParamSpec(
            "sensitivity",
            "",
            0.0,
            4.0,
            1.0,
            about="how far a hit bends the sound; 0: every hit plays the preset",
        ),
        ParamSpec(
            "mix",
            "",
            0.0,
            1.0,
            1.0,
            about="0: the drum alone, 1: the synth alone, between them by square root",
        ),
        ParamSpec(
            "gain",
            "dB",
            -60.0,
            24.0,
            0.0,
            about="level of the synth",
        ),
        ParamSpec(
            "trim",
            "dB",
            -40.0,
            40.0,
            0.0,
            about="level of the input, before everything",
        ),
        ParamSpec(
            "loudness_follow",
            "",
            0.0,
            1.0,
            0.0,
            about="how much of a hit's loudness the level of its sound takes over",
        ),
        ParamSpec(
            "gate",
            "",
            0.0,
            2.0,
            0.0,
            about="how like the training hits a hit must sound; 0: all play, "
            "0.5: what sounds more like them than like anything else, 1: what does so "
            "without a doubt",
        ),
        ParamSpec(
            "guard",
            "dB",
            -120.0,
            20.0,
            -120.0,
            about="level of our own sound in the microphone, relative to it; "
            "what is below does not count as a hit",
        ),
    )
)
"""What a player turns besides preset, detector and the ranges of features."""

HIT_SPECS = ParamSet(
    (
        ParamSpec(
            "onset.sensitivity",
            "",
            -12.0,
            12.0,
            0.0,
            about="more hears softer hits and more of what is none, less the opposite: "
            "each step takes 0.3 dB from the threshold",
        ),
        ParamSpec(
            "onset.on",
            "dB",
            0.5,
            150.0,
            11.0,
            about="threshold: a hit is a rise of the level by this much, summed over "
            "the bands by their weights",
        ),
        ParamSpec(
            "onset.retrigger",
            "dB",
            0.0,
            60.0,
            35.0,
            about="how much higher the threshold is just after a hit",
        ),
        ParamSpec(
            "onset.wait",
            "ms",
            1.0,
            250.0,
            34.1,
            about="time after a hit until the threshold is back where it was",
        ),
        ParamSpec(
            "onset.mask",
            "dB",
            0.0,
            60.0,
            9.92,
            about="a hit masks what is softer by this much",
        ),
        ParamSpec(
            "onset.mask_slope",
            "dB/ms",
            0.01,
            10.0,
            0.355,
            about="speed at which a mask falls",
        ),
        ParamSpec(
            "onset.range",
            "dB",
            10.0,
            120.0,
            35.0,
            about="dynamics of the playing: what is softer than the loudest of late by "
            "this much, in a band, is silence there",
        ),
        ParamSpec(
            "onset.noise",
            "dB",
            -20.0,
            40.0,
            9.0,
            about="levels up to this much above the room's noise count as silence",
        ),
        ParamSpec(
            "onset.floor",
            "dB",
            -120.0,
            -20.0,
            -100.0,
            about="the least noise that is reckoned with (dB re full scale)",
        ),
        ParamSpec(
            "onset.most",
            "dB",
            1.0,
            120.0,
            10.7,
            about="a rise in a band counts up to this much",
        ),
        ParamSpec(
            "onset.hold",
            "ms",
            0.1,
            100.0,
            8.0,
            about="time in which the power of a held peak falls by a factor of e",
        ),
        ParamSpec(
            "onset.past",
            "ms",
            0.1,
            100.0,
            3.83,
            about="a hit rises above the level of about this time ago",
        ),
        ParamSpec(
            "onset.body",
            "",
            0.0,
            4.0,
            1.0,
            about="weight of the drum's body, 200 to 600 Hz",
        ),
        ParamSpec(
            "onset.head",
            "",
            0.0,
            4.0,
            0.758,
            about="weight of the head, 600 to 2500 Hz",
        ),
        ParamSpec(
            "onset.wires",
            "",
            0.0,
            4.0,
            0.0784,
            about="weight of the wires, 2.5 to 8 kHz",
        ),
        ParamSpec(
            "onset.stick",
            "",
            0.0,
            4.0,
            0.082,
            about="weight of the stick, 8 to 20 kHz",
        ),
    )
)
"""Settings of the detector, fitted on drums: experiments/missed_hits/fit.py."""
