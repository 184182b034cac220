//! The line that is typed into.

use unicode_segmentation::UnicodeSegmentation;

use crate::text::columns;

/// Bytes that a message has at most.
const BYTES_MAX: usize = 4_096;

/// A line of text with a cursor in it.
#[derive(Debug, Default)]
pub(crate) struct Input {
    text: String,
    /// In bytes, between two graphemes.
    cursor: usize,
}

impl Input {
    /// Whether nothing is typed.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts text where the cursor is, unless it gets too long.
    pub(crate) fn insert(&mut self, text: &str) {
        if self.text.len() + text.len() <= BYTES_MAX {
            self.text.insert_str(self.cursor, text);
            self.cursor += text.len();
        }
    }

    /// Takes all of it.
    pub(crate) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Moves the cursor one grapheme back.
    pub(crate) fn left(&mut self) {
        self.cursor -= self.before().graphemes(true).next_back().map_or(0, str::len);
    }

    /// Moves the cursor one grapheme on.
    pub(crate) fn right(&mut self) {
        self.cursor += self.after().graphemes(true).next().map_or(0, str::len);
    }

    /// Moves the cursor to the beginning.
    pub(crate) fn home(&mut self) {
        self.cursor = 0;
    }

    /// Moves the cursor to the end.
    pub(crate) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Deletes the grapheme before the cursor.
    pub(crate) fn backspace(&mut self) {
        let end = self.cursor;
        self.left();
        self.text.drain(self.cursor..end);
    }

    /// Deletes the grapheme behind the cursor.
    pub(crate) fn delete(&mut self) {
        let behind = self.after().graphemes(true).next().map_or(0, str::len);
        self.text.drain(self.cursor..self.cursor + behind);
    }

    /// Deletes the word before the cursor.
    pub(crate) fn delete_word(&mut self) {
        let words = self.before().trim_end();
        let start = words.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        // The white space found may be more than a byte long.
        let start = (start..=self.cursor).find(|at| self.text.is_char_boundary(*at)).unwrap_or(self.cursor);
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }

    /// The part around the cursor that fits into so many columns, and the cursor's column in it.
    pub(crate) fn visible(&self, columns_max: usize) -> (String, usize) {
        // The cursor itself takes a column at the end.
        let room = columns_max.saturating_sub(1);
        let (mut start, mut used) = (self.cursor, 0);
        for grapheme in self.before().graphemes(true).rev() {
            if used + columns(grapheme) > room {
                break;
            }
            used += columns(grapheme);
            start -= grapheme.len();
        }
        let cursor = used;
        let mut end = self.cursor;
        for grapheme in self.after().graphemes(true) {
            if used + columns(grapheme) > room {
                break;
            }
            used += columns(grapheme);
            end += grapheme.len();
        }
        (self.text[start..end].replace('\n', "⏎"), cursor)
    }

    fn before(&self) -> &str {
        &self.text[..self.cursor]
    }

    fn after(&self) -> &str {
        &self.text[self.cursor..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        input.insert(text);
        input
    }

    #[test]
    fn editing_goes_by_what_people_see_as_one_character() {
        let mut input = typed("ae\u{301}👩‍👩‍👧");
        input.backspace();
        input.left();
        input.insert("x");
        input.delete();
        assert_eq!((input.visible(10), input.take()), (("ax".into(), 2), "ax".into()));
        assert!(input.is_empty());
    }

    #[test]
    fn a_word_is_deleted_with_the_space_behind_it() {
        let mut input = typed("one zwei\u{3000}drei  ");
        input.delete_word();
        assert_eq!(input.visible(40).0, "one zwei\u{3000}");
        input.delete_word();
        assert_eq!(input.visible(40).0, "one ");
    }

    #[test]
    fn a_long_line_shows_the_part_around_the_cursor() {
        let mut input = typed("0123456789");
        assert_eq!(input.visible(6), ("56789".into(), 5));
        input.home();
        assert_eq!(input.visible(6), ("01234".into(), 0));
        assert_eq!(typed("日本語").visible(6), ("本語".into(), 4));
    }

    #[test]
    fn what_is_too_long_is_not_taken() {
        let mut input = typed(&"x".repeat(BYTES_MAX));
        input.insert("y");
        assert_eq!(input.take().len(), BYTES_MAX);
    }
}
