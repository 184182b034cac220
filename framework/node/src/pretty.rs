//! Line breaks and indentation for compact JSON as it passes through.

use std::io::{self, Write};

/// Passes compact JSON on; with `indent`, two spaces per level and one member per line.
pub(crate) struct Pretty<W> {
    out: W,
    indent: bool,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// A bracket was opened and nothing has come yet: `{}` stays on one line.
    opened: bool,
}

impl<W: Write> Pretty<W> {
    pub(crate) fn new(out: W, indent: bool) -> Self {
        Self { out, indent, depth: 0, in_text: false, escaped: false, opened: false }
    }

    fn line(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| self.out.write_all(b"  "))
    }

    fn byte(&mut self, byte: u8) -> io::Result<()> {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return self.out.write_all(&[byte]);
        }
        if matches!(byte, b'}' | b']') {
            self.depth = self.depth.saturating_sub(1);
            if !std::mem::take(&mut self.opened) {
                self.line()?;
            }
            return self.out.write_all(&[byte]);
        }
        if std::mem::take(&mut self.opened) {
            self.line()?;
        }
        self.out.write_all(&[byte])?;
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => {
                self.depth += 1;
                self.opened = true;
            }
            b',' => self.line()?,
            b':' => self.out.write_all(b" ")?,
            _ => {}
        }
        Ok(())
    }
}

impl<W: Write> Write for Pretty<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.indent {
            bytes.iter().try_for_each(|byte| self.byte(*byte))?;
        } else {
            self.out.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_get_a_line_each_and_texts_stay_as_they_are() {
        let value = serde_json::json!({
            "a": [1, [], {}, "x:{\"[,", "\\"],
            "b": { "c": null, "d": [[true]] },
            "e": "",
        });
        let mut pretty = Vec::new();
        Pretty::new(&mut pretty, true).write_all(value.to_string().as_bytes()).unwrap();
        assert_eq!(String::from_utf8(pretty).unwrap(), serde_json::to_string_pretty(&value).unwrap());
    }
}
