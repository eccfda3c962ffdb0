//! `settings!`: a struct whose fields are keys.
//!
//! In: for each field its line of documentation, name, type, default, and the rest of its
//! statement. Out: the struct, its defaults, and [`Keys`](super::Keys), which visits the fields in
//! the order in which they stand.

/// A field is `name: type = default => statement;`. The statement is a [`Key`](super::Key), an
/// [`Inner`](super::Inner) for a field that has keys of its own, or [`NoKey`](super::NoKey). `,
/// unless |settings| …` behind it passes over the field. `name => statement;` visits a field once
/// more.
macro_rules! settings {
    ($(#[doc = $about:literal])+ pub struct $name:ident {
        $($(#[doc = $doc:literal])? $field:ident $(: $ty:ty = $default:expr)? => $key:expr $(, unless $absent:expr)?;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc] pub $field: $ty,)?)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($($field: $default,)?)+ }
            }
        }

        impl $crate::config::keys::Keys for $name {
            const ABOUT: &'static str = concat!($($about),+);

            fn keys(&mut self, visit: &mut $crate::config::keys::Visit<'_>) {
                use $crate::config::keys::Stated;
                $({
                    let absent: &[bool] = &[$($absent(&*self))?];
                    if !absent.contains(&true) {
                        $key.state(stringify!($field), concat!($($doc)?), &mut self.$field, visit);
                    }
                })+
            }
        }
    };
}

pub(crate) use settings;
