//! Where in a text something is.

/// Line and column of a byte of the text, from 1; columns count characters.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn columns_count_characters_and_an_offset_beyond_the_text_is_its_end() {
        assert_eq!(position("a\nßb", 0), (1, 1));
        assert_eq!(position("a\nßb", "a\nß".len()), (2, 2));
        assert_eq!(position("a\nßb", 99), (2, 3));
        assert_eq!(position("a\n", 2), (2, 1));
    }
}
