//! Text from outside, made fit to be shown.

/// The text without what a terminal would obey: control characters, and those that turn the direction of writing,
/// are shown by their numbers. Lines stay lines.
pub fn plain(text: &str) -> String {
    shown(text, |_| 0)
}

/// As [`plain`], for text that this library has coloured: colours stay.
pub fn coloured(text: &str) -> String {
    shown(text, colour)
}

/// The text of a JSON document as one that says the same and steers nothing: such characters are in strings only,
/// where they may be told by their numbers (RFC 8259).
pub fn json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        if steers(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// The beginning and the end of a text that is longer than `most` bytes, with how much was left out between them.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let boundary = |at: &usize| text.is_char_boundary(*at);
    let begin = (0..=most / 2).rev().find(boundary).unwrap_or(0);
    let end = (text.len() - most / 2..=text.len()).find(boundary).unwrap_or(text.len());
    format!("{} [... {} bytes left out ...] {}", &text[..begin], end - begin, &text[end..])
}

/// Bytes that are shown of a line.
const LONGEST_LINE: usize = 1 << 10;

/// The last lines of what a program said, oldest first, each of bounded length.
pub(crate) fn last_lines(said: &[u8], count: usize) -> Vec<String> {
    let said = String::from_utf8_lossy(said);
    let mut lines: Vec<String> =
        said.lines().rev().take(count).map(|line| cut(line, LONGEST_LINE)).collect();
    lines.reverse();
    lines
}

/// `keep` says how many bytes at the beginning of a text are to stay as they are.
fn shown(text: &str, keep: impl Fn(&str) -> usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = keep(rest).max(next.len_utf8());
        if steers(next) && length == next.len_utf8() {
            out.extend(next.escape_unicode());
        } else {
            out.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    out
}

fn steers(c: char) -> bool {
    let directs = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n' && c != '\t') || directs
}

/// Length of the sequence that changes colour or weight with which the text begins, if it does (ECMA-48, SGR).
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return 0 };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(rest.len());
    if rest[end..].starts_with('m') { text.len() - rest.len() + end + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\u{1b}]0;title\u{7}c\rd\u{9b}31me\u{202e}f\tg\nä";

    #[test]
    fn nothing_that_a_terminal_would_obey_is_left() {
        let shown = plain(HOSTILE);
        assert!(!shown.chars().any(steers), "{shown:?}");
        assert!(shown.starts_with("a\\u{1b}[2Jb") && shown.ends_with("f\tg\nä"), "{shown:?}");
    }

    #[test]
    fn json_says_the_same_and_steers_nothing() {
        let document = serde_json::to_string(HOSTILE).unwrap();
        let shown = json(&document);
        assert!(!shown.chars().any(steers), "{shown:?}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), HOSTILE);
    }

    #[test]
    fn of_what_is_too_long_the_beginning_and_the_end_stay() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("beginning, middle, end", 8), "begi [... 14 bytes left out ...]  end");
        // No character is split.
        assert_eq!(cut("ääää", 6), "ä [... 4 bytes left out ...] ä");
        let said = format!("first\nsecond\n{}", "x".repeat(10 << 20));
        let lines = last_lines(said.as_bytes(), 2);
        assert_eq!(lines[0], "second");
        assert!(lines[1].len() < 2 * LONGEST_LINE && lines.len() == 2, "{}", lines[1].len());
    }

    #[test]
    fn colours_stay_where_they_are_ours_and_nothing_else_does() {
        let bold = "\u{1b}[1mname\u{1b}[0m \u{1b}[38;5;11mä";
        assert_eq!(coloured(bold), bold);
        for sequence in ["\u{1b}[2J", "\u{1b}[1;", "\u{1b}]0;x\u{7}", "\u{1b}"] {
            assert!(!coloured(sequence).contains('\u{1b}'), "{sequence:?}");
        }
    }
}
