"""The bound against simulated truth, and that the simulation is one worth passing."""

from dataclasses import replace

import numpy as np

from overlap.audit.simulation import Scenario, draw_scenario, draw_settings, simulate_audit
from overlap.base.config import AuditConfig


def test_the_stated_bound_holds_in_95_of_100_simulated_audits():
    kept = []
    for seed in range(40):
        rng = np.random.default_rng((seed, 1))
        scenario = replace(draw_scenario(rng), n_landmarks=600, n_overlapping=30)
        outcome = simulate_audit(scenario, draw_settings(rng, scenario), seed=seed)
        kept.append(outcome.n_left <= outcome.bound)
    assert np.mean(kept) >= 0.95


def test_reviewers_and_detectors_err_alike_and_leave_something():
    settings = AuditConfig(whole=0, below=0, random=0, checks=0)
    alike, apart = (
        [
            simulate_audit(
                Scenario(400, 200, blindness=2, likeness=likeness, sensitivity=0.7), settings, seed=seed
            ).n_left
            for seed in range(6)
        ]
        for likeness in (0.6, 0.0)
    )
    assert min(alike + apart) > 40
    assert np.mean(alike) < np.mean(apart)  # the easy ones are recognised more often, and these are the retrieved ones


def test_a_whole_audit_by_faultless_reviewers_leaves_nothing_but_its_bound_stays_above():
    scenario = Scenario(500, 20, likeness=0, sensitivity=1 - 1e-12, false_yes=0)
    outcome = simulate_audit(scenario, AuditConfig(whole=500, below=500, random=500, checks=20), seed=1)
    assert outcome.n_left == 0
    assert 0 <= outcome.bound <= 12
