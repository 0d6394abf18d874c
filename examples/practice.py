"""
Which environments should a policy practise in? A bandit over the share of informative groups, without a trainer.

A policy is trained as GRPO does it: each prompt is tried several times, and a group of tries teaches something only if
some succeed and some fail. The plan says how many prompts of each environment make a step; a strategy follows the share
of groups that were informative. The policy here is a stand-in of a few lines. Run: python examples/practice.py
"""

import numpy as np

from mixwright import ODM, Floor, GroupDRO, Mixture, Observation, Plan, Static

HARD = {"sums": -4.0, "fractions": 0.0, "equations": 4.0, "proofs": 8.0}  # how hard the prompts are, in logits
PROMPTS, TRIES, STEPS = 32, 8, 300
STRATEGIES = {"uniform": Static(), "odm": ODM(), "group dro": Floor(GroupDRO(learning_rate=0.3), 0.05)}


class Policy:
    """A policy that learns from informative groups: most in their own environment, a little in the others."""

    def __init__(self, seed):
        self.skill, self.rng = np.zeros(len(HARD)), np.random.default_rng(seed)

    @property
    def success(self):
        """Return the chance [k] of one try in each environment."""
        return 1 / (1 + np.exp(np.array(list(HARD.values())) - self.skill))

    def practise(self, counts):
        """Try the prompts of a step, learn from them, and return how many groups [k] were informative."""
        chances = self.success
        solved = [self.rng.binomial(TRIES, chance, count) for chance, count in zip(chances, counts, strict=True)]
        informative = np.array([np.sum((s > 0) & (s < TRIES)) for s in solved])
        self.skill += 0.004 * (0.75 * informative + 0.25 * informative.sum())
        return informative


def practice(strategy, seed, steps):
    """Return the policy after some steps, the plan, and how many groups were informative."""
    rows = dict.fromkeys(HARD, 100_000)  # prompts of each; for an environment that makes its own, rows are seeds
    mixture = Mixture(rows, strategy, lag=1)
    plan, policy, informative = Plan(rows, mixture, batch_size=PROMPTS, seed=seed), Policy(seed), 0
    for _ in range(steps):
        step = next(plan)  # step.source and step.row say which prompts; step.counts how many of each environment
        found = policy.practise(step.counts)
        reward = found / np.maximum(step.counts, 1)
        mixture.observe(Observation(step.step, PROMPTS, step.counts, planned=step.weights, loss=reward))
        informative += found.sum()
    return policy, plan, informative


def main():
    """Print what uniform practice and two bandits reach, over five paired seeds."""
    print("strategy    informative groups   success on average   on the hardest   (means of 5 seeds)")
    for name, strategy in STRATEGIES.items():
        runs = [practice(strategy, seed, STEPS) for seed in range(5)]
        share = np.mean([informative for *_, informative in runs]) / (STEPS * PROMPTS)
        success = np.array([policy.success for policy, *_ in runs])
        print(f"{name:10}  {share:18.1%}   {success.mean():18.1%}   {success[:, -1].mean():14.1%}")


if __name__ == "__main__":
    main()
