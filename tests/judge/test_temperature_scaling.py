"""A temperature that is known is found again, and what it is worth is measured elsewhere."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from fake_engine import ColorEngine, picture, seeing_judge

from reasoner_rm import Sample
from reasoner_rm.errors import InputError
from reasoner_rm.judge.temperature_scaling import fit_temperature, p_first
from reasoner_rm.models.judge_checkpoint import FILE
from reasoner_rm.release.calibrate import calibrate, fit_calibration, save_temperature
from reasoner_rm.sampling.tally import scale_log_odds
from reasoner_rm.schema import Belief


def overconfident(temperature: float, n: int, seed: int = 0) -> tuple[list[list[float]], list[float]]:
    """True probabilities, and what a judge says whose log-odds are so many times too large."""
    rng = np.random.default_rng(seed)
    true = rng.beta(2, 2, n)
    return [[scale_log_odds(p, 1 / temperature)] for p in true], (rng.random(n) < true).astype(float).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    rows, gold = overconfident(temperature, 4000)
    assert math.isclose(fit_temperature(rows, gold), temperature, rel_tol=0.12)


def test_the_mean_over_orders() -> None:
    assert p_first([0.9, 0.2], 1.0) == pytest.approx(0.55)
    assert scale_log_odds(0.9, 2.0) == pytest.approx(1 / (1 + math.exp(-math.log(9) / 2)))
    assert scale_log_odds(1.0, 1e3) < 0.51 and scale_log_odds(0.0, 0.01) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_temperature([], [])


class TooSure(ColorEngine):
    """Says what it sees, and is three times as sure of it as it should be."""

    def beliefs(self, samples, texts):  # type: ignore[no-untyped-def]
        return [(Belief(("1", "2"), (p, 1 - p), 1.0),) for p in (s.meta["said"][s.meta["order"][0]] for s in samples)]


def test_calibration_of_a_judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    judge, rng = seeing_judge(), random.Random(0)
    eyes = TooSure()
    judge.engine.engine = eyes
    monkeypatch.setattr(judge.engine, "beliefs", lambda template, samples, texts: eyes.beliefs(samples, texts))
    images, samples = (picture("red"), picture("blue")), []
    for i in range(600):
        true = rng.betavariate(2, 2)
        said = scale_log_odds(true, 1 / 3)
        meta = {"order": [0, 1], "said": [said, 1 - said]}
        gold = {"p_first": float(rng.random() < true)}
        samples.append(Sample(f"{i}", "image_preference", "red", images, gold=gold, meta=meta, group_id=f"g{i // 2}"))
    found = calibrate(judge, samples)
    assert 2.2 < found.temperature < 4.2 and found.after.ece < found.before.ece / 2
    assert found.fitted_on + found.after.n == 600 and 250 < found.fitted_on < 350
    (tmp_path / FILE).write_text(json.dumps({"task": "image_preference"}))
    save_temperature(found, tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["temperature"] == found.temperature
    assert (tmp_path / "calibration.png").stat().st_size > 5000
    assert json.loads((tmp_path / "calibration.json").read_text())["before"]["ece"] == found.before.ece
    with pytest.raises(InputError, match="at least 20 for each"):
        calibrate(judge, samples[:30])
    with pytest.raises(InputError, match="only comparisons"):
        calibrate(judge, [Sample("1", "qa", "?")])


def test_raters_who_differ_do_not_make_a_judge_doubt() -> None:
    """It is right in 95 % and says so; of six raters five agree with what most say."""
    rng, images = random.Random(0), (picture("red"), picture("blue"))
    known = []
    for i in range(800):
        gold = 5 / 6 if rng.random() < 0.95 else 1 / 6
        known.append(
            (Sample(f"{i}", "image_preference", "red", images, gold={"p_first": gold}, group_id=f"g{i}"), gold)
        )
    found = fit_calibration(known, [[0.95]] * 800)
    assert 0.7 < found.temperature < 1.3 and found.after.ece < 0.03
