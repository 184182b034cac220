//! JSON text as values, strictly by RFC 8259.

use std::io::BufRead;

use eidetica_kernel::error::excerpt;
use eidetica_kernel::{Error, ErrorKind, Result};

use crate::doc::Doc;
use crate::place::DEPTH_MAX;
use crate::value::Value;

/// How deep maps and lists may be nested: as deep as a document's paths are long.
pub const MAX_DEPTH: usize = DEPTH_MAX;

/// Reads one JSON value.
///
/// Numbers without fraction and exponent are integers (except `-0`, which is -0.0), all others floats.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], naming line and column, for what isn't JSON, for a duplicate key, for an integer outside
/// i64 and for a float that is too large; [`ErrorKind::LimitExceeded`] beyond [`MAX_DEPTH`].
///
/// ```
/// use eidetica_store_doc::json;
///
/// let value = json::from_str(r#"{"a": [1, 2.5]}"#)?;
/// assert_eq!(value.to_string(), r#"{"a":[1,2.5]}"#);
/// let error = json::from_str(r#"{"a": 1, "a": 2}"#).unwrap_err();
/// assert!(error.to_string().contains("line 1, column 10"));
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub fn from_str(json: &str) -> Result<Value> {
    from_reader(json.as_bytes())
}

/// Reads one JSON value and nothing else from `reader`.
///
/// # Errors
/// As [`from_str`], and those of reading.
pub fn from_reader(reader: impl BufRead) -> Result<Value> {
    let mut parser = Parser::new(reader);
    parser.skip_space()?;
    let value = parser.value()?;
    parser.skip_space()?;
    match parser.peek()? {
        None => Ok(value),
        Some(_) => Err(parser.wrong("there is more behind the value")),
    }
}

/// Reads JSON values one after the other, each on a line of its own (newline-delimited JSON); empty lines are passed over.
///
/// # Errors
/// Each item as [`from_str`], a value that goes on in the next line included; the first error ends the iteration.
///
/// ```
/// use eidetica_store_doc::json;
///
/// let list: Vec<_> = json::from_ndjson("{\"n\":1}\n\n[2]\n".as_bytes()).collect::<Result<_, _>>()?;
/// assert_eq!(list.len(), 2);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub fn from_ndjson<R: BufRead>(reader: R) -> impl Iterator<Item = Result<Value>> {
    let mut parser = Some(Parser { by_line: true, ..Parser::new(reader) });
    std::iter::from_fn(move || {
        let mut reading = parser.take()?;
        let next = (|| {
            reading.skip_space()?;
            if reading.peek()?.is_none() {
                return Ok(None);
            }
            let value = reading.value()?;
            reading.end_of_line()?;
            Ok(Some(value))
        })();
        match next {
            Ok(Some(value)) => {
                parser = Some(reading);
                Some(Ok(value))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    })
}

/// A container that isn't read to its end yet.
enum Open {
    Map { doc: Doc, key: String },
    List(Vec<Value>),
}

struct Parser<R> {
    reader: R,
    line: u64,
    column: u64,
    /// A value ends in the line that it begins in.
    by_line: bool,
}

impl<R: BufRead> Parser<R> {
    fn new(reader: R) -> Self {
        Self { reader, line: 1, column: 1, by_line: false }
    }

    /// Reads one value; its nesting is on the heap, bounded.
    fn value(&mut self) -> Result<Value> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            // At the start of a value.
            let mut value = match self.peek()? {
                Some(b'{') => {
                    self.deeper(open.len())?;
                    self.advance();
                    self.skip_inside()?;
                    if self.peek()? == Some(b'}') {
                        self.advance();
                        Value::Map(Doc::new())
                    } else {
                        let doc = Doc::new();
                        let key = self.key(&doc)?;
                        open.push(Open::Map { doc, key });
                        continue;
                    }
                }
                Some(b'[') => {
                    self.deeper(open.len())?;
                    self.advance();
                    self.skip_inside()?;
                    if self.peek()? == Some(b']') {
                        self.advance();
                        Value::List(Vec::new())
                    } else {
                        open.push(Open::List(Vec::new()));
                        continue;
                    }
                }
                Some(b'"') => Value::Text(self.string()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true", Value::Bool(true))?,
                Some(b'f') => self.word("false", Value::Bool(false))?,
                Some(b'n') => self.word("null", Value::Null)?,
                Some(0xef) if (self.line, self.column) == (1, 1) => {
                    return Err(self.wrong("it begins with a byte-order mark; save it as UTF-8 without one"));
                }
                Some(0x80..) => return Err(self.wrong("expected a value; is this text in UTF-8?")),
                Some(_) => return Err(self.wrong("expected a value")),
                None => return Err(self.wrong("it ends where a value is expected")),
            };
            // Behind a value: put it where it belongs, and close what ends here.
            loop {
                let Some(container) = open.last_mut() else { return Ok(value) };
                let end = match container {
                    Open::Map { doc, key } => {
                        doc.set(std::mem::take(key), value);
                        b'}'
                    }
                    Open::List(list) => {
                        list.push(value);
                        b']'
                    }
                };
                self.skip_inside()?;
                match self.peek()? {
                    Some(b',') => {
                        self.advance();
                        self.skip_inside()?;
                        if let Some(Open::Map { doc, key }) = open.last_mut() {
                            *key = self.key(doc)?;
                        }
                        break;
                    }
                    Some(byte) if byte == end => {
                        self.advance();
                        value = match open.pop() {
                            Some(Open::Map { doc, .. }) => Value::Map(doc),
                            Some(Open::List(list)) => Value::List(list),
                            None => return Err(self.wrong("nothing is open")),
                        };
                    }
                    Some(_) if end == b'}' => return Err(self.wrong("expected , or }")),
                    Some(_) => return Err(self.wrong("expected , or ]")),
                    None => return Err(self.wrong("it ends within a map or list")),
                }
            }
        }
    }

    /// A key with its colon, up to the value.
    fn key(&mut self, doc: &Doc) -> Result<String> {
        let (line, column) = (self.line, self.column);
        if self.peek()? != Some(b'"') {
            return Err(self.wrong("expected a key in quotes"));
        }
        let key = self.string()?;
        if doc.contains(&key) {
            return Err(wrong_at(line, column, format_args!("the key {} is there twice", excerpt(&key, 80))));
        }
        self.skip_inside()?;
        if self.peek()? != Some(b':') {
            return Err(self.wrong("expected :"));
        }
        self.advance();
        self.skip_inside()?;
        Ok(key)
    }

    fn string(&mut self) -> Result<String> {
        let (line, column) = (self.line, self.column);
        self.advance();
        let mut bytes = Vec::new();
        loop {
            match self.peek()? {
                Some(b'"') => {
                    self.advance();
                    break;
                }
                Some(b'\\') => {
                    self.advance();
                    let character = self.escape()?;
                    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(0..0x20) => return Err(self.wrong("a control character must be escaped")),
                Some(byte) => {
                    bytes.push(byte);
                    self.advance();
                }
                None => return Err(self.wrong("it ends within a text")),
            }
        }
        String::from_utf8(bytes).map_err(|_| wrong_at(line, column, "a text isn't UTF-8"))
    }

    fn escape(&mut self) -> Result<char> {
        let character = match self.peek()? {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.advance();
                let first = self.hex()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    for expected in [b'\\', b'u'] {
                        if self.peek()? != Some(expected) {
                            return Err(self.wrong("half a surrogate pair"));
                        }
                        self.advance();
                    }
                    let second = self.hex()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(self.wrong("half a surrogate pair"));
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                return char::from_u32(code).ok_or_else(|| self.wrong("half a surrogate pair"));
            }
            _ => return Err(self.wrong("no such escape")),
        };
        self.advance();
        Ok(character)
    }

    fn hex(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek()?.and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.wrong("expected four hex digits"))?;
            self.advance();
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value> {
        let (line, column) = (self.line, self.column);
        let mut text = String::new();
        let mut float = false;
        self.take_if(&mut text, |byte| byte == b'-')?;
        if self.take_if(&mut text, |byte| byte == b'0')? {
            if self.peek()?.is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.wrong("a number doesn't begin with 0"));
            }
        } else {
            self.digits(&mut text)?;
        }
        if self.take_if(&mut text, |byte| byte == b'.')? {
            float = true;
            self.digits(&mut text)?;
        }
        if self.take_if(&mut text, |byte| matches!(byte, b'e' | b'E'))? {
            float = true;
            self.take_if(&mut text, |byte| matches!(byte, b'+' | b'-'))?;
            self.digits(&mut text)?;
        }
        if text == "-0" {
            return Ok(Value::Float(-0.0));
        }
        if !float {
            let integer = text.parse().map(Value::Int);
            return integer.map_err(|_| {
                wrong_at(line, column, format_args!("the integer {text:.40} is outside 64 bits"))
                    .hint("write it as text, or with a fraction as a float")
            });
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Value::Float(value)),
            _ => Err(wrong_at(line, column, format_args!("the number {text:.40} is too large for a float"))),
        }
    }

    fn digits(&mut self, text: &mut String) -> Result<()> {
        if !self.take_if(text, |byte| byte.is_ascii_digit())? {
            return Err(self.wrong("expected a digit"));
        }
        while self.take_if(text, |byte| byte.is_ascii_digit())? {}
        Ok(())
    }

    fn take_if(&mut self, text: &mut String, wanted: impl Fn(u8) -> bool) -> Result<bool> {
        match self.peek()? {
            Some(byte) if wanted(byte) => {
                text.push(char::from(byte));
                self.advance();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value> {
        for byte in word.bytes() {
            if self.peek()? != Some(byte) {
                return Err(self.wrong(format_args!("expected {word}")));
            }
            self.advance();
        }
        Ok(value)
    }

    fn skip_space(&mut self) -> Result<()> {
        while matches!(self.peek()?, Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.advance();
        }
        Ok(())
    }

    /// Passes over the space within a map or list.
    fn skip_inside(&mut self) -> Result<()> {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek()? {
            if byte == b'\n' && self.by_line {
                return Err(self.wrong("the line ends within a map or list"));
            }
            self.advance();
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> Result<()> {
        while let Some(byte) = self.peek()? {
            match byte {
                b'\n' => return Ok(()),
                b' ' | b'\t' | b'\r' => self.advance(),
                _ => return Err(self.wrong("expected the end of the line")),
            }
        }
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Result<()> {
        if depth < MAX_DEPTH {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::LimitExceeded,
            "reading JSON",
            "",
            format_args!(
                "it is nested deeper than {MAX_DEPTH} at line {}, column {}",
                self.line, self.column
            ),
        ))
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("reading JSON", "", error)),
            }
        }
    }

    /// Goes on behind the byte that [`Parser::peek`] showed.
    fn advance(&mut self) {
        // The byte is in the buffer: this reads nothing.
        if let Ok(Some(byte)) = self.reader.fill_buf().map(|bytes| bytes.first().copied()) {
            if byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else if byte & 0xc0 != 0x80 {
                self.column += 1;
            }
            self.reader.consume(1);
        }
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> Error {
        wrong_at(self.line, self.column, reason)
    }
}

fn wrong_at(line: u64, column: u64, reason: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "reading JSON",
        "",
        format_args!("{reason} at line {line}, column {column}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_comes_out_equal_to_what_came_in() {
        for json in [
            "null",
            "true",
            "-0.0",
            "-0",
            "0",
            "9223372036854775807",
            "-9223372036854775808",
            "1e300",
            "5e-324",
            "0.1",
            "1E5",
            "\"\"",
            "[]",
            "{}",
            r#"{"":{"a.b":[[],{},[null]],"/":"\u0000\ud83d\ude00é\\"}}"#,
            " [ 1 , 2.0 , -3.5e-7 ] ",
        ] {
            let value = from_str(json).unwrap();
            for written in
                [crate::json::to_string(&value).unwrap(), crate::json::to_string_pretty(&value).unwrap()]
            {
                let expected: serde_json::Value = serde_json::from_str(json).unwrap();
                assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), expected, "{json}");
            }
        }
    }

    #[test]
    fn what_is_refused_is_refused_with_its_position() {
        for (json, at) in [
            ("{\"a\":1,\n \"a\":2}", "line 2, column 2"),
            ("[1, 9223372036854775808]", "line 1, column 5"),
            ("-9223372036854775809", "line 1, column 1"),
            ("1e999", "line 1, column 1"),
            ("", "line 1, column 1"),
            ("[1,]", "line 1, column 4"),
            ("{\"a\" 1}", "line 1, column 6"),
            ("01", "line 1, column 2"),
            ("1 2", "line 1, column 3"),
            ("\"\\ud800\"", "line 1"),
            ("\"é\n\"", "line 1, column 3"),
            ("nul", "line 1, column 4"),
            ("{\"x\":[{\"b\":0,\"b\":0}]}", "line 1, column 14"),
        ] {
            let error = from_str(json).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{json}");
            assert!(error.to_string().contains(at), "{json}: {error}");
        }
    }

    #[test]
    fn text_in_another_encoding_is_told() {
        let of = |bytes: &[u8]| from_reader(bytes).unwrap_err().to_string();
        assert!(of(b"\xef\xbb\xbf{}").contains("byte-order mark"));
        assert!(of(b"\xff\xfe{\0}\0").contains("UTF-8"));
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(from_str(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(from_str(&nested(MAX_DEPTH + 1)).unwrap_err().kind(), ErrorKind::LimitExceeded);
        assert_eq!(from_str(&"[".repeat(1_000_000)).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }

    #[test]
    fn lines_of_json_are_read_one_by_one_and_errors_name_their_line() {
        let mut lines = from_ndjson("1\n{\"a\":2}\r\n\n\n[3] x\n4".as_bytes());
        assert_eq!(lines.next().unwrap().unwrap(), 1);
        assert!(lines.next().unwrap().is_ok());
        assert!(lines.next().unwrap().unwrap_err().to_string().contains("line 5, column 5"));
        assert!(lines.next().is_none());
    }

    #[test]
    fn a_value_ends_in_the_line_that_it_begins_in() {
        for (value, column) in [
            ("{\"b\"\n:1}", 5),
            ("{\n\"b\":1}", 2),
            ("{\"b\":\n1}", 6),
            ("{\"b\":1\n}", 7),
            ("{\"b\":1,\n\"c\":2}", 8),
            ("[\n]", 2),
            ("[1\r\n,2]", 4),
            ("[1, \n2]", 5),
            ("[[1]\n]", 5),
            ("\"b\n\"", 3),
            ("-\n1", 2),
            ("tr\nue", 3),
        ] {
            let text = format!("\n1\n{value}\n2\n");
            let mut lines = from_ndjson(text.as_bytes());
            assert_eq!(lines.next().unwrap().unwrap(), 1);
            let said = lines.next().unwrap().unwrap_err().to_string();
            assert!(said.ends_with(&format!("at line 3, column {column}")), "{value:?}: {said}");
            assert!(lines.next().is_none());
        }
    }
}
