from autodidact_worker.report import text


def test_hidden_characters_are_visible() -> None:
    """Control, direction and zero-width characters show their names; ordinary text is untouched."""
    assert text.visible("a\x1b[0m\x00\u202eb\u200b\ud800") == "a␛[0m␀⟨U+202E⟩b⟨U+200B⟩⟨U+D800⟩"
    assert text.visible("Grüße, 世界 🙂\n\t½") == "Grüße, 世界 🙂\n\t½"
