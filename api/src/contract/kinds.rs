//! The kinds of values, and the objects that are made of them.

/// An object of JSON.
#[derive(Debug)]
pub(crate) struct Schema {
    /// The name in the OpenAPI document, unique there.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) fields: &'static [Field],
    /// One such object, as JSON. Empty where the fields say enough.
    pub(crate) example: &'static str,
}

/// A field of an object, or a parameter.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) is_null: bool,
    /// Whether it may be left out.
    pub(crate) is_optional: bool,
    pub(crate) about: &'static str,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// A text with this many characters at least, and at most.
    Length(usize, usize),
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// This one word.
    Constant(&'static str),
    /// This prefix and 32 hexadecimal digits.
    Id(&'static str),
    /// An idempotency key. A quoted string is taken, too, and means what is in the quotes.
    Key,
    /// A whole number of 64 bits.
    Number,
    /// A whole number from the one to the other.
    Range(i64, i64),
    Flag,
    /// A time by RFC 3339.
    Time,
    /// A decimal, as a string.
    Amount,
    /// A decimal, as a string or a number.
    AmountIn,
    /// An object whose values are strings.
    Texts,
    /// An object that is not described further.
    Facts,
    /// Any JSON.
    Anything,
    One(&'static Schema),
    Many(&'static Self),
    /// As many of these at least, and at most.
    Between(usize, usize, &'static Self),
}

impl Field {
    /// A field that is always there.
    pub(crate) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, is_null: false, is_optional: false, about }
    }

    /// A field that is always there, and may be null.
    pub(crate) const fn or_null(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, is_null: true, is_optional: false, about }
    }

    /// A field that may be left out.
    pub(crate) const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, is_null: false, is_optional: true, about }
    }

    /// A field of a request, which may be left out or be null.
    pub(crate) const fn asked(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, is_null: true, is_optional: true, about }
    }
}

impl Kind {
    /// The object that it is, or of which it is a list. None for what is no object of the contract.
    pub(crate) fn schema(self) -> Option<&'static Schema> {
        let mut kind = self;
        while let Self::Many(each) | Self::Between(_, _, each) = kind {
            kind = *each;
        }
        if let Self::One(schema) = kind { Some(schema) } else { None }
    }

    /// The kind in words, for people.
    pub(crate) fn in_words(self) -> String {
        match self {
            Self::Text => "string".to_owned(),
            Self::Length(min, max) => format!("string of {min} to {max} characters"),
            Self::Word(words) => format!("one of {}", words().join(", ")),
            Self::Constant(word) => format!("\"{word}\""),
            Self::Id(prefix) => format!("id that begins with {prefix}"),
            Self::Key => "1 to 255 visible ASCII characters, bare or as a quoted string".to_owned(),
            Self::Number => "whole number".to_owned(),
            Self::Range(min, max) => format!("whole number from {min} to {max}"),
            Self::Flag => "true or false".to_owned(),
            Self::Time => "time by RFC 3339".to_owned(),
            Self::Amount => "decimal in a string".to_owned(),
            Self::AmountIn => "decimal, as a string or a number".to_owned(),
            Self::Texts => "object of strings".to_owned(),
            Self::Facts => "object".to_owned(),
            Self::Anything => "any JSON".to_owned(),
            Self::One(schema) => schema.name.to_owned(),
            Self::Many(kind) => format!("list of {}", kind.in_words()),
            Self::Between(min, max, kind) => format!("list of {min} to {max} of {}", kind.in_words()),
        }
    }
}
