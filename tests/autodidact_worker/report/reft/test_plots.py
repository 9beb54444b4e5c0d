from support.report_page import cells


def test_page_has_every_arm_and_plot(reft_html: str) -> None:
    """The accuracy table has a row for each model, and no plot is missing."""
    for name in ("Warm-up", "SFT continued", "Offline", "Online", r"ReFT \(PPO\)"):
        assert cells(reft_html, name)
    plots = ("accuracies", "votes", "validation", "dynamics", "reasons", "losses")
    assert [name for name in plots if f'<figure id="{name}">' not in reft_html] == []
    assert "M1" not in reft_html
