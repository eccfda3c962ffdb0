//! A prompt as an encoder can read it.
//!
//! In: the prompt that an image was drawn with. Out: the same without the identifier, a word that only the tuned model knows:
//! DreamBooth's CLIP-T is taken of such prompts.

/// The prompt without the words that are the identifier; nothing where nothing is left.
pub fn without_identifier(prompt: &str, identifier: &str) -> Option<String> {
    if identifier.is_empty() {
        return Some(prompt.to_owned());
    }
    let words: Vec<&str> = prompt.split_whitespace().filter(|word| *word != identifier).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_is_left_out_as_a_whole_word() {
        let of = |prompt, identifier| without_identifier(prompt, identifier);
        assert_eq!(of("a sks dog", "sks").as_deref(), Some("a dog"));
        assert_eq!(of("sks a sksdog  of sks", "sks").as_deref(), Some("a sksdog of"));
        assert_eq!(of("a  dog", "").as_deref(), Some("a  dog"));
        assert_eq!(of("sks", "sks"), None);
    }
}
