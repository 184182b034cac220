//! Text in a terminal's columns: how wide it is, where it breaks, what may be shown at all.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns that a text takes, grapheme by grapheme as it is drawn.
pub(crate) fn columns(text: &str) -> usize {
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// Text that moves nothing on the screen but itself: without control characters and changes of direction.
pub(crate) fn plain(text: &str) -> String {
    let turns = |c: &char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.chars().filter(|c| !turns(c)).map(shown).collect()
}

/// At most so many columns, with `…` where something is left out.
pub(crate) fn clip(text: &str, columns_max: usize) -> String {
    if columns(text) <= columns_max {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut free = columns_max.saturating_sub(1);
    for grapheme in text.graphemes(true) {
        let Some(left) = free.checked_sub(grapheme.width()) else { break };
        free = left;
        clipped.push_str(grapheme);
    }
    if columns_max > 0 {
        clipped.push('…');
    }
    clipped
}

/// Lines of at most so many columns (2 at least), broken at spaces where there are any.
pub(crate) fn wrap(text: &str, columns_max: usize) -> Vec<String> {
    let columns_max = columns_max.max(2);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for word in paragraph.split_inclusive(' ') {
            if used > 0 && used + columns(word.trim_end_matches(' ')) > columns_max {
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
                used = 0;
            }
            for grapheme in word.graphemes(true) {
                let wide = grapheme.width();
                if used + wide > columns_max {
                    if grapheme == " " {
                        continue;
                    }
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push_str(grapheme);
                used += wide;
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_inside_words_that_are_too_long() {
        assert_eq!(wrap("to be or not to be", 6), ["to be", "or not", "to be"]);
        assert_eq!(wrap("a donaudampfschiff", 6), ["a", "donaud", "ampfsc", "hiff"]);
        assert_eq!(wrap("one\n\ntwo", 6), ["one", "", "two"]);
        assert_eq!(wrap("", 6), [""]);
    }

    #[test]
    fn wide_characters_count_twice_and_are_never_cut() {
        assert_eq!(wrap("日本語です", 5), ["日本", "語で", "す"]);
        assert_eq!(wrap("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 4), ["👩‍👩‍👧👩‍👩‍👧", "👩‍👩‍👧"]);
        assert_eq!(clip("日本語です", 6), "日本…");
        assert_eq!(clip("e\u{301}te\u{301}", 3), "e\u{301}te\u{301}");
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(plain("a\u{1b}[31mb\tc\u{202e}d\ne"), "a [31mb cd\ne");
    }
}
