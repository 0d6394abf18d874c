import numpy as np
import pytest

from mixwright import DoGE, InputError, Mixture, Observation

UNIFORM = np.full(3, 1 / 3)
# What two published codes were fed with: inner products (gradients clipped to norm 1), and what they made of them with
# eta .0005, mu .05 in float64: weights after each update, and their mean at the end.
GRAMS = [
    [[0.999998, 0.651105, 0.360018], [0.651105, 0.999999, 0.921203], [0.360018, 0.921203, 0.999999]],
    [[0.676548, -0.017809, 0.238383], [-0.017809, 0.450569, 0.392012], [0.238383, 0.392012, 0.999999]],
    [[0.676548, -0.017809, -0.233612], [-0.017809, 0.450569, -0.135241], [-0.233612, -0.135241, 0.999999]],
]
BY_DOGE = [  # its own code; the gradients are those it summed up without setting them to zero in between
    [0.3324100904, 0.3342807718, 0.3333091378],
    [0.3315274381, 0.3331030993, 0.3353694626],
    [0.3314209719, 0.3324853251, 0.3360937030],
]
MEAN_BY_DOGE = [0.3317861668, 0.3332897321, 0.3349241012]
WITH_TARGET = [
    [0.11203955, -0.52623176, 0.46020743],
    [-0.01225013, -0.46035716, 0.29218473],
    [0.1780894, 0.24597005, 0.09142001],
]
NORMS = [
    [0.99999901, 0.99999891, 0.92024491],
    [0.94608162, 0.65357513, 0.99999914],
    [0.99999814, 0.99999833, 0.99999889],
]
BY_AIOLI = [  # the copy in the code of Aioli, with a batch of held-out data as the target
    [0.3330668086, 0.3326887239, 0.3342444676],
    [0.3327157474, 0.3323380612, 0.3349461914],
    [0.3327372090, 0.3325851828, 0.3346776082],
]


def seen(gram, counts=(4, 4, 4), step=0):
    return Observation(step, 12, counts, gram=gram)


def after(strategy, *path, prior=UNIFORM):
    state = strategy.init(prior.copy())
    for obs in path:
        state = strategy.update(state, obs)
    return state


def test_by_hand():
    """Algorithm 1 as printed: W is the sum of a row, nothing is scaled."""
    prior, gram = np.array([0.5, 0.3, 0.2]), np.array([[2.0, 1.0, -1.0], [1.0, 1.0, 0.0], [-1.0, 0.0, 3.0]])
    paper = DoGE(0.1, scale="none")
    raised = prior * np.exp(0.1 * np.array([2.0, 2.0, 2.0]))
    np.testing.assert_allclose(paper.weights(after(paper, seen(gram), prior=prior)), raised / raised.sum(), rtol=1e-13)
    gram[2] = gram[:, 2] = [0.0, 0.0, 4.0]  # W = 3, 2, 4
    first = prior * np.exp(0.1 * np.array([3.0, 2.0, 4.0]))
    second = first * np.exp(0.1 * np.array([3.0, 2.0, 4.0]))
    state = after(paper, seen(gram), seen(gram), prior=prior)
    np.testing.assert_allclose(paper.weights(state), second / second.sum(), rtol=1e-13)
    mean = (first / first.sum() + second / second.sum()) / 2
    np.testing.assert_allclose(paper.average(state), mean, rtol=1e-13)
    relative = DoGE(0.1)  # the mean of |g|^2 is 7/3
    raised = prior * np.exp(0.1 * np.array([3.0, 2.0, 4.0]) / (7 / 3))
    np.testing.assert_allclose(relative.weights(after(relative, seen(gram), prior=prior)), raised / raised.sum())


def test_the_published_codes_make_the_same_updates():
    strategy = DoGE(0.01, scale="norm", clip=True)
    state = strategy.init(UNIFORM.copy())
    for gram, expected in zip(GRAMS, BY_DOGE, strict=True):
        state = strategy.update(state, seen(gram))
        np.testing.assert_allclose(strategy.weights(state), expected, atol=1e-6)
    np.testing.assert_allclose(strategy.average(state), MEAN_BY_DOGE, atol=1e-6)
    strategy = DoGE(0.01, objective="targets", scale="norm", clip=True)
    state = strategy.init(UNIFORM.copy())
    for step, (products, norms, expected) in enumerate(zip(WITH_TARGET, NORMS, BY_AIOLI, strict=True)):
        obs = Observation(step, 12, [4, 4, 4], target_gram=np.array(products)[:, None], grad_sq_norm=norms)
        state = strategy.update(state, obs)
        np.testing.assert_allclose(strategy.weights(state), expected, atol=1e-6)


def test_an_absent_source_counts_with_the_gradient_it_had():
    gram, strategy = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]]), DoGE(0.1, scale="none")
    hidden = gram.copy()
    hidden[1] = hidden[:, 1] = np.nan
    found = strategy.weights(after(strategy, seen(gram), seen(hidden, (4, 0, 4))))
    np.testing.assert_allclose(found, strategy.weights(after(strategy, seen(gram), seen(gram))), rtol=1e-13)
    never = strategy.weights(after(strategy, seen(hidden, (4, 0, 4))))  # of no sum yet, and its weight stays
    assert never[1] == pytest.approx(1 / 3)
    np.testing.assert_allclose(never[[0, 2]], [1 / 3, 1 / 3])  # W = 1.2 for both


def test_limits():
    """Orthogonal gradients of one size leave the prior; without numbers, the size of gradients does not matter."""
    np.testing.assert_allclose(DoGE().weights(after(DoGE(), *[seen(np.eye(3))] * 5)), UNIFORM, rtol=1e-12)
    gram = np.array([[1.0, 0.5, 0.2], [0.5, 2.0, 0.1], [0.2, 0.1, 1.0]])
    one, large = (DoGE(0.5).weights(after(DoGE(0.5), seen(scale * gram))) for scale in (1.0, 1e6))
    np.testing.assert_allclose(large, one, rtol=1e-12)
    still = DoGE().weights(after(DoGE(), seen(np.zeros((3, 3)))))
    np.testing.assert_allclose(still, UNIFORM, rtol=1e-12)


def test_a_training_that_does_not_report_products_with_targets_is_refused():
    given = {"loss", "planned", "gram", "grad_sq_norm"}
    Mixture(["a", "b"], DoGE()).check(given)
    with pytest.raises(InputError, match=r"DoGE needs target_gram .*held-out texts .*; or use another strategy"):
        Mixture(["a", "b"], DoGE(objective="targets")).check(given)
    with pytest.raises(InputError, match="scale of DoGE should be 'square' or 'norm' or 'none'"):
        DoGE(scale="sqrt")
