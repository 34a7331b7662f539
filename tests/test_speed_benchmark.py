"""The speed benchmark's own arithmetic: it alternates, and its ratios are those of medians."""

from __future__ import annotations

import speed


def test_systems_take_turns_on_every_input() -> None:
    calls: list[tuple[str, int]] = []
    systems = {name: (lambda item, name=name: calls.append((name, item))) for name in ("ours", "peer")}
    row = speed.alternate("turns", systems, [1, 2], rounds=2)
    warm_up = [("ours", 1), ("peer", 1)]
    one_round = [("ours", 1), ("peer", 1), ("ours", 2), ("peer", 2)]
    assert calls == warm_up + one_round + one_round
    assert {name: len(times) for name, times in row.times.items()} == {"ours": 4, "peer": 4}


def test_the_table_tells_medians_p95_and_ratios() -> None:
    row = speed.Row("a task", {"ours": [1.0, 2.0, 99.0], "peer": [8.0, 8.0, 8.0], "quick": [0.1, 0.1, 0.1]})
    lines = speed.table([row])
    assert lines[2] == "| a task | ours | 2.0 | 89.3 |  |"
    assert lines[3] == "| a task | peer | 8.0 | 8.0 | 4.0 x as fast |"
    assert lines[4] == "| a task | quick | 0.1 | 0.1 | 0.05 x as fast |"
