//! What a plugin, and its crate, can be called.

use std::fmt;

/// Longest name: that of a crate in the registry.
const NAME_BYTES_MAX: usize = 64;

/// What the language keeps for itself, and what would hide its own crates.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// A name that a plugin and its crate can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PluginName(String);

/// Why a text is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameError {
    Empty,
    TooLong,
    /// It doesn't begin with a letter.
    Beginning,
    /// It ends with a sign.
    End,
    /// A character that isn't allowed.
    Character(char),
    Reserved,
    /// It begins as the names of this project's crates do.
    Ours,
    /// The crate depends on one of that name.
    Dependency,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it is longer than {NAME_BYTES_MAX} characters"),
            Self::Beginning => f.write_str("it doesn't begin with a small letter"),
            Self::End => f.write_str("it doesn't end with a letter or a digit"),
            Self::Character(found) => {
                write!(f, "{found:?} isn't allowed; small letters, digits, \"-\" and \"_\" are")
            }
            Self::Reserved => f.write_str("Rust has a meaning of its own for it"),
            Self::Ours => {
                f.write_str("names that begin with \"eidetica\" are those of Eidetica's own crates")
            }
            Self::Dependency => f.write_str("the crate depends on one of that name"),
        }
    }
}

impl PluginName {
    pub(super) fn new(text: &str) -> Result<Self, NameError> {
        let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(found) = text.chars().find(|c| !allowed(c)) {
            return Err(NameError::Character(found));
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(NameError::Beginning);
        }
        if text.ends_with(['-', '_']) {
            return Err(NameError::End);
        }
        let name = Self(text.to_owned());
        if RESERVED.contains(&&name.ident()[..]) {
            return Err(NameError::Reserved);
        }
        if text.starts_with("eidetica") {
            return Err(NameError::Ours);
        }
        Ok(name)
    }

    /// As a config file and Cargo.toml have it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As source names the crate.
    pub(super) fn ident(&self) -> String {
        self.0.replace('-', "_")
    }

    /// As types begin.
    pub(super) fn camel(&self) -> String {
        let words = self.0.split(['-', '_']).filter(|word| !word.is_empty());
        words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
    }

    /// As a constant is written.
    pub(super) fn constant(&self) -> String {
        self.ident().to_ascii_uppercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_in_four_ways() {
        let name = PluginName::new("my-radio_2").unwrap();
        assert_eq!(name.as_str(), "my-radio_2");
        assert_eq!(name.ident(), "my_radio_2");
        assert_eq!(name.camel(), "MyRadio2");
        assert_eq!(name.constant(), "MY_RADIO_2");
    }

    #[test]
    fn what_can_be_no_crate_is_refused_with_the_reason() {
        for (text, error) in [
            ("", NameError::Empty),
            ("Foo", NameError::Character('F')),
            ("../foo", NameError::Character('.')),
            ("fünf", NameError::Character('ü')),
            ("2fast", NameError::Beginning),
            ("-foo", NameError::Beginning),
            ("foo-", NameError::End),
            ("match", NameError::Reserved),
            ("proc-macro", NameError::Reserved),
            ("eidetica-transport-foo", NameError::Ours),
            (&"x".repeat(65), NameError::TooLong),
        ] {
            assert_eq!(PluginName::new(text), Err(error), "{text}");
        }
        assert!(PluginName::new(&"x".repeat(64)).is_ok());
    }
}
