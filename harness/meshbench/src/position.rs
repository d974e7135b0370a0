//! Where in a text something is.

/// Line and column of a byte of the text, from 1; columns count characters.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// What serde_json says, without the place that it ends with: the line stands before the reason.
pub(crate) fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map(String::from).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{position, without_position};

    #[test]
    fn columns_count_characters_and_an_offset_beyond_the_text_is_its_end() {
        assert_eq!(position("a\nßb", 0), (1, 1));
        assert_eq!(position("a\nßb", "a\nß".len()), (2, 2));
        assert_eq!(position("a\nßb", 99), (2, 3));
        assert_eq!(position("a\n", 2), (2, 1));
    }

    #[test]
    fn a_reason_stands_without_its_place() {
        let error = serde_json::from_str::<u8>("[").unwrap_err();
        assert!(error.to_string().contains(" at line 1"), "{error}");
        assert!(!without_position(&error).contains("line"));
    }
}
