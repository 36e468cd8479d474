"""Playing live: the compiled step, an audio stream around it, and its knobs."""
