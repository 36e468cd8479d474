"""Mapping networks against the published ones, and a training step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsnare import Snare808, load_preset, render
from jaxsnare.dsp.noise import BufferNoise
from jaxsnare.features import TargetFeatures
from jaxsnare.losses import feature_difference
from jaxsnare.mapping import Mapping, make_mapping

PUBLISHED = {"linear": "linear", "mlp": "mlp", "mlp_large": "mlp_lrg"}


@pytest.fixture
def lenient():
    """For flax's LayerNorm in float64 and for optax, which mix dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def from_torch(data, prefix, suffix=""):
    """Weights of a torch stack in our structure: the n-th Linear is ours too."""
    weights: dict = {"layers": {}}
    for key in data.files:
        if not (key.startswith(f"{prefix}.net.") and key.endswith(suffix)):
            continue
        *_, place, kind = key.removesuffix(suffix).split(".")
        place = 0 if place == "net" else int(place)
        array = np.asarray(data[key], np.float64)
        layer = weights["layers"].setdefault(place, {})
        layer["kernel" if kind == "weight" else "bias"] = (
            array.T if kind == "weight" else array
        )
    return weights


def count(params) -> int:
    return sum(a.size for a in jax.tree.leaves(params))


@pytest.mark.parametrize("name", PUBLISHED)
def test_outputs_and_gradients_are_the_published_ones(golden, x64, lenient, name):
    data, prefix = golden("mappers"), PUBLISHED[name]
    mapping = make_mapping(name, 3, 14)
    params = from_torch(data, prefix)
    x, gy = (jnp.asarray(data[k], jnp.float64) for k in ("x", "gy"))
    y, pull = jax.vjp(mapping.apply, params, x)
    np.testing.assert_allclose(y, data[f"{prefix}_y_f64"], rtol=1e-9, atol=1e-12)
    d_params, d_x = pull(gy)
    scale = np.abs(data[f"{prefix}_dx_f64"]).max()
    np.testing.assert_allclose(d_x, data[f"{prefix}_dx_f64"], atol=1e-9 * scale)
    wanted = from_torch(data, f"{prefix}_d", "_f64")
    assert jax.tree.structure(d_params) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(d_params), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * np.abs(b).max())


@pytest.mark.parametrize(("name", "size"), [("mlp", 590), ("mlp_large", 9486)])
def test_the_number_of_weights_is_published(name, size):
    mapping = make_mapping(name, 3, 14)
    assert count(mapping.init(jax.random.key(0))) == size
    assert count(mapping.shapes()) == size


@pytest.mark.parametrize(
    ("name", "std"), [("linear", 1e-6), ("mlp", 1e-3), ("mlp_large", 1e-3)]
)
def test_weights_start_small_and_biases_at_zero(name, std):
    mapping = make_mapping(name, 3, 14)
    params = mapping.init(jax.random.key(1))
    kernels = []
    for layer in params["layers"].values():
        kernels.append(np.ravel(layer["kernel"]))
        assert not np.any(layer.get("bias", 0.0))
    values = np.concatenate(kernels)
    assert values.mean() == pytest.approx(0, abs=4 * std / np.sqrt(len(values)))
    assert values.std() == pytest.approx(std, rel=4 / np.sqrt(2 * len(values)))
    other = mapping.init(jax.random.key(2))
    assert not np.array_equal(values[:9], np.ravel(jax.tree.leaves(other)[-1])[:9])
    again = mapping.init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_a_linear_mapping_clamps():
    mapping = Mapping(2, 2, hidden=())
    params = {"layers": {0: {"kernel": jnp.array([[1.0, 0.0], [0.0, -3.0]])}}}
    got = mapping.apply(params, jnp.array([[0.5, 0.2], [7.0, 0.5], [-7.0, -0.5]]))
    np.testing.assert_allclose(got, [[0.5, -0.6], [1, -1], [-1, 1]], rtol=1e-6)


def test_an_mlp_stays_within_one():
    mapping = make_mapping("mlp", 3, 14)
    params = jax.tree.map(lambda w: w * 1e5, mapping.init(jax.random.key(0)))
    y = mapping.apply(params, 100 * jnp.ones(3))
    assert np.abs(y).max() <= 1.0
    assert np.abs(y).max() > 0.99


def test_an_unknown_mapping_names_the_choices():
    with pytest.raises(ValueError, match=r"'mpl': did you mean 'mlp'.*mlp_large"):
        make_mapping("mpl", 3, 14)


@pytest.mark.parametrize("sizes", [(0, 14, (8,)), (3, 14, (0,)), (3, 14, ("x",))])
def test_layers_have_whole_sizes(sizes):
    with pytest.raises(ValueError, match="layer sizes must be whole numbers > 0"):
        Mapping(*sizes)


@pytest.mark.slow
def test_training_is_the_published_one(golden, x64, lenient):
    """808_snare_1 at 44.1 kHz, filters that clip, plain loss, double precision.

    20 steps of the linear mapping and 10 of the mlp, whose course is chaotic: later,
    another 1e-7 of its first weights changes losses by 0.6 % (the published float32
    and float64 ones differ by 0.3 %).
    """
    data = golden("train_trace")
    noise = BufferNoise(golden("snare808")["noise"])
    synth = Snare808(44_100, noise=noise, clip_filter=True)
    features = TargetFeatures(44_100, clip=True)
    start = synth.specs.to_unit(synth.specs.pack(load_preset("808_snare_1", synth)))
    damping = jnp.ones(14).at[jnp.array([0, 2])].set(0.01)
    x, wanted = (jnp.asarray(data[k], jnp.float64) for k in ("x", "y"))

    def sound(unit):
        values = synth.specs.unpack(synth.specs.to_physical(unit))
        return features(render(synth, values))

    @jax.jit
    @jax.value_and_grad
    def loss(unit, reference):
        got = jax.vmap(sound)(unit)
        return feature_difference(got - reference[None], wanted)

    reference = jax.jit(sound)(start)
    for name, rate, steps in ("linear", 5e-3, 20), ("mlp", 5e-4, 10):
        mapping = make_mapping(name, 3, 14)

        def answers(params, mapping=mapping):
            modulation = damping[None] * mapping.apply(params, x)
            return jnp.clip(start[None] + modulation, 0.0, 1.0)

        params = from_torch(data, f"{name}_init")
        adam = optax.adam(rate)
        state, losses = adam.init(params), []
        for step in range(steps):
            unit, pull = jax.vjp(answers, params)
            value, slope = loss(unit, reference)
            (gradient,) = pull(slope)
            losses.append(float(value))
            if step == 0:
                first = from_torch(data, f"{name}_grad0", "_f64")
                for a, b in zip(
                    jax.tree.leaves(gradient), jax.tree.leaves(first), strict=True
                ):
                    assert np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(b)
            update, state = adam.update(gradient, state)
            params = optax.apply_updates(params, update)
        wanted_losses = data[f"{name}_losses_f64"][:steps]
        np.testing.assert_allclose(losses, wanted_losses, rtol=1e-3)
