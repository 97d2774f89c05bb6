"""What a probe reads: one layer, or heads."""

import pytest

from cache.errors import ConfigError
from stages.probes.choice import Choice, choice_of


def test_a_record_becomes_a_choice_and_back():
    for record, choice in (
        ({"layer": 0}, Choice(layer=0)),
        ({"heads": [[20, 4], [3, 1]]}, Choice(heads=((20, 4), (3, 1)))),
        ({"heads": [[2, 0]], "context": 0}, Choice(heads=((2, 0),), context=0)),
        ({"heads": [[2, 0]], "context": 28}, Choice(heads=((2, 0),), context=28)),
    ):
        assert choice_of(record) == choice
        assert choice.record() == record
        assert choice_of({"kind": "logistic", "mu": 0.5, **record}) == choice


@pytest.mark.parametrize("record", [{}, {"heads": []}, {"method": "rhi"}])
def test_a_record_that_names_nothing_is_refused(record):
    with pytest.raises(ConfigError, match=r"the choice names .*, expected a layer or heads"):
        choice_of(record)
