//! The value of a key, apart from its Rust type.
//!
//! In: fields of the settings structs. Out: a [`Setting`], which is written as TOML and JSON; and
//! the other way round.

use std::path::PathBuf;

use serde_json::json;

/// A value as TOML has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// A whole number.
    Whole(u64),
    /// A list of whole numbers.
    Wholes(Vec<u64>),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A text, a path, a name.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
}

impl Setting {
    /// As TOML. A number has the shortest digits that read back as the same number, always with a
    /// point or an exponent.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Whole(n) => n.to_string(),
            Self::Wholes(all) => format!("[{}]", all.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
            Self::Number(n) => format!("{n:?}"),
            Self::Flag(flag) => flag.to_string(),
            Self::Text(text) => quoted(text),
            Self::Texts(texts) => format!("[{}]", texts.iter().map(|t| quoted(t)).collect::<Vec<_>>().join(", ")),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Whole(n) => json!(n),
            Self::Wholes(all) => json!(all),
            Self::Number(n) => json!(n),
            Self::Flag(flag) => json!(flag),
            Self::Text(text) => json!(text),
            Self::Texts(texts) => json!(texts),
        }
    }
}

/// A basic string on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out += "\\n",
            c if c.is_control() => out.extend([r"\u", &format!("{:04X}", u32::from(c))]),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The type of a field that holds a key's value.
pub trait Value: Sized {
    /// The field's value; `None`: the setting is of another type, which reading rules out.
    fn from_setting(setting: Setting) -> Option<Self>;

    /// The setting; `None`: there is nothing to write.
    fn to_setting(&self) -> Option<Setting>;
}

/// An enum whose cases have names.
pub(crate) trait Named: Copy + PartialEq + 'static {
    /// Every case, in the order in which they are offered.
    fn names() -> Vec<(&'static str, Self)>;
}

/// The name of a case.
pub(crate) fn named<T: Named>(value: T) -> &'static str {
    T::names().into_iter().find(|(_, case)| *case == value).map_or("", |(name, _)| name)
}

impl<T: Named> Value for T {
    fn from_setting(setting: Setting) -> Option<Self> {
        let Setting::Text(text) = setting else { return None };
        T::names().into_iter().find(|(name, _)| *name == text).map(|(_, case)| case)
    }

    fn to_setting(&self) -> Option<Setting> {
        Some(Setting::Text(named(*self).into()))
    }
}

impl<T: Named> Value for Vec<T> {
    fn from_setting(setting: Setting) -> Option<Self> {
        let Setting::Texts(texts) = setting else { return None };
        texts.into_iter().map(|text| T::from_setting(Setting::Text(text))).collect()
    }

    fn to_setting(&self) -> Option<Setting> {
        Some(Setting::Texts(self.iter().map(|case| named(*case).to_owned()).collect()))
    }
}

macro_rules! values {
    ($($ty:ty: $pattern:pat => $from:expr, $self:ident => $to:expr;)+) => {
        $(impl Value for $ty {
            fn from_setting(setting: Setting) -> Option<Self> {
                match setting {
                    $pattern => $from,
                    _ => None,
                }
            }

            fn to_setting(&$self) -> Option<Setting> {
                Some($to)
            }
        })+
    };
}

values! {
    usize: Setting::Whole(n) => Self::try_from(n).ok(), self => Setting::Whole(*self as u64);
    u64: Setting::Whole(n) => Some(n), self => Setting::Whole(*self);
    f64: Setting::Number(n) => Some(n), self => Setting::Number(*self);
    bool: Setting::Flag(flag) => Some(flag), self => Setting::Flag(*self);
    String: Setting::Text(text) => Some(text), self => Setting::Text(self.clone());
    Vec<String>: Setting::Texts(texts) => Some(texts), self => Setting::Texts(self.clone());
    // Reading took care that the path is UTF-8.
    PathBuf: Setting::Text(text) => Some(text.into()), self => Setting::Text(self.to_string_lossy().into_owned());
}

impl<T: Value> Value for Option<T> {
    fn from_setting(setting: Setting) -> Option<Self> {
        T::from_setting(setting).map(Some)
    }

    fn to_setting(&self) -> Option<Setting> {
        self.as_ref().and_then(T::to_setting)
    }
}
